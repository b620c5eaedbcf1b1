"""Bound what is logged: each reason once in a period, few reasons of a kind, and short lines."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from dataclasses import dataclass, field

from panosam2_ros.io.printable import printable

_MOST_CHARACTERS = 1000


@dataclass
class _Kind:
    """What was let through of one kind of report, and what was not."""

    reasons: dict[bytes, float] = field(default_factory=dict)  # digest: s, when it was let through
    held: int = 0  # reports of other reasons, since one was let through
    newest: str = ""  # of those


class Throttle:
    """Lets each reason of a kind through once in a period, and at most a few reasons of a kind.

    Kinds are named in the code; a reason is a text without its numbers, of which only a digest is kept, so
    that no text from outside is. What was held back is told by ``held_back``, so that no reason stays hidden.
    """

    def __init__(self, period: float = 10.0, reasons: int = 3) -> None:
        self._period, self._most = period, reasons  # s, count
        self._kinds: dict[str, _Kind] = {}
        self._lock = threading.Lock()

    def due(self, kind: str, text: str) -> bool:
        """Return whether to report this text now."""
        now, reason = time.monotonic(), _digest(text)
        with self._lock:
            known = self._kinds.setdefault(kind, _Kind())
            self._forget(known, now)
            if reason in known.reasons:
                return False
            if len(known.reasons) < self._most:
                known.reasons[reason] = now
                return True
            known.held, known.newest = known.held + 1, line(text)
            return False

    def held_back(self) -> list[str]:
        """Return a line for each kind of which reports were held back and one may be let through again."""
        now, lines = time.monotonic(), []
        with self._lock:
            for known in self._kinds.values():
                self._forget(known, now)
                if known.held and len(known.reasons) < self._most:
                    known.reasons[_digest(known.newest)] = now
                    lines.append(f"{known.newest} (and {known.held - 1} more since, for other reasons)")
                    known.held = 0
        return lines

    def _forget(self, known: _Kind, now: float) -> None:
        known.reasons = {reason: at for reason, at in known.reasons.items() if now - at < self._period}


def line(text: str) -> str:
    """Return a text of at most 1000 characters, with control characters escaped."""
    return printable(text, most=_MOST_CHARACTERS)


def _digest(text: str) -> bytes:
    without_numbers = re.sub(r"\d+(\.\d+)?", "#", text[:_MOST_CHARACTERS])
    return hashlib.blake2b(without_numbers.encode(errors="replace"), digest_size=8).digest()
