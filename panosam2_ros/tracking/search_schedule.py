"""What each try to find a lost object does: where it looks, and in a region of which size.

What a try does follows the fractional parts of multiples of irrational numbers, so that every choice comes up
whichever tries an object gets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector

SEARCH_EVERY = 2  # frames of a lost object; in the others it is looked for where it was
MAX_SEARCHED_PER_FRAME = 4  # objects, which bounds the time of a frame
_ANYWHERE = 0.25  # share of tries that look anywhere on the sphere
_LIKELIEST, _TURNS, _SIZES = (math.sqrt(5) - 1) / 2, math.sqrt(2), math.sqrt(3)  # which candidate, ...
_SPREAD = (0.7548776662, 0.5698402910)  # of two coordinates: the R2 sequence (Roberts 2018)
_SAME_SIZE, _LARGER, _SMALLER = 0.75, 2.0, 0.5  # share of tries at the last size, factors of half the others


@dataclass(frozen=True)
class SearchAttempt:
    """The try of an index to find a lost object."""

    index: int

    @classmethod
    def of(cls, region: SearchRegion) -> SearchAttempt:
        """Return the try of this frame for an object last seen in ``region``."""
        return cls(region.unseen // SEARCH_EVERY)

    @property
    def is_anywhere(self) -> bool:
        """Whether it looks anywhere on the sphere, whatever is there."""
        return _fraction(0.5 + self.index * _TURNS) < _ANYWHERE

    def direction(self, vertical_fov: float) -> Floats:
        """Return a direction [3]; those of all tries cover a panorama of this height evenly."""
        across, up = (_fraction(0.5 + self.index * step) for step in _SPREAD)
        sine = (2 * up - 1) * math.sin(vertical_fov / 2)
        return lonlat_to_vector(2 * math.pi * across, math.asin(sine))

    def candidate(self, count: int) -> int:
        """Return which of ``count`` candidates it looks at; all get as many tries."""
        return int(_fraction(self.index * _LIKELIEST) * count)


def searched_region(region: SearchRegion, direction: Floats) -> SearchRegion:
    """Return the region in a direction [3] for a lost object, in some tries for one of another size."""
    chance = _fraction(region.unseen // SEARCH_EVERY * _SIZES)
    other = _LARGER if chance > (1 + _SAME_SIZE) / 2 else _SMALLER
    factor = 1.0 if chance < _SAME_SIZE else other
    diameter, longest = region.diameter * factor, region.longest * factor
    return replace(region.recentred(direction), unseen=0, diameter=diameter, longest=longest)


def _fraction(x: float) -> float:
    return x - math.floor(x)
