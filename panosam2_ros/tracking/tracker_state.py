"""From what a tracker knows to a snapshot, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.memory.memory_file import ObjectSnapshot, TrackerSnapshot
from panosam2_ros.tracking.motion_model import StateConfig
from panosam2_ros.tracking.object_group import ObjectBatch, ObjectGroup
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import ViewKind
from panosam2_ros.tracking.view_pipeline import ViewPipeline

Pipelines = Mapping[ViewKind, ViewPipeline]


def frozen(
    live: ObjectGroup, replaying: Sequence[ObjectGroup], pipelines: Pipelines
) -> tuple[dict[str, MemoryBank], tuple[ObjectSnapshot, ...]]:
    """Return the memories by kind of view, with unrolled panoramas, and the objects of all groups.

    Of objects in several groups the last one counts.
    """
    group = ObjectGroup(dict(live.batches), live.stamp, live.camera_motion)
    for replayed in replaying:
        group.take_in(replayed)
    banks = {
        kind.value: batch.bank.rolled(-pipelines[kind].planner.roll_tokens)
        for kind, batch in group.batches.items()
    }
    return banks, tuple(item.to_dict() for item in group.objects)


def thawed(
    snapshot: TrackerSnapshot, pipelines: Pipelines, config: StateConfig, camera_motion: RotationEstimator
) -> ObjectGroup:
    """Return the objects of a snapshot, as of no image."""
    objects = [TrackedObject.from_dict(item, config) for item in snapshot.objects]
    batches = {
        kind: ObjectBatch(
            [item for item in objects if item.view.kind is kind],
            snapshot.banks[kind.value].rolled(pipeline.planner.roll_tokens),
        )
        for kind, pipeline in pipelines.items()
    }
    return ObjectGroup(batches, None, camera_motion)
