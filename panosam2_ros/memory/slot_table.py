"""The frames in a fixed number of memory slots, and which of them is replaced."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

EMPTY = -1
LONG_AGO = -(2**62)  # ns


@dataclass(frozen=True, eq=False)
class SlotTable:
    """The frame in every slot of every object."""

    written: Tensor  # [N, S] int64, the object's frame count when written; EMPTY
    cond: Tensor  # [N, S] bool: a prompted frame
    anchor: Tensor  # [N, S] bool: an older frame that is kept
    doubtful: Tensor  # [N, S] bool: a frame in which the object was not seen
    stamp: Tensor  # [N, S] int64 ns, of the frame's image; LONG_AGO: unknown

    @classmethod
    def empty(cls, count: int, slots: int, device: torch.device) -> SlotTable:
        """Make a table of empty slots."""
        written = torch.full((count, slots), EMPTY, device=device)
        no = torch.zeros_like(written, dtype=torch.bool)
        return cls(written, no, no, no, torch.full_like(written, LONG_AGO))

    @property
    def valid(self) -> Tensor:
        """[N, S] bool: slots that are not empty."""
        return self.written != EMPTY

    def choose(self, cond: Tensor, max_cond: int) -> Tensor:
        """Choose the slot [N] of a new frame; ``cond`` [N] bool: it is a prompted frame.

        An empty slot, else the one of the oldest frame that is neither prompted nor an anchor. Beyond
        ``max_cond`` prompted frames a new one replaces the newest of them, but never the first.
        """
        newest = self.written.max(1, keepdim=True).values
        cost = torch.where(self.cond | self.anchor, newest + 1, self.written)  # EMPTY is the cheapest
        full = cond & (self.cond.sum(1) >= max_cond)
        last_prompt = torch.where(self.cond, self.written, EMPTY).argmax(1)
        return torch.where(full, last_prompt, cost.argmin(1))

    def write(self, chosen: Tensor, new: SlotTable) -> SlotTable:
        """Return the table after writing a frame, ``new`` [N, 1], to the slots ``chosen`` [N, S] bool."""
        return SlotTable(
            *(torch.where(chosen, getattr(new, f.name), getattr(self, f.name)) for f in fields(SlotTable))
        )

    def without_oldest_anchor(self, most: int) -> SlotTable:
        """Turn the oldest anchor into an ordinary frame where an object has more than ``most`` anchors."""
        age = torch.where(self.anchor, self.written, torch.iinfo(self.written.dtype).max)
        oldest = torch.arange(age.shape[1], device=age.device) == age.argmin(1, keepdim=True)
        over = (self.anchor.sum(1) > most)[:, None]
        return replace(self, anchor=self.anchor & ~(oldest & over))

    def without_frame(self, frame: Tensor) -> SlotTable:
        """Return the table without the frame [N]."""
        return self.only(self.written != frame[:, None])

    def only(self, stays: Tensor) -> SlotTable:
        """Return the table of the slots that are kept, ``stays`` [N, S] bool."""
        written = torch.where(stays, self.written, EMPTY)
        own = (self.cond & stays, self.anchor & stays, self.doubtful & stays)
        return SlotTable(written, *own, torch.where(stays, self.stamp, LONG_AGO))
