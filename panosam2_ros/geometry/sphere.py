"""Directions on the unit sphere: longitude and latitude, rotations, tangent planes.

Axes and signs are those of ``geometry/equirect.py``.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]


def lonlat_to_vector(lon: ArrayLike, lat: ArrayLike) -> Floats:
    """Return unit vectors [..., 3] in optical axes of longitudes and latitudes, rad."""
    lon, lat = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
    cosine = np.cos(lat)
    return _stacked((cosine * np.sin(lon), -np.sin(lat), cosine * np.cos(lon)))


def vector_to_lonlat(vectors: ArrayLike) -> tuple[Floats, Floats]:
    """Return longitude in -pi..pi and latitude, rad, of vectors [..., 3] of any length > 0."""
    vectors = np.asarray(vectors, float)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))


def normalised(vectors: ArrayLike) -> Floats:
    """Scale vectors [..., 3] to unit length."""
    vectors = np.asarray(vectors, float)
    unit: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def rotation_matrix(vectors: ArrayLike) -> Floats:
    """Return rotations [3, 3] or [N, 3, 3] about vectors [3] or [N, 3] by their length, rad, right-handed."""
    vectors = np.asarray(vectors, float)
    if vectors.ndim == 1:  # OpenCV takes 2 us, scipy 30; the camera's rotation is fitted in up to 20 steps
        return np.asarray(cv2.Rodrigues(vectors)[0])
    return np.asarray(Rotation.from_rotvec(vectors).as_matrix())


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
    direction = np.asarray(direction, float)
    x, y, z = direction[..., 0], direction[..., 1], direction[..., 2]
    level = np.hypot(x, z)
    length, pole = np.hypot(level, y), level == 0
    level = np.where(pole, 1.0, level)
    sin_lon, cos_lon = x / level, np.where(pole, 1.0, z / level)
    sin_lat, cos_lat = -y / length, np.where(pole, 0.0, level / length)
    east = cos_lon, np.zeros_like(cos_lon), -sin_lon
    return _stacked(east), _stacked((-sin_lat * sin_lon, -cos_lat, -sin_lat * cos_lon))


def cross(a: Floats, b: Floats) -> Floats:
    """Compute the cross products [..., 3] of vectors [..., 3]; numpy's takes five times as long for few."""
    (ax, ay, az), (bx, by, bz) = ((v[..., 0], v[..., 1], v[..., 2]) for v in (a, b))
    return _stacked((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx))


def _stacked(parts: tuple[Floats, Floats, Floats]) -> Floats:
    """Stack x, y and z along a new last axis, as ``np.stack``, which takes three times as long for few."""
    stacked = np.empty((*np.shape(parts[0]), 3))
    stacked[..., 0], stacked[..., 1], stacked[..., 2] = parts
    return stacked
