"""Measures of the agreement of a mask with its ground truth: the field's own, and those of the sphere.

======== =============================================================================
J        intersection over union of pixels, as DAVIS and ``vos-benchmark`` compute it
F        boundary F of DAVIS: pixels within ``ceil(0.008 * diagonal)`` pixels match
F_wrap   the same on an image that is closed at the seam: there is no boundary between the last and
         the first column, and they are neighbours
J_sphere intersection over union of solid angles, exact for every pixel
F_sphere our own definition: the boundary of ``F_wrap``, each pixel weighted by its solid angle and
         matched where another lies within ``SPHERE_TOLERANCE`` on the sphere
J_360vos, F_360vos  results of the official 360VOS toolkit: J and F with its row weights, which
         drift by up to a row (see ``row_weights_of_360vos``)
======== =============================================================================

J and F depend on the resolution, which has to be stated with them.
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

BOUND_TH = 0.008  # of the image's diagonal, as in DAVIS
# The same share of the diagonal of a full sphere's image, 2 pi x pi rad: 3.22 degrees. It is not rounded up
# to whole pixels, so that it is the same at every resolution (and one pixel at least).
SPHERE_TOLERANCE = BOUND_TH * math.hypot(2 * math.pi, math.pi)


@dataclass(frozen=True)
class MaskScores:
    """Measures, 0..1, of one object in one frame; the module's docstring defines them."""

    J: float
    F: float
    J_sphere: float
    F_sphere: float
    J_360vos: float
    F_360vos: float
    F_wrap: float

    def values(self) -> Floats:
        """Return the measures [7] in the order of ``MEASURES``."""
        return np.array([getattr(self, name) for name in MEASURES])


MEASURES = tuple(field.name for field in fields(MaskScores))


class MaskMetrics:
    """Scores predicted masks against true ones on one pixel grid."""

    def __init__(self, grid: Equirect) -> None:
        self.grid = grid
        self.radius = math.ceil(BOUND_TH * math.hypot(grid.width, grid.height))  # pixels
        self.tolerance = max(SPHERE_TOLERANCE, grid.vertical_fov / grid.height)  # rad
        self.solid_angles = grid.pixel_solid_angles()  # [H] sr
        self._weights_360vos = row_weights_of_360vos(grid)

    def score(self, ground_truth: MaskArray, predicted: MaskArray) -> MaskScores:
        """Return all measures of a predicted mask [H, W]: 1 where both masks are empty, 0 where one is."""
        shape = (self.grid.height, self.grid.width)
        if ground_truth.shape != shape or predicted.shape != shape:
            raise ValueError(
                f"true and predicted masks need the grid's shape {shape}, got {ground_truth.shape} and "
                f"{predicted.shape}: resize them first"
            )
        window = PixelWindow.around(ground_truth | predicted)
        if window is None:
            return MaskScores(*[1.0] * len(MEASURES))
        t, p = (np.asarray(window.crop(mask), bool) for mask in (ground_truth, predicted))
        return MaskScores(**self._overlaps(t, p, window), **self._boundaries(t, p, window))

    def _overlaps(self, true: MaskArray, predicted: MaskArray, window: PixelWindow) -> dict[str, float]:
        """Return the intersections over union."""
        both = np.count_nonzero(true & predicted, axis=1)
        either = np.count_nonzero(true | predicted, axis=1)
        rows = slice(window.top, window.bottom)
        weights = {
            "J": np.ones(len(both)),
            "J_sphere": self.solid_angles[rows],
            "J_360vos": self._weights_360vos[rows],
        }
        return {name: float(w @ both / (w @ either)) for name, w in weights.items()}

    def _boundaries(self, true: MaskArray, predicted: MaskArray, window: PixelWindow) -> dict[str, float]:
        """Return the F measures of the boundaries."""
        flat = self._edges(true, predicted, window, wrap=False)
        seam = window.meets_seam(self.grid.width, self.radius)
        closed = self._edges(true, predicted, window, wrap=True) if seam else flat
        near = self._match(*flat, wrap=False)
        near_wrap = self._match(*closed, wrap=True) if seam else near
        near_sphere = self._match_on_sphere(*closed)
        one = np.ones(self.grid.height)
        return {
            "F": _f_of(flat, near, one),
            "F_360vos": _f_of(flat, near, self._weights_360vos),
            "F_wrap": _f_of(closed, near_wrap, one),
            "F_sphere": _f_of(closed, near_sphere, self.solid_angles),
        }

    def _edges(
        self, true: MaskArray, predicted: MaskArray, window: PixelWindow, *, wrap: bool
    ) -> tuple[Boundary, Boundary]:
        """Return the boundaries of the prediction and of the ground truth."""
        width = self.grid.width
        return boundary(predicted, window, width, wrap=wrap), boundary(true, window, width, wrap=wrap)

    def _match(self, predicted: Boundary, true: Boundary, *, wrap: bool) -> tuple[MaskArray, MaskArray]:
        """Return which pixels of each boundary lie near the other one, by pixels."""

        def close(a: Points, b: Points) -> MaskArray:
            return near_in_pixels(a, b, self.radius, self.grid.width, wrap=wrap)

        return predicted.near(true, close), true.near(predicted, close)

    def _match_on_sphere(self, predicted: Boundary, true: Boundary) -> tuple[MaskArray, MaskArray]:
        """Return which pixels of each boundary lie near the other one, by angle."""

        def close(a: Points, b: Points) -> MaskArray:
            return near_on_sphere(a, b, self.tolerance, self.grid)

        return predicted.near(true, close), true.near(predicted, close)


def _f_of(
    boundaries: tuple[Boundary, Boundary],  # of the prediction, of the ground truth
    near: tuple[MaskArray, MaskArray],
    row_weights: Floats,  # [H]
) -> float:
    """Return the F measure of two boundaries, pixels weighted by their rows."""
    predicted, true = (row_weights[edge.points.rows] for edge in boundaries)
    return f_measure(predicted, near[0], true, near[1])
