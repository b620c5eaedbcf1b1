"""How well one mask agrees with its truth: the field's measures, and those of the sphere.

======== =============================================================================
J        intersection over union of pixels, as DAVIS and ``vos-benchmark`` compute it
F        boundary F of DAVIS: pixels within ``ceil(0.008 * diagonal)`` pixels match
F_wrap   the same on a picture that closes at the seam: there is no edge between the last and
         the first column, and they are neighbours
J_sphere intersection over union of solid angles, exact for every pixel
F_sphere our own definition: the boundary of ``F_wrap``, each pixel weighted with its solid
         angle, matched where another lies within ``SPHERE_TOLERANCE`` on the sphere
J_360vos, F_360vos  what the official 360VOS toolkit computes: J and F with its row weights,
         which drift by up to a row (see ``row_weights_of_360vos``)
======== =============================================================================

J and F depend on the resolution; state it with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from panosam2_ros.evaluation.boundaries import (
    Boundary,
    PixelWindow,
    Points,
    boundary,
    f_measure,
    near_in_pixels,
    near_on_sphere,
    row_weights_of_360vos,
)
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.geometry.sphere import Floats

BOUND_TH = 0.008  # of the picture's diagonal, DAVIS
# The same share of the diagonal of a full sphere's picture, 2 pi x pi rad: 3.22 degrees. No
# rounding up to whole pixels, so that it is the same at every resolution (but one pixel at least).
SPHERE_TOLERANCE = BOUND_TH * math.hypot(2 * math.pi, math.pi)


@dataclass(frozen=True)
class PairScores:
    """Scores, 0..1, of one object in one frame; the module's docstring defines them."""

    J: float
    F: float
    J_sphere: float
    F_sphere: float
    J_360vos: float
    F_360vos: float
    F_wrap: float

    def values(self) -> Floats:
        """[7], in the order of ``QUALITIES``."""
        return np.array([getattr(self, name) for name in QUALITIES])


QUALITIES = tuple(field.name for field in fields(PairScores))


class MaskMetrics:
    """Scores pairs of masks on one pixel grid."""

    def __init__(self, grid: Equirect) -> None:
        self.grid = grid
        self.radius = math.ceil(BOUND_TH * math.hypot(grid.width, grid.height))  # pixels
        self.tolerance = max(SPHERE_TOLERANCE, grid.vertical_fov / grid.height)  # rad
        self.solid_angles = grid.pixel_solid_angles()  # [H] sr
        self._drifting = row_weights_of_360vos(grid)

    def score(self, truth: MaskArray, predicted: MaskArray) -> PairScores:
        """All scores of a predicted mask [H, W]; both empty is perfect, one empty is 0."""
        shape = (self.grid.height, self.grid.width)
        if truth.shape != shape or predicted.shape != shape:
            raise ValueError(
                f"truth {truth.shape} and predicted {predicted.shape} must have the grid's shape "
                f"{shape}; bring them to one size first"
            )
        window = PixelWindow.around(truth | predicted)
        if window is None:
            return PairScores(*[1.0] * len(QUALITIES))
        t, p = (np.asarray(window.crop(mask), bool) for mask in (truth, predicted))
        return PairScores(**self._overlaps(t, p, window), **self._boundaries(t, p, window))

    def _overlaps(self, truth: MaskArray, predicted: MaskArray, window: PixelWindow) -> dict[str, float]:
        both = np.count_nonzero(truth & predicted, axis=1)
        either = np.count_nonzero(truth | predicted, axis=1)
        rows = slice(window.top, window.bottom)
        weights = {
            "J": np.ones(len(both)),
            "J_sphere": self.solid_angles[rows],
            "J_360vos": self._drifting[rows],
        }
        return {name: float(w @ both / (w @ either)) for name, w in weights.items()}

    def _boundaries(self, truth: MaskArray, predicted: MaskArray, window: PixelWindow) -> dict[str, float]:
        flat = self._edges(truth, predicted, window, wrap=False)
        seam = window.meets_seam(self.grid.width, self.radius)
        closed = self._edges(truth, predicted, window, wrap=True) if seam else flat
        near = self._match(*flat, wrap=False)
        near_wrap = self._match(*closed, wrap=True) if seam else near
        near_sphere = self._match_on_sphere(*closed)
        one = np.ones(self.grid.height)
        return {
            "F": _f(flat, near, one),
            "F_360vos": _f(flat, near, self._drifting),
            "F_wrap": _f(closed, near_wrap, one),
            "F_sphere": _f(closed, near_sphere, self.solid_angles),
        }

    def _edges(
        self, truth: MaskArray, predicted: MaskArray, window: PixelWindow, wrap: bool
    ) -> tuple[Boundary, Boundary]:
        width = self.grid.width
        return boundary(predicted, window, width, wrap), boundary(truth, window, width, wrap)

    def _match(self, predicted: Boundary, truth: Boundary, wrap: bool) -> tuple[MaskArray, MaskArray]:
        def close(a: Points, b: Points) -> MaskArray:
            return near_in_pixels(a, b, self.radius, self.grid.width, wrap)

        return predicted.near(truth, close), truth.near(predicted, close)

    def _match_on_sphere(self, predicted: Boundary, truth: Boundary) -> tuple[MaskArray, MaskArray]:
        def close(a: Points, b: Points) -> MaskArray:
            return near_on_sphere(a, b, self.tolerance, self.grid)

        return predicted.near(truth, close), truth.near(predicted, close)


def _f(
    boundaries: tuple[Boundary, Boundary],  # of the prediction, of the truth
    near: tuple[MaskArray, MaskArray],
    row_weights: Floats,  # [H]
) -> float:
    predicted, truth = (row_weights[edge.points.rows] for edge in boundaries)
    return f_measure(predicted, near[0], truth, near[1])
