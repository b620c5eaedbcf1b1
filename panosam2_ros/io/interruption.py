"""Signals that ask a program to end, as an exception that says which."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A signal has asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number))
        self.status = 128 + number  # which a shell shows where a signal has ended a program


@contextmanager
def interruptible(*signals: signal.Signals) -> Iterator[Callable[[], None]]:
    """Have these signals raise Interrupted in the block; a signal that is ignored stays so.

    Yields a function that raises it again where it was lost: Python only prints what is raised while it forks
    or collects garbage. Use it on the main thread.
    """
    came: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise Interrupted(number)

    def check() -> None:
        if came:
            raise Interrupted(came[0])

    before = {number: signal.getsignal(number) for number in signals}
    heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield check
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
