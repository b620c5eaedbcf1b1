"""Directions on the unit sphere: longitude and latitude, rotations, tangent planes.

Axes and signs are those of ``geometry/equirect.py``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def lonlat_to_vector(lon: ArrayLike, lat: ArrayLike) -> Floats:
    """Unit vectors [..., 3] in optical axes."""
    lon, lat = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
    return np.stack([np.cos(lat) * np.sin(lon), -np.sin(lat), np.cos(lat) * np.cos(lon)], -1)


def vector_to_lonlat(vectors: ArrayLike) -> tuple[Floats, Floats]:
    """Longitude in -pi..pi and latitude, rad, of vectors [..., 3] of any length > 0."""
    x, y, z = np.moveaxis(np.asarray(vectors, float), -1, 0)
    return np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))


def normalised(vectors: ArrayLike) -> Floats:
    """Vectors [..., 3] scaled to unit length."""
    vectors = np.asarray(vectors, float)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def rotation_matrix(vectors: ArrayLike) -> Floats:
    """Rotations [..., 3, 3] about vectors [..., 3] by their length, rad, right-handed."""
    vectors = np.asarray(vectors, float)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    sine, cosine = np.sinc(angle / math.pi), np.sinc(angle / (2 * math.pi)) ** 2 / 2
    return np.asarray(np.eye(3) + sine * skew + cosine * (skew @ skew))


def rotation_vector(rotation: ArrayLike) -> Floats:
    """The inverse of ``rotation_matrix`` for one rotation [3, 3] of less than half a turn."""
    r = np.asarray(rotation, float)
    twice_sine = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    angle = math.atan2(float(np.linalg.norm(twice_sine)), float(np.trace(r)) - 1)
    return twice_sine / (2 * np.sinc(angle / math.pi))


def angle_between(a: ArrayLike, b: ArrayLike) -> Floats:
    """Angle, rad, between unit vectors [..., 3]; accurate for small and for large angles."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return 2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))


def tangent_basis(direction: ArrayLike) -> tuple[Floats, Floats]:
    """East and north unit vectors [..., 3] of the tangent plane at ``direction`` (optical axes).

    At a pole, where east is undefined, longitude 0 is taken.
    """
    lon, lat = vector_to_lonlat(direction)
    east = np.stack([np.cos(lon), np.zeros_like(lon), -np.sin(lon)], -1)
    north = np.stack([-np.sin(lat) * np.sin(lon), -np.cos(lat), -np.sin(lat) * np.cos(lon)], -1)
    return east, north
