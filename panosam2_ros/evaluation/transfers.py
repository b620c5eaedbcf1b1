"""Counts copies between host and device in a step of the tracker, and the device's operations, without one.

The network runs on torch's meta device, which computes shapes only. What the tracker reads of it, which
decides what it does next, comes from the same steps on the CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.memory.memory_file import TrackerSnapshot
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.tracker import PanoTracker

_CPU, _META = torch.device("cpu"), torch.device("meta")


@dataclass
class Transfers:
    """What a step copies between host and device, and what it computes there."""

    to_host: list[str] = field(default_factory=list)  # operations; each waits for the device
    to_device: list[str] = field(default_factory=list)
    operations: int = 0  # on the device


class HostReads(TorchDispatchMode):
    """Records what is copied to the CPU, in order, where all is on the CPU anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation."""
        out = func(*args, **(kwargs or {}))
        if kwargs and kwargs.get("device") == _CPU and isinstance(out, Tensor):
            self.read.append(out.clone())
        return out


class TransferCounter(TorchDispatchMode):
    """Counts what is done on the meta device.

    A copy to the host gives the first of the ``answers`` of its shape. Whatever else needs a value, such as
    ``.item()`` or a boolean index, raises an error of torch.
    """

    def __init__(self, answers: Sequence[Tensor]) -> None:
        super().__init__()
        self.seen, self._answers = Transfers(), list(answers)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, or stand in for one that copies from the device."""
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        on_device = any(x.is_meta for x in given)
        if on_device and kwargs.get("device") == _CPU:
            self.seen.to_host.append(str(func))
            return self._answer(given[0].shape)
        out = func(*args, **kwargs)
        made = any(isinstance(x, Tensor) and x.is_meta for x in tree_leaves(out))
        if made and given and not all(x.is_meta for x in given):
            self.seen.to_device.append(str(func))
        elif made or on_device:
            self.seen.operations += 1
        return out

    def _answer(self, shape: torch.Size) -> Tensor:
        for index, each in enumerate(self._answers):
            if each.shape == shape:
                return self._answers.pop(index)
        raise RuntimeError(f"the steps on the CPU copied nothing of the shape {list(shape)} to the host")


def count_transfers(
    tracker: PanoTracker,
    frames: Sequence[tuple[ImageArray, int]],  # images, and their stamps in ns
    make: Callable[[PanoSAM2], PanoTracker],
) -> list[Transfers]:
    """Count what steps copy if a tracker, which is on the CPU and stays as it is, goes on with frames.

    The first frame is not counted: it makes constants. ``make`` makes an empty tracker like that one.
    """
    snapshot = tracker.snapshot()
    here, there = make(tracker.model), make(copy.deepcopy(tracker.model).to(_META))
    here.restore(snapshot)
    there.restore(_on_meta(snapshot))
    found = []
    for image, stamp in frames:
        with HostReads() as host:
            here.step(image, stamp)
        with TransferCounter(host.read) as counter:
            there.step(image, stamp)
        found.append(counter.seen)
    return found[1:]


def _on_meta(snapshot: TrackerSnapshot) -> TrackerSnapshot:
    """Return a snapshot whose memories are on the meta device."""
    banks = {
        kind: bank.with_tensors({name: x.to(_META) for name, x in bank.tensors().items()})
        for kind, bank in snapshot.banks.items()
    }
    return replace(snapshot, banks=banks)
