"""What the tracker answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.memory.memory_file import ObjectSnapshot
from panosam2_ros.prompts.prompt import PromptStatus
from panosam2_ros.tracking.motion_model import BearingMotionModel, StateConfig, TrackState


@dataclass(frozen=True)
class Track:
    """One known object, as of the newest image."""

    obj_id: int
    label: str
    state: TrackState
    score: float  # probability that it is in the image, 0..1
    mask_iou: float  # predicted IoU of its mask, 0..1; 0 unless VISIBLE
    last_seen: int  # ns, stamp of the last image in which it was VISIBLE
    bearing: Bearing  # measured if VISIBLE, else predicted or last known; camera optical axes
    angular_velocity: Floats  # [3] rad/s, optical axes; NaN while unknown

    def unseen(self) -> Track:
        """What may be said of it in an image in which nobody has looked for it: never that it is seen."""
        if self.state is not TrackState.VISIBLE:
            return self
        bearing = replace(self.bearing, solid_angle=0.0)
        return replace(self, state=TrackState.OCCLUDED, mask_iou=0.0, bearing=bearing)


@dataclass
class TrackedObject:
    """What the tracker keeps of an object beside its row of the memory bank."""

    obj_id: int
    label: str
    motion: BearingMotionModel
    score: float = 0.0
    mask_iou: float = 0.0
    view: SearchRegion | None = None  # in which it is looked for in the next image; None: in all of it
    seen_in: SearchRegion | None = None  # the one of its last mask
    looked_for: bool = True  # since it was recalled from a file

    def turn(self, rotation: Floats) -> None:
        """The camera turned: ``rotation`` [3, 3] takes directions of still things to its new axes."""
        self.motion.turn(rotation)
        self.view = None if self.view is None else self.view.recentred(rotation @ self.view.axes[2])

    def to_dict(self) -> ObjectSnapshot:
        """As a file keeps it."""
        view = None if self.view is None else self.view.to_dict()
        return ObjectSnapshot(self.obj_id, self.label, self.motion.to_dict(), view)

    @classmethod
    def from_dict(cls, item: ObjectSnapshot, config: StateConfig) -> TrackedObject:
        """What ``to_dict`` gave."""
        view = None if item.view is None else SearchRegion.from_dict(item.view)
        motion = BearingMotionModel.from_dict(item.motion, config)
        return cls(item.obj_id, item.label, motion, view=view, looked_for=False)

    def track(self) -> Track:
        motion = self.motion
        track = Track(
            self.obj_id, self.label, motion.state, self.score, self.mask_iou,
            motion.last_seen, motion.bearing, motion.angular_velocity,
        )  # fmt: skip
        return track if self.looked_for else track.unseen()


@dataclass(frozen=True)
class TrackedFrame:
    """What is known of one image."""

    stamp: int  # ns
    labels: NDArray[np.uint16]  # [H, W] object ids of visible objects, 0 = none
    tracks: tuple[Track, ...]  # every known object, ordered by id


@dataclass(frozen=True)
class PromptOutcome:
    """What became of one prompt."""

    status: PromptStatus
    message: str  # why not, and the remedy
    track: Track | None  # of the object in the prompted image
    mask: NDArray[np.bool_] | None = None  # [H, W], its pixels there, of the label image's size

    @property
    def success(self) -> bool:
        """Whether the prompt took effect."""
        return self.status is PromptStatus.OK


NOTHING_FOUND = PromptOutcome(
    PromptStatus.NOTHING_FOUND,
    "nothing was found there: prompt a larger part of the object, or give its box or mask",
    None,
)
