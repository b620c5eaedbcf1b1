"""Objects that are tracked together: the live ones, or those replayed from an older image to the newest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch

from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.tracking.track import Track, TrackedObject


@dataclass
class ObjectGroup:
    """Objects that are known as of one image."""

    objects: list[TrackedObject]  # in the order of the bank's rows and of ids
    bank: MemoryBank
    stamp: int | None  # ns, of the image in whose axes they are known; None: there was none
    camera_motion: RotationEstimator  # has seen that image

    def ids(self) -> frozenset[int]:
        """Return the ids of all objects."""
        return frozenset(item.obj_id for item in self.objects)

    def row(self, obj_id: int) -> int:
        """Return an object's row of the bank (``obj_idx``); -1 for one that is not here."""
        return next((i for i, item in enumerate(self.objects) if item.obj_id == obj_id), -1)

    def rotate_to(self, image: ImageArray) -> None:
        """Take what is known to the axes of ``image``, from those of the image that was seen last."""
        rotation = self.camera_motion.update(image)
        for item in self.objects:
            item.rotate(rotation)

    def unseen_tracks(self) -> list[Track]:
        """Return tracks that say where objects were, never that they are seen."""
        return [item.track().unseen() for item in self.objects]

    def remove(self, obj_ids: Collection[int]) -> None:
        """Forget objects."""
        rows = [i for i, item in enumerate(self.objects) if item.obj_id not in obj_ids]
        self.objects = [self.objects[i] for i in rows]
        self.bank = self.bank.select(torch.tensor(rows, dtype=torch.int64, device=self.bank.frame.device))


def merge(group: ObjectGroup, other: ObjectGroup) -> ObjectGroup:
    """Return a group with the objects of both, by id; of those in both the other's memory counts.

    Stamp and camera motion are those of ``group``.
    """
    both = group.bank.append(other.bank)
    rows = {item.obj_id: (i, item) for i, item in enumerate(group.objects)}
    for i, item in enumerate(other.objects, len(group.objects)):
        rows[item.obj_id] = (i, item)
    ordered = [rows[obj_id] for obj_id in sorted(rows)]
    chosen = torch.tensor([i for i, _ in ordered], dtype=torch.int64, device=both.frame.device)
    return ObjectGroup([item for _, item in ordered], both.select(chosen), group.stamp, group.camera_motion)
