"""How many lost objects a frame has time for: a budget of seconds, and what views have cost lately.

Every object that is looked for costs a view, seen or not. With a budget, lost objects take turns: in each
frame as many are looked for as fit, by what views cost on this machine in the last frames. At the latest in
every ``LONGEST_PAUSE``-th frame one of them is, whatever it costs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], float]  # s

LONGEST_PAUSE = 4  # frames; in the last of them one lost object is looked for even if that takes too long
_REMEMBERED = 64  # measurements, of which estimates are made: the machine may become faster or slower


class ViewCosts:
    """Running estimates of how long a network takes for views, of what this machine took lately."""

    def __init__(self, computed: Callable[[int], int] = int) -> None:
        """Take how many views are computed where some number is asked for."""
        self._computed = computed
        self._views: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)
        self._searches: deque[float] = deque(maxlen=_REMEMBERED // 8)
        self._warm: set[int] = set()  # numbers of views that have been computed before; 0: a search

    def add_views(self, count: int, seconds: float) -> None:
        """Note how long some views took at once. The first time, which prepares much, does not count."""
        rows = self._computed(count)
        if self._is_warm(rows):
            self._views.append((rows, seconds))

    def add_search(self, seconds: float) -> None:
        """Note how long it took to search the panorama for places of lost objects."""
        if self._is_warm(0):
            self._searches.append(seconds)

    def _is_warm(self, rows: int) -> bool:
        known = rows in self._warm
        self._warm.add(rows)
        return known

    @property
    def search(self) -> float:
        """Seconds of a search of the panorama; infinite while unknown."""
        return float(np.median(self._searches)) if self._searches else np.inf

    def further(self, first: int, more: int) -> float:
        """Return the seconds that ``more`` views take at once with the ``first``; infinite while unknown.

        Numbers of views that have not been computed lately cost their share of others, so rather too much.
        """
        counts = sorted({rows for rows, _ in self._views})
        if not more:
            return 0.0
        if not counts:
            return np.inf
        known = [0.0, *(float(np.median([s for rows, s in self._views if rows == n])) for n in counts)]
        before, after = (_interpolated(self._computed(n), [0, *counts], known) for n in (first, first + more))
        return max(after - before, 0.0)


def _interpolated(x: int, xs: Sequence[int], ys: Sequence[float]) -> float:
    """Return the value at x between points, and on the line from the origin to the last one beyond it."""
    return float(np.interp(x, xs, ys)) if x <= xs[-1] else ys[-1] * x / xs[-1]


@dataclass(frozen=True)
class LostObject:
    """What an object costs that may be looked for in a frame."""

    row: int
    turn: int  # the number of its last turn
    waited: int  # frames in which it was not looked for, since it was last
    searches: bool  # the panorama is searched for its place first


class SearchBudget:
    """The time that a frame has for lost objects, beside that for all others."""

    def __init__(self, seconds: float, clock: Clock = time.perf_counter) -> None:
        """Take the budget of a frame in seconds; 0: lost objects are looked for whatever it takes."""
        self.seconds, self.clock = seconds, clock
        self._left, self._turns = seconds, 0

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget."""
        return self.seconds > 0

    def begin(self) -> None:
        """Begin a frame."""
        self._left = self.seconds

    def choose(self, lost: Sequence[LostObject], others: int, costs: ViewCosts) -> list[int]:
        """Return the rows of lost objects whose turn it is in this frame, in order; spend what they cost.

        Those whose last turn was earliest come first, and nobody overtakes one that does not fit. ``others``:
        the objects that are looked for anyway.
        """
        chosen: list[LostObject] = []
        cost = 0.0
        for item in sorted(lost, key=lambda item: item.turn):
            more = [*chosen, item]
            needed = costs.further(others, len(more))
            needed += costs.search if any(each.searches for each in more) else 0.0
            urgent = not chosen and min(each.waited for each in lost) >= LONGEST_PAUSE - 1
            if needed > self._left and not urgent:
                break
            chosen, cost = more, needed
        self._left -= cost
        return [item.row for item in chosen]

    def next_turn(self) -> int:
        """Return the number of another turn."""
        self._turns += 1
        return self._turns

    def affordable(self, wanted: int, others: int, costs: ViewCosts) -> int:
        """Return how many of the ``wanted`` further views fit beside ``others``; spend what they cost."""
        for count in range(wanted, 0, -1):
            cost = costs.further(others, count)
            if cost <= self._left:
                self._left -= cost
                return count
        return 0
