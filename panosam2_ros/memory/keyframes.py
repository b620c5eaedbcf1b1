"""What was seen in the frames of prompts and anchors, from which memory maps can be made again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from panosam2_ros.memory.slot_table import EMPTY


@dataclass(frozen=True, eq=False)
class Keyframes:
    """The pixels and masks of K frames of every object."""

    written: Tensor  # [N, K] int64, the object's frame count, as in ``SlotTable``; EMPTY
    pixels: Tensor  # [N, K, 3, H, W] uint8, what the network saw
    masks: Tensor  # [N, K, 1, 4h, 4w] logits
    reach: Tensor  # [N, K] of the views, as ``InputView.reach``

    @classmethod
    def empty(
        cls, count: int, frames: int, size: tuple[int, int], mask_size: tuple[int, int], device: torch.device
    ) -> Keyframes:
        """Make the keyframes of ``count`` objects of which no frame is kept; sizes are H, W."""
        return cls(
            torch.full((count, frames), EMPTY, device=device),
            torch.zeros(count, frames, 3, *size, dtype=torch.uint8, device=device),
            torch.zeros(count, frames, 1, *mask_size, device=device),
            torch.zeros(count, frames, device=device),
        )

    @property
    def valid(self) -> Tensor:
        """[N, K] bool: keyframes that are not empty."""
        return self.written != EMPTY

    def write(self, chosen: Tensor, new: Keyframes) -> Keyframes:
        """Return the keyframes after writing a frame, ``new`` [N, 1], where it is ``chosen`` [N] bool.

        It takes an empty place.
        """
        places = torch.arange(self.written.shape[1], device=self.written.device)
        free = (places == self.written.argmin(1, keepdim=True)) & chosen[:, None]
        return Keyframes(*(_where(free, getattr(new, f.name), getattr(self, f.name)) for f in fields(self)))

    def only(self, stays: Tensor) -> Keyframes:
        """Return the keyframes that are kept, ``stays`` [N, K] bool."""
        return replace(self, written=torch.where(stays, self.written, EMPTY))

    def later(self, frames: Tensor) -> Keyframes:
        """Return the keyframes of objects that are older by ``frames`` [N]."""
        return replace(self, written=torch.where(self.valid, self.written + frames[:, None], EMPTY))


def _where(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Choose values [N, K, ...] by a mask [N, K]."""
    return torch.where(mask[(...,) + (None,) * (old.dim() - 2)], new, old)
