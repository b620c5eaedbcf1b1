"""Geometry for 3D views of a panorama: the sphere of its pixels, and curves around a bearing.

All directions are unit vectors in camera optical axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import ELLIPSE_95, Bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, tangent_basis


@dataclass(frozen=True, eq=False)
class SpherePoints:
    """Evenly distributed points on the sphere, and the pixels of ``grid`` at which they lie."""

    grid: Equirect
    rows: NDArray[np.intp]  # [N]
    columns: NDArray[np.intp]  # [N]
    directions: Floats  # [N, 3]


@lru_cache(maxsize=2)
def sphere_points(columns: int, vertical_fov: float) -> SpherePoints:
    """Distribute points evenly on the sphere: ``columns`` on the horizon, fewer towards the poles."""
    grid = Equirect(columns, max(1, round(columns * vertical_fov / (2 * math.pi))), vertical_fov)
    counts = np.maximum(1, np.round(columns * np.cos(grid.row_latitudes()))).astype(int)
    rows = np.repeat(np.arange(grid.height), counts)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    u = (place + 0.5) * columns / counts[rows] - 0.5
    directions = grid.pixel_to_vector(u, rows)
    nearest = np.floor(u + 0.5).astype(int) % columns
    return SpherePoints(grid, rows, nearest, directions)


def extent_border(bearing: Bearing, *, count: int = 32) -> Floats:
    """Compute the ellipse [count, 3] inside an object's bounding field of view, without a closing point."""
    angle = np.arange(count) * (2 * math.pi / count)
    across = np.clip(bearing.extent_horizontal / 2, 0, math.pi) * np.cos(angle)
    up = np.clip(bearing.extent_vertical / 2, 0, math.pi / 2) * np.sin(angle)
    east, north = tangent_basis(bearing.direction)
    level = np.outer(np.cos(across), bearing.direction) + np.outer(np.sin(across), east)
    return np.asarray(np.cos(up)[:, None] * level + np.outer(np.sin(up), north))


def covariance_border(bearing: Bearing, *, count: int = 32) -> Floats:
    """Compute the ellipse [count, 3] that contains the direction with 95 % probability, by its covariance."""
    angle = np.arange(count) * (2 * math.pi / count)
    values, axes = np.linalg.eigh(bearing.covariance)
    radii = np.sqrt(ELLIPSE_95) * np.sqrt(np.clip(values, 0, None))
    plane = (radii * np.stack([np.cos(angle), np.sin(angle)], -1)) @ axes.T  # [count, 2] rad
    length = np.linalg.norm(plane, axis=-1, keepdims=True)
    reach = np.minimum(length, math.pi)
    across = plane / np.maximum(length, 1e-12) @ np.stack(tangent_basis(bearing.direction))
    return np.asarray(np.cos(reach) * bearing.direction + np.sin(reach) * across)
