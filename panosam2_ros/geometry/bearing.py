"""The direction of a mask on the panorama, its angular size and its uncertainty; stateless functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.sphere import Floats, angle_between, normalised, tangent_basis

# Variance per tangent axis, rad^2, of an unknown direction: half the mean squared angle to a point
# that is uniform on the sphere, (pi^2 - 4) / 2.
UNKNOWN_VARIANCE = (math.pi**2 - 4) / 4
# Standard deviation of the centroid as a multiple of the mask's spread times its expected error 1 - IoU:
# with 2 the 95 % ellipse held 94 % of 1,110 true directions, with 1 72 % (panosam2_nano, scenes like those
# trained on).
_ERROR_GAIN = 2.0
ELLIPSE_95 = 5.991  # chi-squared of two dimensions: squared deviation at the edge of the 95 % ellipse
_BAND = 64  # rows that are converted to floating point at a time
_FORWARD = np.array([0.0, 0.0, 1.0])
_MIN_MEAN_LENGTH = 1e-6  # a shorter mean vector (of the whole sphere, say) has no direction


@dataclass(frozen=True, eq=False)
class Bearing:
    """The direction and the angular extent of an object, in camera optical axes."""

    direction: Floats  # [3] unit vector
    covariance: Floats  # [2, 2] rad^2, of direction in its tangent plane (east, north)
    extent_horizontal: float  # rad, bounding field of view centred on direction
    extent_vertical: float  # rad
    solid_angle: float  # sr

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Bearing:
        """Build a bearing from what ``to_dict`` returned."""
        direction, covariance = (np.array(values[name], float) for name in ("direction", "covariance"))
        extents = (float(values[name]) for name in ("extent_horizontal", "extent_vertical", "solid_angle"))
        return cls(direction, covariance, *extents)

    def rotated(self, rotation: Floats) -> Bearing:
        """Rotate direction and covariance by a matrix [3, 3].

        The extents stay as they are, though a roll would change them.
        """
        direction = normalised(rotation @ self.direction)
        between = np.stack(tangent_basis(direction)) @ rotation @ np.stack(tangent_basis(self.direction), 1)
        return replace(self, direction=direction, covariance=between @ self.covariance @ between.T)


def mask_bearing(
    mask: NDArray[np.bool_],  # [H, W]
    grid: Equirect,
    *,
    mask_iou: float = 1.0,
) -> Bearing | None:
    """Compute the bearing of a mask; None for an empty one.

    The direction is the normalised sum of the pixels' unit vectors, weighted with their solid
    angles. The covariance is a model of our own: the quantisation of one pixel, plus the mask's
    second moments in the tangent plane times ``(2 (1 - mask_iou))^2``: a mask that misses the share
    ``1 - mask_iou`` of the object shifts the centroid by about that share of the spread. The
    factor 2 is measured. The model does not cover a mask that lies on another object.

    Raises ValueError where the mask does not have the size of the grid.
    """
    if mask.shape != (grid.height, grid.width):
        raise ValueError(
            f"mask has shape {mask.shape}, the grid is {grid.height} rows x {grid.width} columns"
        )
    box = mask_box(mask)
    if box is None:
        return None
    crop = _crop(mask, box)
    pixel = max(2 * math.pi / grid.width, grid.vertical_fov / grid.height)
    outline = MaskOutline(_outline_corners(crop, grid), partial(_holds, mask, grid))
    return bearing_of(_moments(crop, grid), outline, pixel, mask_iou=mask_iou)


def bearing_of(moments: MaskMoments, outline: MaskOutline, pixel: float, *, mask_iou: float) -> Bearing:
    """Compute the bearing of a mask as ``mask_bearing`` does; ``pixel``: rad, side of its pixels."""
    if np.linalg.norm(moments.mean) > _MIN_MEAN_LENGTH:
        direction = normalised(moments.mean)
        covariance = _covariance(direction, moments.second, pixel, mask_iou)
    else:
        direction, covariance = _FORWARD, UNKNOWN_VARIANCE * np.eye(2)
    horizontal, vertical = _extents(outline, direction)
    return Bearing(direction, covariance, horizontal, vertical, moments.area)


def _covariance(direction: Floats, moments: Floats, pixel: float, mask_iou: float) -> Floats:
    """Compute the covariance [2, 2] rad^2 (east, north) of a mask's direction.

    ``moments`` [3, 3] is the mean of v v^T over the mask.
    """
    basis = np.stack(tangent_basis(direction))
    error = 1.0 - min(max(mask_iou, 0.0), 1.0)
    spread = basis @ moments @ basis.T
    return bounded_covariance(pixel**2 / 12 * np.eye(2) + (_ERROR_GAIN * error) ** 2 * spread)


def bounded_covariance(covariance: Floats) -> Floats:
    """Limit both variances of a covariance [2, 2] rad^2 to that of an unknown direction."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.asarray(vectors * np.minimum(values, UNKNOWN_VARIANCE) @ vectors.T)


def squared_deviation(
    direction: Floats,  # [3] unit vector
    covariance: Floats,  # [2, 2] rad^2, of ``direction`` in its tangent plane (east, north)
    other: Floats,  # [3] unit vector
) -> float:
    """Compute the squared Mahalanobis distance of another direction, along the great circle.

    Infinite where the covariance is singular.
    """
    projected, angle = np.stack(tangent_basis(direction)) @ other, float(angle_between(direction, other))
    length = float(np.linalg.norm(projected))
    # opposite directions are as far whichever way round
    offset = projected / length * angle if length > 0 else np.array([angle, 0.0])
    if np.linalg.matrix_rank(covariance) < 2:
        return math.inf
    return float(offset @ np.linalg.solve(covariance, offset))


@dataclass(frozen=True, eq=False)
class MaskMoments:
    """The moments of a mask's unit vectors v, weighted with solid angles."""

    area: float  # sr
    mean: Floats  # [3] of v
    second: Floats  # [3, 3] mean of v v^T


@dataclass(frozen=True, eq=False)
class MaskOutline:
    """The border of a mask, and which directions lie inside it."""

    corners: Floats  # [N, 3] unit vectors of the corners of the border's pixels
    holds: Callable[[Floats], NDArray[np.bool_]]  # directions [M, 3] -> [M], whether the mask has them


@dataclass(frozen=True, eq=False)
class _MaskCrop:
    """A mask inside its box, contiguous across the seam."""

    block: NDArray[np.bool_]  # [h, w]
    rows: NDArray[np.int64]  # [h]
    columns: NDArray[np.int64]  # [w]; counted on past the seam, so that longitudes are continuous


def _crop(mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> _MaskCrop:
    """Cut a mask [H, W] to its box."""
    u_min, v_min, u_max, v_max = box
    width = mask.shape[1]
    columns = np.arange(u_min, u_max + 1 if u_min <= u_max else u_max + width + 1)
    strip = mask[v_min : v_max + 1]
    if u_min <= u_max:
        block = strip[:, u_min : u_max + 1]
    else:
        block = np.concatenate([strip[:, u_min:], strip[:, : u_max + 1]], 1)
    return _MaskCrop(block, np.arange(v_min, v_max + 1), columns)


def _moments(crop: _MaskCrop, grid: Equirect) -> MaskMoments:
    """Compute the moments of a mask.

    Every entry is a product of a function of latitude and one of longitude, so that one matrix
    product per mask replaces a vector per pixel.
    """
    lon, _ = grid.pixel_to_lonlat(crop.columns, 0)
    _, lat = grid.pixel_to_lonlat(0, crop.rows)
    sin, cos = np.sin(lon), np.cos(lon)
    of_lon = np.stack([np.ones_like(lon), sin, cos, sin * sin, sin * cos, cos * cos], 1)
    bands = (crop.block[i : i + _BAND].astype(float) for i in range(0, len(crop.block), _BAND))
    sums = np.concatenate([band @ of_lon for band in bands])
    weight = grid.pixel_solid_angles()[crop.rows]
    level, height = np.cos(lat), -np.sin(lat)
    area = float(weight @ sums[:, 0])
    x, z = (weight * level) @ sums[:, 1:3]
    y = (weight * height) @ sums[:, 0]
    xx, xz, zz = (weight * level**2) @ sums[:, 3:6]
    xy, yz = (weight * level * height) @ sums[:, 1:3]
    yy = (weight * height**2) @ sums[:, 0]
    second = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return MaskMoments(area, np.array([x, y, z]) / area, second / area)


def _extents(outline: MaskOutline, direction: Floats) -> tuple[float, float]:
    """Compute the horizontal and vertical extent, rad, of the field of view centred on ``direction``.

    The corners of the outline's pixels decide, unless the mask holds one of the points where the
    longitude relative to ``direction`` is not continuous.
    """
    east, north = tangent_basis(direction)
    around = outline.holds(np.stack([north, -north, -direction]))  # poles of that view, and behind it
    corners = outline.corners
    longitude = np.arctan2(corners @ east, corners @ direction)
    latitude = np.arcsin(np.clip(corners @ north, -1, 1))
    horizontal = 2 * math.pi if around.any() else 2 * float(np.abs(longitude).max())
    vertical = math.pi if around[:2].any() else 2 * float(np.abs(latitude).max())
    return horizontal, vertical


def _outline_corners(crop: _MaskCrop, grid: Equirect) -> Floats:
    """Compute the unit vectors [N, 3] of the pixel corners on the mask's border."""
    v, u = outline_corners(crop.block)
    return grid.pixel_to_vector(crop.columns[0] + u - 0.5, crop.rows[0] + v - 0.5)


def outline_corners(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns [N] of the pixel corners on the border of a mask [h, w]; 0: the first edge."""
    padded = np.pad(mask, 1)
    left, right = padded[:, :-1], padded[:, 1:]
    some, every = left | right, left & right
    rows, columns = np.nonzero((some[:-1] | some[1:]) & ~(every[:-1] & every[1:]))
    return rows, columns


def _holds(mask: NDArray[np.bool_], grid: Equirect, directions: Floats) -> NDArray[np.bool_]:
    """Tell for each direction [N, 3] whether it falls on a pixel of the mask."""
    u, v = grid.vector_to_pixel(directions)
    column = np.floor(u + 0.5).astype(int) % grid.width
    row = np.floor(v + 0.5).astype(int)
    # The lower edge of a full sphere (v = H - 0.5) is the pole, which the last row holds.
    inside = (row >= 0) & ((row < grid.height) | (v <= grid.height - 0.5 + 1e-9))
    return np.asarray(inside & mask[row.clip(0, grid.height - 1), column])
