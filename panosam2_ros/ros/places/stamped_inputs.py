"""Masks and bearings of the same image, and the ranges nearest to it in time: bounded queues of messages."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.ros.conversion.messages import stamp_to_ns

_MOST_UNMATCHED = 8  # masks or bearings whose other half has not come
_MOST_PENDING = 4  # images that wait for ranges and transforms
_MOST_RANGES = 6  # clouds and depth panoramas


@dataclass
class PendingImage:
    """The results of one image that waits to be processed."""

    stamp: int  # ns
    bearings: ObjectBearingArray
    masks: Any  # sensor_msgs/Image; None: they do not come
    since: float = field(default_factory=time.monotonic)  # s


class StampedInputs:
    """Joins masks and bearings by stamp, and keeps the newest ranges."""

    def __init__(self) -> None:
        self._masks: OrderedDict[int, Any] = OrderedDict()
        self._bearings: OrderedDict[int, ObjectBearingArray] = OrderedDict()
        self._ranges: deque[tuple[int, Any]] = deque(maxlen=_MOST_RANGES)
        self.pending: deque[PendingImage] = deque()
        self.skipped = 0  # images that newer ones replaced before they were processed

    def add_masks(self, msg: Any) -> None:
        """Take masks; join them with the bearings of their image where these have come."""
        stamp = stamp_to_ns(msg.header.stamp)
        _keep(self._masks, stamp, msg)
        self._join(stamp)

    def add_bearings(self, msg: ObjectBearingArray, *, alone: bool) -> None:
        """Take bearings; ``alone``: without waiting for masks."""
        stamp = stamp_to_ns(msg.header.stamp)
        if alone:
            self._wait(PendingImage(stamp, msg, None))
            return
        _keep(self._bearings, stamp, msg)
        self._join(stamp)

    def add_ranges(self, msg: Any) -> None:
        """Take a cloud or a depth panorama."""
        self._ranges.append((stamp_to_ns(msg.header.stamp), msg))

    def nearest_ranges(self, stamp: int, offset: int) -> Any:
        """Return the ranges nearest to a stamp, ns, and not farther than ``offset``; None: there are none."""
        found = min(self._ranges, key=lambda each: abs(each[0] - stamp), default=None)
        return found[1] if found is not None and abs(found[0] - stamp) <= offset else None

    def ranges_reach(self, stamp: int) -> bool:
        """Return whether ranges at or after a stamp have come: no nearer ones will."""
        return any(known >= stamp for known, _ in self._ranges)

    def _join(self, stamp: int) -> None:
        if stamp in self._masks and stamp in self._bearings:
            self._wait(PendingImage(stamp, self._bearings.pop(stamp), self._masks.pop(stamp)))

    def _wait(self, image: PendingImage) -> None:
        self.pending.append(image)
        while len(self.pending) > _MOST_PENDING:
            self.pending.popleft()
            self.skipped += 1


def _keep(kept: OrderedDict[int, Any], stamp: int, msg: Any) -> None:
    kept[stamp] = msg
    while len(kept) > _MOST_UNMATCHED:
        kept.popitem(last=False)
