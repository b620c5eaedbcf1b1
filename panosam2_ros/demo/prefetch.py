"""Produce items on a low-priority thread before they are needed, within a bound of memory."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_NICENESS = 10  # rendering ahead gets the time that other threads leave


class PrefetchBuffer(Generic[Item]):
    """Iterates over ``items`` on a thread of its own and hands them out in order.

    ``size_of`` returns the bytes of an item. At least two items and at most ``limit`` bytes, by the
    size of the first, wait at a time. An exception in ``items`` is raised by ``next``.
    """

    def __init__(self, items: Iterable[Item], size_of: Callable[[Item], int], limit: int) -> None:
        self._items = items
        self._size_of = size_of
        self._limit = limit
        self._waiting: queue.Queue[Item] | None = None
        self._first = threading.Event()
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)
        self._thread.start()

    def next(self, timeout: float) -> Item | None:
        """Return the next item, or None where none came in ``timeout`` seconds or ``ended`` is true."""
        if self._waiting is None and not self._first.wait(timeout):
            return None
        with contextlib.suppress(queue.Empty):
            if self._waiting is not None:
                return self._waiting.get(timeout=0 if self._ended.is_set() else timeout)
        if self._error is not None:
            raise self._error
        return None

    @property
    def ended(self) -> bool:
        """Whether all items were handed out; False after an exception, which ``next`` raises."""
        over = self._ended.is_set() and self._error is None
        return over and (self._waiting is None or self._waiting.empty())

    @property
    def full(self) -> bool:
        """Whether no more items are produced before one is taken."""
        return self._ended.is_set() or (self._waiting is not None and self._waiting.full())

    @property
    def ready(self) -> int:
        """Number of items that wait."""
        return 0 if self._waiting is None else self._waiting.qsize()

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        # on Linux niceness belongs to a thread
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            for item in self._items:
                if self._waiting is None:
                    self._waiting = queue.Queue(max(2, self._limit // max(1, self._size_of(item))))
                    self._first.set()
                if not self._put(item, self._waiting):
                    return
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()
            self._first.set()

    def _put(self, item: Item, waiting: queue.Queue[Item]) -> bool:
        """Put an item where there is room; return False where the thread is stopped meanwhile."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return True
        return False
