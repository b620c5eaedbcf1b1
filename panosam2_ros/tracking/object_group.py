"""Objects that are tracked together: the live ones, or those replayed from an older image to the newest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch

from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.tracking.tensor_tree import tensors_of, with_tensors
from panosam2_ros.tracking.track import Track, TrackedObject
from panosam2_ros.tracking.view import ViewKind


@dataclass
class ObjectBatch:
    """Objects that are seen in views of one kind, so that their memories are rows of one bank."""

    objects: list[TrackedObject]  # in the order of the bank's rows and of ids
    bank: MemoryBank

    def rows(self, obj_ids: Collection[int]) -> list[int]:
        """Return the rows of those objects that are here."""
        return [row for row, item in enumerate(self.objects) if item.obj_id in obj_ids]

    def select(self, rows: list[int]) -> ObjectBatch:
        """Return the batch of some rows, in this order."""
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.bank.frame.device)
        return ObjectBatch([self.objects[row] for row in rows], self.bank.select(chosen))

    def put(self, rows: list[int], other: ObjectBatch) -> None:
        """Take the memory of the objects of some rows from the batch of these rows."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.bank.frame.device)
        pairs = zip(tensors_of(self.bank), tensors_of(other.bank), strict=True)
        self.bank = with_tensors(self.bank, (before.index_copy(0, index, now) for before, now in pairs))

    def without(self, obj_ids: Collection[int]) -> ObjectBatch:
        """Return the batch of all other objects."""
        return self.select([row for row, item in enumerate(self.objects) if item.obj_id not in obj_ids])

    def joined(self, other: ObjectBatch) -> ObjectBatch:
        """Return the batch of both, by id; no object may be in both."""
        objects = [*self.objects, *other.objects]
        both = ObjectBatch(objects, self.bank.append(other.bank))
        return both.select(sorted(range(len(objects)), key=lambda row: objects[row].obj_id))


@dataclass
class ObjectGroup:
    """Objects that are known as of one image."""

    batches: dict[ViewKind, ObjectBatch]
    stamp: int | None  # ns, of the image in whose axes they are known; None: there was none
    camera_motion: RotationEstimator  # has seen that image
    brightness: float | None = None  # of that image; None: unknown

    @property
    def objects(self) -> list[TrackedObject]:
        """All objects, ordered by id."""
        found = (item for batch in self.batches.values() for item in batch.objects)
        return sorted(found, key=lambda item: item.obj_id)

    @property
    def memory_bytes(self) -> int:
        """Size of all memories."""
        return sum(batch.bank.nbytes for batch in self.batches.values())

    def ids(self) -> frozenset[int]:
        """Return the ids of all objects."""
        return frozenset(item.obj_id for item in self.objects)

    def find(self, obj_id: int) -> TrackedObject | None:
        """Return the object with an id; None where it is not here."""
        return next((item for item in self.objects if item.obj_id == obj_id), None)

    def rotate(self, rotation: Floats) -> None:
        """Follow a camera rotation; ``rotation`` [3, 3] takes directions of still things to the new axes."""
        for item in self.objects:
            item.rotate(rotation)

    def unseen_tracks(self) -> list[Track]:
        """Return tracks that say where objects were, never that they are seen."""
        return [item.track().unseen() for item in self.objects]

    def remove(self, obj_ids: Collection[int]) -> None:
        """Forget objects."""
        self.batches = {kind: batch.without(obj_ids) for kind, batch in self.batches.items()}

    def take_in(self, other: ObjectGroup) -> None:
        """Add the objects of another group; of those in both the other's memory counts."""
        self.remove(other.ids())
        self.batches = {kind: batch.joined(other.batches[kind]) for kind, batch in self.batches.items()}
