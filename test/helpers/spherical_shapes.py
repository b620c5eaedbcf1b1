"""Masks on the sphere, and how they overlap."""

from __future__ import annotations

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector

GRID = Equirect(512, 256)


def disc(lon: float, lat: float, radius: float, grid: Equirect = GRID) -> np.ndarray:
    """Pixels [H, W] nearer than ``radius`` (rad) to a direction."""
    vectors = lonlat_to_vector(*np.meshgrid(grid.column_longitudes(), grid.row_latitudes()))
    return angle_between(vectors, lonlat_to_vector(lon, lat)) < radius


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())
