"""Masks without what does not belong to them: islands, parts where the object cannot be, holes.

On the sphere: across the seam and over the poles.
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
    """What counts as not belonging to a mask."""

    min_island: float = 0.25  # weight of smaller parts that stay, as a share of the heaviest's; 0: all stay
    max_hole: float = 0.0  # solid angle of holes that are filled, as a share of the mask's; 0: none
    # rad; a part weighs its solid angle times exp(-(d/s)^2/2) at distance d from where the object should be,
    # s^2 the variance of that plus this squared; 0: its solid angle
    reach: float = 0.1
    vertical_fov: float = math.pi  # rad


@dataclass(frozen=True)
class ExpectedPlace:
    """Where an object should be."""

    direction: Floats  # [3] unit vector, optical axes of the logits' panorama
    deviation: float  # rad


def remove_islands_and_holes(
    logits: Logits, rules: CleanupConfig, expected: ExpectedPlace | None = None
) -> Logits:
    """Logits whose mask has no islands and no small holes, on the sphere.

    What changes sides keeps its magnitude, so that the outline stays where it is.
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
    """exp(-(d/s)^2/2) of each part [count], d to its nearest pixel; the nearest has 1."""
    cosine = _pixel_vectors(*parts.shape, rules.vertical_fov) @ expected.direction
    nearest = np.full(count, -1.0)
    for part in np.unique(parts[parts > 0]):
        nearest[part] = cosine[parts == part].max()
    distance = np.arccos(np.clip(nearest, -1, 1))
    exponent = distance**2 / (2 * (rules.reach**2 + expected.deviation**2))
    return np.asarray(np.exp(exponent.min() - exponent))


@functools.lru_cache(maxsize=4)
def _pixel_vectors(height: int, width: int, vertical_fov: float) -> Floats:
    """Unit vectors [h, w, 3]; networks may be square."""
    grid = Equirect(2 * height, height, vertical_fov)
    columns = grid.column_longitudes().reshape(width, -1).mean(1)
    return lonlat_to_vector(*np.meshgrid(columns, grid.row_latitudes()))
