"""The frames that images name: when to log a new one, and whether several cameras share a topic."""

from __future__ import annotations

import time
from collections import deque

from panosam2_ros.ros.diagnostics.findings import WARN, Finding

_PERIOD = 10.0  # s
_MOST_LINES = 3  # in the log, in one period
_MANY_CHANGES = 6  # in one period: no camera is mounted anew as often


class CameraFrames:
    """The frame of the newest image, and how often it changed; used on the executor's thread."""

    def __init__(self) -> None:
        self.current, self._other = "", ""  # empty before the first image
        self._changes: deque[float] = deque(maxlen=_MANY_CHANGES)  # s
        self._lines: deque[float] = deque(maxlen=_MOST_LINES)

    def arrived(self, frame_id: str) -> bool:
        """Note an image's frame; return whether the log should have it."""
        if frame_id == self.current:
            return False
        now = time.monotonic()
        if self.current:
            self._changes.append(now)
        self.current, self._other = frame_id, self.current
        if len(self._lines) == _MOST_LINES and now - self._lines[0] < _PERIOD:
            return False
        self._lines.append(now)
        return True

    def finding(self, topic: str, publishers: int) -> Finding | None:
        """Return what is wrong where frames alternate; ``publishers``: how many the topic has."""
        if len(self._changes) < _MANY_CHANGES or time.monotonic() - self._changes[0] > _PERIOD:
            return None
        return Finding(
            WARN,
            f"images on {topic} alternate between frames, such as {self._other!r} and {self.current!r}, from "
            f"{publishers} publishers: give each camera a topic and a node of its own",
        )
