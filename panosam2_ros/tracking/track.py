"""What the tracker keeps of an object, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.image_types import LabelImage, MaskArray
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.geometry.window import Logits
from panosam2_ros.memory.memory_file import ObjectSnapshot
from panosam2_ros.prompts.prompt import PromptStatus
from panosam2_ros.tracking.bearing_history import BearingHistory, PastBearing
from panosam2_ros.tracking.motion_model import BearingMotionModel, StateConfig, TrackState
from panosam2_ros.tracking.view import InputView, view_from_dict, view_to_dict


@dataclass(frozen=True, eq=False)
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
        """Return the track of an image in which nobody looked for the object: never VISIBLE."""
        if self.state is not TrackState.VISIBLE:
            return self
        bearing = replace(self.bearing, solid_angle=0.0)
        return replace(self, state=TrackState.OCCLUDED, mask_iou=0.0, bearing=bearing)


@dataclass(frozen=True, eq=False)
class PastTrack:
    """One known object, as of an earlier image."""

    obj_id: int
    label: str
    past: PastBearing


@dataclass(frozen=True, eq=False)
class WholeMask:
    """The last mask of which others left most."""

    stamp: int  # ns
    logits: Logits  # [h, w] in the view
    view: InputView
    direction: Floats  # [3] of its bearing, in the newest frame's axes


@dataclass
class TrackedObject:
    """What the tracker keeps of an object beside its row of the memory bank."""

    obj_id: int
    label: str
    motion: BearingMotionModel
    view: InputView  # where to look for it in the next image
    last_view: InputView | None = None  # the one of its last mask
    score: float = 0.0
    mask_iou: float = 0.0
    vetoed_since: int | None = None  # ns, since when its colours have contradicted the network; None: not now
    missed: bool = False  # it was not seen in the last frame, ...
    seen_before: int = 0  # ... and in this one it was, ns
    due: bool = False  # its maps are to be made anew, ...
    recreated: int | None = None  # ... and were in this frame, ns; see tracking/recreation.py
    searched: bool = True  # False: nobody has looked for it since it was restored from a snapshot
    turn: int = 0  # the number of its last turn among lost objects; see tracking/search_budget.py
    waited: int = 0  # frames in which it was not looked for, since it was last
    whole: WholeMask | None = None  # since it was restored
    history: BearingHistory = field(default_factory=BearingHistory)  # since it was prompted or restored

    def past(self, stamp: int) -> PastTrack:
        """Return where it was at a stamp (ns), or at the nearest one that is known."""
        now = PastBearing(self.motion.last_seen, self.motion.state, self.motion.bearing)
        return PastTrack(self.obj_id, self.label, self.history.at(stamp) or now)

    def rotate(self, rotation: Floats) -> None:
        """Follow a camera rotation; ``rotation`` [3, 3] takes directions of still things to the new axes."""
        self.motion.compensate_rotation(rotation)
        self.view = self.view.rotated(rotation)
        if self.whole is not None:
            self.whole = replace(self.whole, direction=rotation @ self.whole.direction)

    def to_dict(self) -> ObjectSnapshot:
        """Return what a memory file keeps of the object."""
        last = None if self.last_view is None else view_to_dict(self.last_view)
        return ObjectSnapshot(self.obj_id, self.label, self.motion.to_dict(), view_to_dict(self.view), last)

    @classmethod
    def from_dict(cls, item: ObjectSnapshot, config: StateConfig) -> TrackedObject:
        """Return the object that ``to_dict`` was called on."""
        motion = BearingMotionModel.from_dict(item.motion, config)
        last = None if item.last_view is None else view_from_dict(item.last_view)
        return cls(item.obj_id, item.label, motion, view_from_dict(item.view), last, searched=False)

    def track(self) -> Track:
        """Return what may be said of the object now."""
        motion = self.motion
        track = Track(
            self.obj_id, self.label, motion.state, self.score, self.mask_iou,
            motion.last_seen, motion.bearing, motion.angular_velocity,
        )  # fmt: skip
        return track if self.searched else track.unseen()


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """What is known of one image."""

    stamp: int  # ns
    label_image: LabelImage | None  # see ``labels``; None: the step was told to draw none
    tracks: tuple[Track, ...]  # every known object, ordered by id

    @property
    def labels(self) -> LabelImage:
        """Object ids of visible objects, [H, W], 0 = none; ValueError where the step drew none."""
        if self.label_image is None:
            raise ValueError("this image was tracked without a label image: call step with labels=True")
        return self.label_image


@dataclass(frozen=True, eq=False)
class PromptOutcome:
    """What became of one prompt."""

    status: PromptStatus
    message: str = ""  # why not, and the remedy
    track: Track | None = None  # of the object in the prompted image
    mask: MaskArray | None = None  # [H, W], its pixels there, of the label image's size

    @property
    def success(self) -> bool:
        """Whether the prompt took effect."""
        return self.status is PromptStatus.OK


NOTHING_FOUND = PromptOutcome(
    PromptStatus.NOTHING_FOUND,
    "nothing was found there: prompt a larger part of the object, or give its box or mask",
)
