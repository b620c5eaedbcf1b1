"""Ends a process after a signal where its main thread does not, because the middleware blocks it, say."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType

_BEGUN_WITHIN = 2.0  # s after a signal, in which the main thread has to begin to end
_ENDED_WITHIN = 12.0  # s after that: a disk may take its time


class LastResort:
    """Watch the block, from another thread: after SIGINT or SIGTERM the process has to end.

    Where the main thread does not begin to end, or does not come to its end, ``save`` is called and the
    process ends with status 1. The signals need a handler in Python. Use it on the main thread.
    """

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save
        self._begun, self._over = threading.Event(), threading.Event()
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._before = -1  # the descriptor that signals were written to

    def __enter__(self) -> LastResort:
        # the interpreter writes to it whatever the main thread does; a handler in Python would wait for that
        self._before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="last resort", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._before)
        self._over.set()
        with contextlib.suppress(OSError):  # full: it is awake
            self._waker.send(b"\0")

    def begun(self) -> None:
        """Note that the main thread has begun to end."""
        self._begun.set()

    def _watch(self) -> None:
        self._woken.recv(1)
        if self._over.is_set() or (self._begun.wait(_BEGUN_WITHIN) and self._over.wait(_ENDED_WITHIN)):
            return
        where = "ends too slowly" if self._begun.is_set() else "does not answer"
        sys.stderr.write(f"the process was asked to end and its main thread {where}: it is ended now\n")
        sys.stderr.flush()
        with contextlib.suppress(Exception):
            self._save()
        os._exit(1)
