"""Where the object of a training clip is looked for while it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import normalised

# Where a lost object is looked for: where it was, at another object, anywhere, and where it is.
_SEARCHES, _SEARCH_ODDS = ("last", "other", "anywhere", "there"), (0.35, 0.35, 0.12, 0.18)
_FOLLOWED = 0.7  # share of frames in which another object, once it is looked at, is followed
_SEARCHED, _SETTLED = (2, 8), 3  # frames of a search; frames of a clip before one
_SEARCH_SCALES, _SCALE_ODDS = (1.0, 2.0, 0.5), (0.7, 0.15, 0.15)  # factors of the size of searched regions


class LostSearch:
    """How a clip's object is looked for as one that is lost, in the ``frames`` of a search.

    One of the ``others`` (extents of other objects, by frame) may be followed in its place for a while.
    """

    def __init__(
        self, rng: np.random.Generator, frames: range, others: Sequence[Sequence[TargetExtent | None]]
    ) -> None:
        self._rng, self._frames = rng, frames
        self._other = others[int(rng.integers(len(others)))] if others else ()
        self._follows = False
        self.lost = False

    @classmethod
    def none(cls, rng: np.random.Generator) -> LostSearch:
        """Return the search of a clip whose object is never lost."""
        return cls(rng, range(0), ())

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, count: int, others: Sequence[Sequence[TargetExtent | None]]
    ) -> LostSearch:
        """Draw a search in a clip of ``count`` frames."""
        start = int(rng.integers(_SETTLED, max(count - 1, _SETTLED + 1)))
        return cls(rng, range(start, start + int(rng.integers(*_SEARCHED, endpoint=True))), others)

    def region(self, index: int, last: SearchRegion, target: TargetExtent | None) -> SearchRegion | None:
        """Return where the object is looked for in a frame; None where it is not lost.

        ``last``: where it was seen last; ``target``: where it is.
        """
        self.lost = index in self._frames and (self.lost or index == self._frames.start)
        if not self.lost:
            return None
        other = self._other[index] if self._other else None
        stays = self._follows and self._rng.random() < _FOLLOWED
        search = "other" if stays else str(self._rng.choice(_SEARCHES, p=_SEARCH_ODDS))
        self._follows = search == "other" and other is not None
        if search == "there" and target is not None:
            self.lost = False
            return self._sized(last).recentred(target.direction)
        if other is not None and search == "other":
            return SearchRegion.around(other) if stays else self._sized(last).recentred(other.direction)
        if search == "anywhere":
            return self._sized(last).recentred(normalised(self._rng.normal(size=3)))
        return last

    def _sized(self, last: SearchRegion) -> SearchRegion:
        """Draw the size of a searched region, as ``searched_region`` of the tracker does."""
        factor = float(self._rng.choice(_SEARCH_SCALES, p=_SCALE_ODDS))
        return replace(last, diameter=last.diameter * factor, longest=last.longest * factor, unseen=0)
