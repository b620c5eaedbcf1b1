"""Second looks at a frame: a centred view of what lies at a region's edge, others round what was not found.

Our reading of the paper's iterative distortion refinement for search regions: the answer comes from a view
that has the object in its middle, where a region is least distorted and nothing is cut off. An object that
was seen in the last frame and is not in its region is looked for all round it, once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.sphere import Floats, angle_between, rotation_matrix
from panosam2_ros.tracking.propagation_result import HostAnswer
from panosam2_ros.tracking.view import InputView

MOST_PASSES = 3  # over a frame, after the first
OFF_MIDDLE = 0.25  # of a region's side: a mask whose middle is farther from the region's is looked at again
_SAME_PLACE, _SAME_SIZE = 0.1, 1.2  # of the side, and ratio of sides, below which two regions show the same
_AROUND, _STEP = 6, 0.5  # regions round the first, at so much of its side from its middle


@dataclass(frozen=True, eq=False)
class Look:
    """One more look at an object in a frame."""

    row: int  # of the object
    view: InputView
    missed: bool  # the object was not seen before in this frame


def best_looks(looks: Sequence[Look], answer: HostAnswer) -> dict[int, int]:
    """Return the look, by the object's row, in which each object that was seen is most likely present."""
    best: dict[int, int] = {}
    scores, found = answer.scores, answer.found(range(len(looks)))
    for k, look in enumerate(looks):
        if found[k] is not None and (look.row not in best or scores[k] > scores[best[look.row]]):
            best[look.row] = k
    return best


def fewer_looks(looks: Sequence[Look], most: int) -> list[Look]:
    """Return looks of which at most ``most`` are for missed objects, shared evenly among these."""
    turns: dict[int, int] = {}
    numbered = [(turns.setdefault(look.row, k), k) for k, look in enumerate(looks)]
    missed = sorted((k - first, k) for first, k in numbered if looks[k].missed)
    kept = {k for _, k in missed[:most]}
    return [look for k, look in enumerate(looks) if not look.missed or k in kept]


def centred_region(region: SearchRegion, mask: NDArray[np.bool_]) -> SearchRegion | None:
    """Return a region with what was found in its middle; ``mask`` [s, s] is not empty.

    None where the mask neither touches the region's edge nor lies far from its middle, and where that region
    shows nearly the same.
    """
    size = len(mask)
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (1, 0))
    cut = min(top, left) == 0 or max(bottom, right) == size - 1
    off = max(abs(top + bottom + 1 - size), abs(left + right + 1 - size)) / (2 * size)
    target = region.target(mask) if cut or off > OFF_MIDDLE else None
    if target is None:
        return None
    sizes = max(region.diameter, target.diameter), max(region.longest, target.longest)
    centred = replace(region.recentred(target.direction), diameter=sizes[0], longest=sizes[1], unseen=0)
    return None if _alike(centred, region) else centred


def surrounding_regions(region: SearchRegion, predicted: Floats) -> list[SearchRegion]:
    """Return where an object may be that is not in its ``region``.

    In the direction [3] that is ``predicted``, in a wider region, and all round.
    """
    ahead = region.recentred(predicted)
    tilted = np.array([0.0, math.sin(_STEP * region.fov), math.cos(_STEP * region.fov)])
    turns = (rotation_matrix([0.0, 0.0, 2 * math.pi * k / _AROUND]) for k in range(_AROUND))
    ring = [ahead.recentred(turn @ tilted @ ahead.axes) for turn in turns]
    return [other for other in (ahead, ahead.widest(), *ring) if not _alike(other, region)]


def _alike(one: SearchRegion, other: SearchRegion) -> bool:
    """Return whether two regions show nearly the same."""
    near = angle_between(one.axes[2], other.axes[2]) < _SAME_PLACE * min(one.fov, other.fov)
    return bool(near) and max(one.fov, other.fov) < _SAME_SIZE * min(one.fov, other.fov)
