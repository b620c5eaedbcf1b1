"""Removal of islands, of improbable parts and of holes from masks.

In panoramas parts are joined across the seam and over the poles, and measured on the sphere.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.connected_components import connected_components
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector
from panosam2_ros.geometry.window import Logits


@dataclass(frozen=True)
class CleanupConfig:
    """The limits of islands and holes."""

    min_island: float = 0.25  # smallest weight of parts that stay, relative to the heaviest; 0: all stay
    max_hole: float = 0.0  # largest solid angle of holes that are filled, relative to the mask; 0: none
    # Rad; a part's weight is its solid angle times exp(-(d/s)^2/2), d its distance from the predicted
    # direction, s^2 the variance of the prediction plus this squared; 0: its solid angle.
    reach: float = 0.1
    vertical_fov: float | None = math.pi  # rad, of panoramas; None: the mask is that of a search region


@dataclass(frozen=True, eq=False)
class ExpectedPlace:
    """The predicted direction of an object."""

    direction: Floats  # [3] unit vector, optical axes of the logits' panorama
    deviation: float  # rad
    vertical_fov: float = math.pi  # rad, of that panorama


def remove_islands_and_holes(
    logits: Logits, rules: CleanupConfig, *, expected: ExpectedPlace | None = None
) -> Logits:
    """Remove islands and small holes from the mask of logits [h, w].

    Logits change their sign but not their magnitude, so that the remaining boundary stays where it is.
    """
    mask = logits > 0
    if rules.min_island > 0:
        parts, weights = connected_components(mask, 8, rules.vertical_fov)
        weights[0] = 0
        if expected is not None and rules.reach > 0 and np.count_nonzero(weights) > 1:
            weights *= _nearness(parts, len(weights), expected, rules)
        mask &= ~(weights < rules.min_island * weights.max())[parts]
    if rules.max_hole > 0:
        gaps, angles = connected_components(~mask, 4, rules.vertical_fov)
        small = angles < rules.max_hole * angles[0]
        mask |= small[gaps] & (gaps > 0)
    return np.where(mask, np.abs(logits), -np.abs(logits))


def _nearness(
    parts: NDArray[np.int32], count: int, expected: ExpectedPlace, rules: CleanupConfig
) -> NDArray[np.float64]:
    """Compute exp(-(d/s)^2/2) of parts [count], d to their nearest pixels, relative to the nearest part."""
    cosine = _pixel_vectors(*parts.shape, expected.vertical_fov) @ expected.direction
    nearest = np.full(count, -1.0)
    for part in np.unique(parts[parts > 0]):
        nearest[part] = cosine[parts == part].max()
    distance = np.arccos(np.clip(nearest, -1, 1))
    exponent = distance**2 / (2 * (rules.reach**2 + expected.deviation**2))
    return np.asarray(np.exp(exponent.min() - exponent))


@functools.lru_cache(maxsize=4)
def _pixel_vectors(height: int, width: int, vertical_fov: float) -> Floats:
    """Compute the unit vectors [h, w, 3] of a mask's pixels."""
    grid = Equirect(2 * height, height, vertical_fov)
    columns = grid.column_longitudes().reshape(width, -1).mean(1)  # means, because masks may be square
    return lonlat_to_vector(*np.meshgrid(columns, grid.row_latitudes()))
