"""Alignment of what is remembered with the present view: maps resampled about their middle.

Search regions have their object in the middle and north up, so that what was seen of it in different frames
differs mainly in scale: regions follow the size of their objects. The offset of an object from the middle of
its region is not compensated.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SAME = 1e-6  # relative difference of two reaches below which maps stay as they are, bit for bit


def reach_ratio(now: Tensor, then: Tensor) -> Tensor:
    """Return how many times as much a view reaches now as another one did then, of the broadcast shape.

    1 where either reach is not positive or not a number: such views do not compare.
    """
    known = (now > 0) & (then > 0)
    return torch.where(known, now / torch.where(known, then, 1.0), 1.0)


def resampled(maps: Tensor, ratio: Tensor, *, outside: float = 0.0) -> tuple[Tensor, Tensor]:
    """Resample maps [..., C, h, w] about their middle to views that reach ``ratio`` [...] times as far.

    Bilinear. Returns the maps, with ``outside`` where nothing was seen, and where something was, bool
    [..., h, w]. A map whose ratio is 1 within 1e-6 is returned bit for bit.
    """
    shape, (height, width) = ratio.shape, maps.shape[-2:]
    flat, factor = maps.flatten(0, ratio.dim() - 1), ratio.flatten()
    grid, inside = _places(factor, height, width)
    shifted = (flat - outside).float()
    sampled = F.grid_sample(shifted, grid, padding_mode="border", align_corners=False)
    sampled = torch.where(inside[:, None], sampled + outside, outside).to(maps.dtype)
    chosen: Tensor = torch.where(_is_one(factor)[:, None, None, None], flat, sampled)
    return chosen.unflatten(0, shape), inside.unflatten(0, shape)


def shown(ratio: Tensor, height: int, width: int) -> Tensor:
    """Return which tokens [..., h, w] bool of views that reach ``ratio`` [...] times as far were seen."""
    seen: Tensor = _places(ratio.flatten(), height, width)[1].unflatten(0, ratio.shape)
    return seen


def _places(factor: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return where pixels of views were that reach ``factor`` [M] times as far, and whether they were seen.

    [M, h, w, 2] as ``grid_sample`` takes them, and bool [M, h, w].
    """
    theta = torch.zeros(len(factor), 2, 3, dtype=torch.float32, device=factor.device)
    theta[:, 0, 0] = theta[:, 1, 1] = factor
    grid: Tensor = F.affine_grid(theta, [len(factor), 1, height, width], align_corners=False)
    inside: Tensor = _is_one(factor)[:, None, None] | (grid.abs() <= 1).all(-1)
    return grid, inside


def _is_one(factor: Tensor) -> Tensor:
    return (factor - 1).abs() <= _SAME
