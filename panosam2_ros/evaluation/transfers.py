"""Counts copies between host and device in a step of the tracker, and the device's operations, without one.

The network runs on torch's meta device, which computes shapes only. What the tracker reads of it, which
decides what it does next, comes from the same step on the CPU.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


@dataclass
class Transfers:
    """What a step copies and computes."""

    to_host: list[str] = field(default_factory=list)  # operations; each waits for the device
    to_device: list[str] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)  # on the device, those that move no data apart


class TransferCounter(TorchDispatchMode):
    """Counts what is done on the meta device; a copy to the host gives zeros.

    Whatever else needs a value, such as ``.item()`` or a boolean index, raises NotImplementedError.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = Transfers()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, or stand in for one that copies from the device."""
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        on_device = any(x.is_meta for x in given)
        if on_device and kwargs.get("device") == torch.device("cpu"):
            self.seen.to_host.append(str(func))
            return torch.zeros(given[0].shape, dtype=kwargs.get("dtype") or given[0].dtype)
        out = func(*args, **kwargs)
        made = any(isinstance(x, Tensor) and x.is_meta for x in tree_leaves(out))
        if made and given and not all(x.is_meta for x in given):
            self.seen.to_device.append(str(func))
        elif on_device or made:
            self.seen.operations[str(func)] += 1
        return out
