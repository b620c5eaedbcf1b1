"""Directions on the unit sphere: longitude and latitude, rotations, tangent planes.

Axes and signs are those of ``geometry/equirect.py``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]


def lonlat_to_vector(lon: ArrayLike, lat: ArrayLike) -> Floats:
    """Return unit vectors [..., 3] in optical axes of longitudes and latitudes, rad."""
    lon, lat = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
    return np.stack([np.cos(lat) * np.sin(lon), -np.sin(lat), np.cos(lat) * np.cos(lon)], -1)


def vector_to_lonlat(vectors: ArrayLike) -> tuple[Floats, Floats]:
    """Return longitude in -pi..pi and latitude, rad, of vectors [..., 3] of any length > 0."""
    x, y, z = np.moveaxis(np.asarray(vectors, float), -1, 0)
    return np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))


def normalised(vectors: ArrayLike) -> Floats:
    """Scale vectors [..., 3] to unit length."""
    vectors = np.asarray(vectors, float)
    unit: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def rotation_matrix(vectors: ArrayLike) -> Floats:
    """Return rotations [3, 3] or [N, 3, 3] about vectors [3] or [N, 3] by their length, rad, right-handed."""
    return np.asarray(Rotation.from_rotvec(np.asarray(vectors, float)).as_matrix())


def rotation_vector(rotation: ArrayLike) -> Floats:
    """Return the vector [3] of a rotation [3, 3] of less than half a turn, as in ``rotation_matrix``.

    Ours, because that of scipy 1.17 takes five times as long (30 to 60 us a call, one per object and frame).
    """
    r = np.asarray(rotation, float)
    twice_sine = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    angle = math.atan2(float(np.linalg.norm(twice_sine)), float(np.trace(r)) - 1)
    return np.asarray(twice_sine / (2 * np.sinc(angle / math.pi)))


def angle_between(a: ArrayLike, b: ArrayLike) -> Floats:
    """Compute the angle, rad, between unit vectors [..., 3], accurate for small and for large angles."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    angle: Floats = 2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    return angle


def tangent_basis(direction: ArrayLike) -> tuple[Floats, Floats]:
    """Return the east and north unit vectors [..., 3] of the tangent plane at ``direction`` (optical axes).

    At a pole, where east is undefined, longitude 0 is taken.
    """
    lon, lat = vector_to_lonlat(direction)
    east = np.stack([np.cos(lon), np.zeros_like(lon), -np.sin(lon)], -1)
    north = np.stack([-np.sin(lat) * np.sin(lon), -np.cos(lat), -np.sin(lat) * np.cos(lon)], -1)
    return east, north
