"""What prompted frames looked like, pixel by pixel, with which later frames are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from panosam2_ros.memory.slot_table import EMPTY


@dataclass(frozen=True, eq=False)
class ReferenceFrames:
    """Features and masks of K prompted frames of every object: the first one, and the newest ones."""

    written: Tensor  # [N, K] int64, the object's frame count, as in ``SlotTable``; EMPTY
    keys: Tensor  # [N, K, C, 2h, 2w] unit vectors of pixels at stride 8
    share: Tensor  # [N, K, 2h, 2w] of the object in each of them, 0..1

    @classmethod
    def empty(
        cls, count: int, frames: int, channels: int, grid: tuple[int, int], device: torch.device
    ) -> ReferenceFrames:
        """Make the references of ``count`` objects of which no frame is kept; ``grid``: 2h, 2w."""
        return cls(
            torch.full((count, frames), EMPTY, device=device),
            torch.zeros(count, frames, channels, *grid, dtype=torch.float16, device=device),
            torch.zeros(count, frames, *grid, dtype=torch.float16, device=device),
        )

    @property
    def valid(self) -> Tensor:
        """[N, K] bool: references that are not empty."""
        return self.written != EMPTY

    def write(self, chosen: Tensor, frame: Tensor, keys: Tensor, share: Tensor) -> ReferenceFrames:
        """Return the references after a prompted frame, [N] each, where it is ``chosen`` [N] bool.

        It takes an empty place, or that of the oldest frame but the first one.
        """
        age = self.written.clone()
        age[:, 0] = torch.where(self.valid[:, 0], torch.iinfo(age.dtype).max, age[:, 0])
        places = torch.arange(age.shape[1], device=age.device)
        here = (places == age.argmin(1, keepdim=True)) & chosen[:, None]
        return ReferenceFrames(
            torch.where(here, frame[:, None], self.written),
            torch.where(here[..., None, None, None], keys[:, None].to(self.keys.dtype), self.keys),
            torch.where(here[..., None, None], share[:, None].to(self.share.dtype), self.share),
        )

    def only(self, stays: Tensor) -> ReferenceFrames:
        """Return the references that are kept, ``stays`` [N, K] bool."""
        return replace(self, written=torch.where(stays, self.written, EMPTY))

    def later(self, frames: Tensor) -> ReferenceFrames:
        """Return the references of objects that are older by ``frames`` [N]."""
        return replace(self, written=torch.where(self.valid, self.written + frames[:, None], EMPTY))

    def rolled(self, columns: int) -> ReferenceFrames:
        """Roll the frames right by ``columns`` at stride 8."""
        return replace(self, keys=self.keys.roll(columns, -1), share=self.share.roll(columns, -1))
