"""Where an object was in recent images, for boxes of a detector that is slower than the tracker."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.sphere import angle_between, normalised
from panosam2_ros.tracking.motion_model import TrackState

MOST_RECORDS = 512  # of one object; 17 s at 30 Hz, about 0.3 MiB
_ANTIPODAL = 3.0  # rad between two directions from which on no direction lies between them


@dataclass(frozen=True, eq=False)
class PastBearing:
    """The bearing and the state of an object as of one image, in the camera's axes of that image."""

    stamp: int  # ns
    state: TrackState
    bearing: Bearing


class BearingHistory:
    """The newest bearings of one object, ordered by stamp."""

    def __init__(self) -> None:
        self._past: list[PastBearing] = []

    def __deepcopy__(self, memo: Mapping[int, Any]) -> BearingHistory:
        """Copy the list only: records never change."""
        copied = BearingHistory()
        copied._past = self._past.copy()
        return copied

    def add(self, past: PastBearing) -> None:
        """Add a record in the place of those that are not older, as when time jumps back or on a replay."""
        del self._past[self._index(past.stamp) :]
        self._past.append(past)
        del self._past[:-MOST_RECORDS]

    def at(self, stamp: int) -> PastBearing | None:
        """Return where the object was at a stamp (ns); None where nothing is recorded.

        Between two images the direction lies between theirs, on the great circle. Outside of what is
        recorded it is the nearest record, with its own stamp.
        """
        index = self._index(stamp)
        before, after = self._past[max(index - 1, 0) : index], self._past[index : index + 1]
        if not before or not after or after[0].stamp == stamp:
            return next(iter(after or before), None)
        return _between(before[0], after[0], stamp)

    def _index(self, stamp: int) -> int:
        return bisect_left(self._past, stamp, key=lambda past: past.stamp)


def _between(before: PastBearing, after: PastBearing, stamp: int) -> PastBearing:
    """Interpolate; state, size and covariance are those of the nearer record."""
    share = (stamp - before.stamp) / (after.stamp - before.stamp)
    nearer = before if share < 0.5 else after
    first, second = before.bearing.direction, after.bearing.direction
    if angle_between(first, second) > _ANTIPODAL:
        return nearer
    direction = normalised((1 - share) * first + share * second)
    return PastBearing(stamp, nearer.state, replace(nearer.bearing, direction=direction))
