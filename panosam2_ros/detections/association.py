"""Which boxes of a detector are things that no known object explains.

Boxes and objects are compared on the sphere, both as of the image in which the detector saw the boxes:
objects move on while a detector thinks, so that where they are now says nothing of its boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.geometry.angular_box import AngularBoxes, shared_solid_angles
from panosam2_ros.geometry.sphere import Floats, angle_between
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import PastTrack

_NESTED = 0.75  # share of the smaller of two of one class from which on they are one thing
_OWN_LABEL = 0.5  # share of the overlap at which an object explains a box of its own label
_REST = 0.5  # share of a box that ends at its image's border from which on an object explains it
_DEVIATIONS = 2.0  # standard deviations within which an unseen object is expected
_FARTHEST = 0.35  # rad; where an unseen object is expected farther away, nothing is known of it
_SPEED = 0.5  # rad/s at which objects may move in the camera's axes where nothing was recorded
_LOOKED_FOR = 0.8  # rad within which the nearest box of its label may be an object that is looked for
_GAP = 0.05  # rad between a box that is cut and what is beyond the border, at most
_LIKE_SIZE = 4.0  # ratio of solid angles up to which an object that is expected somewhere may be a box


@dataclass(frozen=True, eq=False)
class KnownObjects:
    """Objects as of one image."""

    angular: AngularBoxes  # M
    labels: tuple[str, ...]  # M
    reach: Floats  # [M] rad within which an object may be elsewhere; 0: it was seen there
    sought: NDArray[np.bool_]  # [M] not seen, and expected back

    @classmethod
    def at(cls, stamp: int, tracks: Sequence[PastTrack]) -> KnownObjects:
        """Return what is known of objects as of a stamp (ns)."""
        bearings = [track.past.bearing for track in tracks]
        directions = np.array([b.direction for b in bearings]).reshape(-1, 3)
        extents = np.array([(b.extent_horizontal, b.extent_vertical) for b in bearings]).reshape(-1, 2)
        reach = np.array([_reach(track, stamp) for track in tracks])
        sought = np.array([track.past.state is TrackState.OCCLUDED for track in tracks], bool)
        return cls(AngularBoxes(directions, extents), tuple(t.label for t in tracks), reach, sought)


def _reach(track: PastTrack, stamp: int) -> float:
    """Return how far from its bearing an object may have been, rad."""
    past = track.past
    reach = _SPEED * abs(stamp - past.stamp) * 1e-9
    if past.state is TrackState.OCCLUDED:
        variance = float(np.linalg.eigvalsh(past.bearing.covariance)[-1])
        reach += _DEVIATIONS * math.sqrt(max(variance, 0.0))
    return min(reach, _FARTHEST)


def without_duplicates(boxes: PlacedBoxes, overlap: float) -> PlacedBoxes:
    """Keep of boxes of one thing the one with the best score, and a whole one before one that is cut.

    Boxes are of one thing whose intersection over union is at least ``overlap``, and boxes of one class of
    which the smaller lies in the larger.
    """
    order = np.where(boxes.cut, -boxes.angular.solid_angles, np.arange(len(boxes)))  # of pieces the largest
    left, kept = np.lexsort((order, boxes.cut)), []
    while left.size:
        first, left = int(left[0]), left[1:]
        kept.append(first)
        others = boxes.of(left)
        like = np.array([[name == boxes.detected.classes[first] for name in others.detected.classes]], bool)
        one = same_thing(boxes.of([first]).angular, others.angular, like, overlap)
        left = left[~one[0]]
    return boxes.of(sorted(kept))


def unexplained(boxes: PlacedBoxes, known: KnownObjects, overlap: float) -> NDArray[np.int64]:
    """Return the rows of the boxes that no object explains.

    An object explains

    - a box with which its extent has an intersection over union of at least ``overlap``,
    - a box of its own label with half of that, or where the smaller of both lies in the larger: masks drift,
    - a box that is cut by the border of its image, if half of it lies in the object, or if it touches the
      object and is of its label: then the object is what is beyond the border,
    - where it was not seen, a box of about its size near the place where it is expected, and the nearest box
      of its label within a wider distance: the tracker is still looking for it.
    """
    if not len(known.labels) or not len(boxes):
        return np.arange(len(boxes))
    like = np.array([[name == label for label in known.labels] for name in boxes.detected.classes], bool)
    explained = same_thing(boxes.angular, known.angular, like, overlap)
    explained |= like & same_thing(boxes.angular, known.angular, like, _OWN_LABEL * overlap)
    explained |= boxes.cut[:, None] & _is_rest(boxes.angular, known.angular, like)
    apart = angle_between(boxes.angular.directions[:, None], known.angular.directions[None])
    ratio = boxes.angular.solid_angles[:, None] / np.maximum(known.angular.solid_angles[None], 1e-12)
    near = apart <= known.angular.radii + known.reach
    explained |= (known.reach > 0) & near & (ratio <= _LIKE_SIZE) & (ratio >= 1 / _LIKE_SIZE)
    rows = np.flatnonzero(~explained.any(1))
    sought = np.flatnonzero(known.sought & ~explained.any(0))
    return np.setdiff1d(rows, _looked_for(np.where(like, apart, np.inf), rows, sought))


def is_mask_of(
    boxes: AngularBoxes, masks: AngularBoxes, cut: NDArray[np.bool_], overlap: float
) -> NDArray[np.bool_]:
    """Tell whether masks [N], by their extents, can be those that were asked for by boxes [N].

    A mask of next to nothing in a box, or of all around it, would not explain the next box of the same thing.
    """
    shared = shared_solid_angles(boxes, masks).diagonal()
    union = boxes.solid_angles + masks.solid_angles - shared
    return np.asarray((shared >= overlap / 2 * union) | (cut & (shared >= _REST * boxes.solid_angles)))


def same_thing(
    boxes: AngularBoxes, others: AngularBoxes, like: NDArray[np.bool_], overlap: float
) -> NDArray[np.bool_]:
    """Tell which of N boxes and M others are of one thing, [N, M]; ``like``: they have one class."""
    shared = shared_solid_angles(boxes, others)
    one, other = boxes.solid_angles[:, None], others.solid_angles[None]
    nested = shared >= _NESTED * np.maximum(np.minimum(one, other), 1e-12)
    return np.asarray((shared >= overlap * np.maximum(one + other - shared, 1e-12)) | (like & nested))


def _is_rest(boxes: AngularBoxes, others: AngularBoxes, like: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which of N boxes that are cut are the rest of which of M objects, [N, M]."""
    inside = shared_solid_angles(boxes, others) >= _REST * boxes.solid_angles[:, None]
    wider = AngularBoxes(boxes.directions, np.minimum(boxes.extents + 2 * _GAP, (2 * np.pi, np.pi)))
    return np.asarray(inside | (like & (shared_solid_angles(wider, others) > 0)))


def _looked_for(apart: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> list[int]:
    """Return the rows that the objects ``columns`` may be, which are looked for: the nearest one each."""
    taken: list[int] = []
    for column in columns.tolist():
        left = [row for row in rows.tolist() if row not in taken and apart[row, column] <= _LOOKED_FOR]
        if left:
            taken.append(min(left, key=lambda row: float(apart[row, column])))
    return taken
