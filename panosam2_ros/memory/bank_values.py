"""The values that the tensors of a memory bank may have, whoever wrote them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from panosam2_ros.memory.memory_bank import LONG_TERM, MASK_PER_TOKEN
from panosam2_ros.memory.memory_header import MemoryFileError
from panosam2_ros.memory.slot_table import LONG_AGO

_LARGEST = 1e6  # of a feature, a pointer or a logit
_LARGEST_REACH = 100.0  # as ``InputView.reach``
_LONGEST = 2**53  # frames of an object
_LAST = 2**31 * 10**9  # ns, of a stamp


def check_values(tensors: Mapping[str, Tensor]) -> None:
    """Raise MemoryFileError for tensors of a bank, by name, whose values no bank can have.

    Their shapes and types must be right.
    """
    for name, x in tensors.items():
        if not x.numel() or x.dtype in (torch.bool, torch.uint8):
            continue
        low, high = _range(name, x, tensors)
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise MemoryFileError(f"{name} has values that are not finite")
        if (x < low).any() or (x > high).any():
            raise MemoryFileError(f"{name} must be {low} to {high}, is {x.min().item()} to {x.max().item()}")


def _range(name: str, x: Tensor, tensors: Mapping[str, Tensor]) -> tuple[float, float]:
    """Return the smallest and the largest value of a tensor."""
    last = name.rpartition(".")[2]
    if x.is_floating_point():
        return (0, _LARGEST_REACH) if last.endswith(("reach", "known")) else (-_LARGEST, _LARGEST)
    ranges = {
        "frame": (0, _LONGEST),
        "written": (-_LONGEST, _LONGEST),
        "long_count": (0, LONG_TERM),
        "centre": (0, tensors["mask_logits"].shape[-1] // MASK_PER_TOKEN - 1),
        "stamp": (LONG_AGO, _LAST),
    }
    return ranges[last]
