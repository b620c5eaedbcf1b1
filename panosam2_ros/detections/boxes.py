"""Boxes as a detector gives them in one image: which of them can be used, and which are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from panosam2_ros.geometry.sphere import Floats

MOST_BOXES = 100  # of one image that are looked at, the best ones, as COCO's evaluation does
_LEAST_SIDE = 2.0  # pixels
_FARTHEST = 2.0  # image sizes from the image beyond which a box is one of other pixels
# A box ends at a border that is so near: a fraction of the image's size, or of the box's within a larger one
# of the image's. Detectors miss edges by more pixels, the larger a thing is.
_MARGIN, _BOX_MARGIN, _MOST_MARGIN = 0.01, 0.08, 0.03
_SAME_ROWS = 0.5  # share of the rows of the lower one of two halves that the other one has


@dataclass(frozen=True, eq=False)
class DetectedBoxes:
    """Boxes of one image, in pixel indices of their outer edges: an image spans -0.5 to width - 0.5.

    A box of a panorama may go on beyond its first or last column; columns are modulo the width there.
    """

    edges: Floats  # [N, 4] u_min, v_min, u_max, v_max
    scores: Floats  # [N]
    classes: tuple[str, ...]  # N

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.scores)

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> DetectedBoxes:
        """Return some of the boxes, in the order of ``rows``."""
        index = np.asarray(rows, np.int64)
        return DetectedBoxes(self.edges[index], self.scores[index], tuple(self.classes[i] for i in index))

    @property
    def sizes(self) -> Floats:
        """Width and height, [N, 2] pixels."""
        return np.asarray(self.edges[:, 2:] - self.edges[:, :2])


@dataclass(frozen=True)
class Wanted:
    """Which boxes become objects."""

    least_score: float = 0.5
    classes: frozenset[str] = frozenset()  # empty: all


def centred_edges(centres: Floats, sizes: Floats, angles: Floats) -> Floats:
    """Return the edges [N, 4] of the upright boxes round rotated ones.

    ``centres`` and ``sizes`` are [N, 2] pixels, ``angles`` [N] rad.
    """
    cosine, sine = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    wide, high = sizes.T
    half = np.stack([wide * cosine + high * sine, wide * sine + high * cosine], -1) / 2
    return np.concatenate([centres - half, centres + half], -1)


def usable(boxes: DetectedBoxes, width: int, height: int) -> NDArray[np.bool_]:
    """Tell which boxes [N] are boxes of an image of this size: finite, of some pixels, and in the image."""
    edges, size = boxes.edges, np.array([width, height], float)
    numbers = np.isfinite(edges).all(1) & np.isfinite(boxes.scores)
    near = numbers & (np.abs(edges) <= _FARTHEST * np.tile(size, 2)).all(1)
    known = np.where(near[:, None], edges, 0.0)
    extents = known[:, 2:] - known[:, :2]
    inside = (known[:, 2:] > 0).all(1) & (known[:, :2] < size - 1).all(1)
    return np.asarray(near & inside & (extents >= _LEAST_SIDE).all(1))


def clipped(boxes: DetectedBoxes, width: int, height: int, *, wraps: bool) -> DetectedBoxes:
    """Cut boxes to their image; of a panorama, which ``wraps``, to its rows and to its width."""
    edges = boxes.edges.copy()
    edges[:, 1::2] = edges[:, 1::2].clip(-0.5, height - 0.5)
    if wraps:
        middle, half = edges[:, ::2].mean(1), np.minimum(np.ptp(edges[:, ::2], axis=1), width) / 2
        middle = (middle + 0.5) % width - 0.5
        edges[:, 0], edges[:, 2] = middle - half, middle + half
    else:
        edges[:, ::2] = edges[:, ::2].clip(-0.5, width - 0.5)
    return DetectedBoxes(edges, boxes.scores, boxes.classes)


def best(boxes: DetectedBoxes, wanted: Wanted) -> DetectedBoxes:
    """Return the boxes that are wanted, by falling score, at most MOST_BOXES."""
    rows = [
        i
        for i in np.argsort(-boxes.scores, kind="stable").tolist()
        if boxes.scores[i] >= wanted.least_score
        and (not wanted.classes or boxes.classes[i] in wanted.classes)
    ]
    return boxes.of(rows[:MOST_BOXES])


def joined_at_seam(boxes: DetectedBoxes, width: int) -> DetectedBoxes:
    """Join two boxes of one class that end at the seam on both sides, in about the same rows.

    A detector that does not know that a panorama is closed sees a thing on the seam as two. The joined box
    goes on beyond the last column; it has the better score, and comes in the order of the scores.
    """
    left, right = ends_at_seam(boxes, width)
    pairs = [
        (_row_overlap(boxes.edges[i], boxes.edges[j]), i, j)
        for i in np.flatnonzero(left).tolist()
        for j in np.flatnonzero(right).tolist()
        if boxes.classes[i] == boxes.classes[j]
    ]
    partner: dict[int, int] = {}
    for rows, i, j in sorted(pairs, reverse=True):
        if rows >= _SAME_ROWS and i not in partner and j not in partner:
            partner[i], partner[j] = j, i
    kept = [k for k in range(len(boxes)) if partner.get(k, k) >= k]  # the half of the better score
    edges = boxes.edges.copy()
    for i, j in ((i, j) for i, j in partner.items() if left[i]):
        (_, top, end, bottom), (begin, upper, _, lower) = boxes.edges[i], boxes.edges[j]
        edges[[i, j]] = begin, min(top, upper), end + width, max(bottom, lower)
    return DetectedBoxes(edges, boxes.scores, boxes.classes).of(kept)


def ends_at_seam(boxes: DetectedBoxes, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which boxes [N] end at the first column, and which at the last one, and not at both."""
    margin = _margins(boxes.sizes[:, 0], width)
    first, last = boxes.edges[:, 0], boxes.edges[:, 2]
    left = np.abs(first + 0.5) <= margin
    right = np.abs(last - (width - 0.5)) <= margin
    return left & ~right, right & ~left


def ends_at_border(boxes: DetectedBoxes, width: int, height: int) -> NDArray[np.bool_]:
    """Tell which boxes [N] end at a border of an image, beyond which their things may go on."""
    margin = _margins(boxes.sizes, np.array([width, height]))
    at_first = boxes.edges[:, :2] + 0.5 <= margin
    at_last = boxes.edges[:, 2:] >= np.array([width, height]) - 0.5 - margin
    return np.asarray((at_first | at_last).any(1))


def _margins(sizes: Floats, image: ArrayLike) -> Floats:
    """Return how near to a border of an image of a size a box of one of ``sizes`` ends at it, pixels."""
    size = np.asarray(image, float)
    return np.asarray(np.clip(_BOX_MARGIN * sizes, _MARGIN * size, _MOST_MARGIN * size))


def _row_overlap(box: Floats, other: Floats) -> float:
    """Compute which share of the rows of the lower one of two boxes is in both."""
    shared = min(box[3], other[3]) - max(box[1], other[1])
    return float(max(shared, 0.0) / min(box[3] - box[1], other[3] - other[1]))
