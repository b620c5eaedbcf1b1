"""Measure how long the inference thread has been without a result. Nothing here knows ROS."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from statistics import median

_RECENT = 20  # images over which the usual time is taken


@dataclass(frozen=True)
class WorkerProgress:
    """Whether results come, now."""

    stalled: float = 0.0  # s for which an image or a call has waited for a result; 0: none waits
    result_age: float = math.inf  # s since the last result; infinite before the first
    usual: float = 0.0  # s, median duration of the last images; 0 before the first
    ended: BaseException | None = None  # what ended the thread; None: it lives, or was stopped


class ProgressMonitor:
    """The times at which work came, began and ended; guarded by the worker's lock."""

    def __init__(self) -> None:
        self._images_since: float | None = None  # s, when the oldest image without a result came
        self._work_since: float | None = None  # s, when the present work began; None: idle
        self._result_at = -math.inf  # s
        self._durations: deque[float] = deque(maxlen=_RECENT)  # s
        self.ended: BaseException | None = None

    def offered(self) -> None:
        """Note that an image came."""
        if self._images_since is None:
            self._images_since = time.monotonic()

    def began(self) -> None:
        """Note that an image, a call or a step of a replay is begun."""
        self._work_since = time.monotonic()

    def finished(self, *, image: bool, waiting: bool) -> None:
        """Note that it is over; ``image``: it was an image; ``waiting``: another image waits."""
        now = time.monotonic()
        if image and self._work_since is not None:
            self._durations.append(now - self._work_since)
            self._result_at = now
            self._images_since = now if waiting else None
        self._work_since = None

    def now(self) -> WorkerProgress:
        """Return the progress now."""
        now = time.monotonic()
        since = [start for start in (self._images_since, self._work_since) if start is not None]
        return WorkerProgress(
            stalled=now - min(since) if since else 0.0,
            result_age=now - self._result_at,
            usual=median(self._durations) if self._durations else 0.0,
            ended=self.ended,
        )
