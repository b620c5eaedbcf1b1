"""A call that the inference thread does between images. Nothing here knows ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class WorkerCall:
    """A call, which is answered exactly once: by its result or by the reason why it has none."""

    def __init__(
        self,
        run: Callable[[], Any],
        done: Callable[[Any, Exception | None], None],
        stamp: int,  # ns, of the image that it is about; 0: the newest
    ) -> None:
        self.run, self._done, self.stamp = run, done, stamp
        self._since = time.monotonic()
        self._lock, self._answered = threading.Lock(), False

    @property
    def age(self) -> float:
        """Time since it was submitted, s."""
        return time.monotonic() - self._since

    def answer(self, result: Any, error: Exception | None) -> None:
        """Answer, unless it has been answered; called on any thread."""
        with self._lock:
            first, self._answered = not self._answered, True
        if first:
            self._done(result, error)
