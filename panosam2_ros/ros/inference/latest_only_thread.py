"""Work on the newest of what is offered, on a thread of its own. Nothing here knows ROS."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class LatestCounts:
    """Counts since the start: offered = done + dropped + the one that still waits or is being done."""

    done: int = 0
    dropped: int = 0  # replaced by a newer one before their turn


class LatestOnlyThread(Generic[T]):
    """A thread with one item that waits and one that is being worked on, never more.

    ``work`` must not raise: it ends the thread.
    """

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work = work
        self._change = threading.Condition()  # guards everything below
        self._waiting: T | None = None
        self._counts = LatestCounts()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def counts(self) -> LatestCounts:
        """Counts since the start."""
        with self._change:
            return self._counts

    def offer(self, item: T) -> None:
        """Hand an item over and drop one that still waits; never block. After ``stop`` nothing is taken."""
        with self._change:
            if self._stopping:
                return
            if self._waiting is not None:
                self._counts = LatestCounts(self._counts.done, self._counts.dropped + 1)
            self._waiting = item
            self._change.notify()

    def stop(self, timeout: float) -> bool:
        """Finish what runs, drop what waits; return False where it still runs after ``timeout`` s."""
        with self._change:
            self._stopping, self._waiting = True, None
            self._change.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._stopping or self._waiting is not None)
                item, self._waiting = self._waiting, None
            if item is None:
                return
            self._work(item)
            del item  # an image of many megabytes must not stay alive while waiting
            with self._change:
                self._counts = LatestCounts(self._counts.done + 1, self._counts.dropped)
