"""Several processes of one run: ``torchrun`` starts them, their gradients are averaged."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn


def processes() -> tuple[int, int]:
    """Which process of the run this is, and of how many."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def average_gradients(model: nn.Module) -> None:
    """The mean over all processes of the run, in one exchange."""
    count = processes()[1]
    if count == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    flat = torch.cat([g.flatten() for g in gradients]) / count
    dist.all_reduce(flat)
    parts = flat.split([g.numel() for g in gradients])
    for parameter, part in zip(model.parameters(), parts, strict=True):
        parameter.grad = part.view_as(parameter)


def agree(model: nn.Module) -> None:
    """Every process takes over the first one's weights and buffers."""
    if processes()[1] > 1:
        for value in model.state_dict().values():
            dist.broadcast(value, 0)
