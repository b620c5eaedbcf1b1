"""Objects that were prompted on an older image: their own memory, until it has come to the newest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.tracking.track import Track, TrackedObject


@dataclass
class ObjectGroup:
    """Objects that are known as of ``stamp`` (ns), an older image than the newest."""

    known: list[TrackedObject]  # rows of the bank
    bank: MemoryBank
    stamp: int
    camera: RotationEstimator  # has seen the image of that stamp

    def tracks(self) -> list[Track]:
        """What may be said of them now: where they were, never that they are seen."""
        return [item.track().unseen() for item in self.known]

    def without(self, obj_ids: Sequence[int]) -> ObjectGroup:
        """Without some objects."""
        rows = [i for i, item in enumerate(self.known) if item.obj_id not in obj_ids]
        bank = self.bank.select(torch.tensor(rows, dtype=torch.int64))
        return ObjectGroup([self.known[i] for i in rows], bank, self.stamp, self.camera)


def merge(
    known: list[TrackedObject], bank: MemoryBank, late: ObjectGroup
) -> tuple[list[TrackedObject], MemoryBank]:
    """Rows and bank with the late ones, in the order of ids; of those in both the late memory counts."""
    both = bank.append(late.bank)
    rows = {item.obj_id: (i, item) for i, item in enumerate(known)}
    for i, item in enumerate(late.known, len(known)):
        rows[item.obj_id] = (i, item)
    ordered = [rows[obj_id] for obj_id in sorted(rows)]
    chosen = torch.tensor([i for i, _ in ordered], dtype=torch.int64)
    return [item for _, item in ordered], both.select(chosen)
