"""A limit on how many things happen in a second."""

from __future__ import annotations


class RateLimit:
    """Grants as many things as a rate allows, and after a pause as many at once as in one second."""

    def __init__(self) -> None:
        self._granted = 0.0  # of the last second
        self._now = 0.0

    def take(self, wanted: int, rate: float, now: float) -> int:
        """Return how many of ``wanted`` things may happen ``now`` (s, of a clock that never goes back).

        ``rate``: 1/s; a rate between 0 and 1 grants one thing at a time.
        """
        if rate <= 0:
            return 0
        self._granted = max(0.0, self._granted - (now - self._now) * rate)
        self._now = now
        granted = min(wanted, max(0, int(max(rate, 1.0) - self._granted + 1e-9)))
        self._granted += granted
        return granted
