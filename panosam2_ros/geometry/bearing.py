"""From a mask on the panorama to a direction, its size and its uncertainty. Stateless."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.sphere import Floats, angle_between, normalised, tangent_basis

# Variance per tangent axis, rad^2, of a direction of which nothing is known: half the mean
# squared angle to a point that is uniform on the sphere, (pi^2 - 4) / 2.
UNKNOWN_VARIANCE = (math.pi**2 - 4) / 4
# Standard deviations of the centroid per spread of the mask and share of it that is wrong: with 2 the
# 95 % ellipse held 94 % of 1,110 true directions, with 1 72 % (panosam2_nano, scenes like those trained on).
_DOUBT = 2.0
ELLIPSE_95 = 5.991  # chi-squared of two dimensions: squared deviation at the edge of the 95 % ellipse
_BAND = 64  # rows that are converted to numbers at a time
_FORWARD = np.array([0.0, 0.0, 1.0])
_NO_DIRECTION = 1e-6  # shorter mean vectors (of the whole sphere, say) point nowhere


@dataclass(frozen=True)
class Bearing:
    """Where an object is seen, in camera optical axes."""

    direction: Floats  # [3] unit vector
    covariance: Floats  # [2, 2] rad^2, of direction in its tangent plane (east, north)
    extent_horizontal: float  # rad, bounding field of view centred on direction
    extent_vertical: float  # rad
    solid_angle: float  # sr

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON can hold them."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Bearing:
        """What ``to_dict`` gave."""
        direction, covariance = (np.array(values[name], float) for name in ("direction", "covariance"))
        extents = (float(values[name]) for name in ("extent_horizontal", "extent_vertical", "solid_angle"))
        return cls(direction, covariance, *extents)

    def rotated(self, rotation: Floats) -> Bearing:
        """After a rotation [3, 3]; the extents stay, though a roll would change them."""
        direction = normalised(rotation @ self.direction)
        between = np.stack(tangent_basis(direction)) @ rotation @ np.stack(tangent_basis(self.direction), 1)
        return replace(self, direction=direction, covariance=between @ self.covariance @ between.T)


def mask_bearing(
    mask: NDArray[np.bool_],  # [H, W]
    grid: Equirect,
    mask_iou: float = 1.0,
) -> Bearing | None:
    """The bearing of a mask; None for an empty one.

    The direction is the normalised sum of the pixels' unit vectors, weighted with their solid
    angles. The covariance is a model of our own: the quantisation of one pixel, plus the mask's
    second moments in the tangent plane times ``(2 (1 - mask_iou))^2``: a mask that misses the share
    ``1 - mask_iou`` of the object shifts the centroid by about that share of the spread. The
    factor 2 is measured. A mask that lies on another object is not part of the model.
    """
    if mask.shape != (grid.height, grid.width):
        raise ValueError(
            f"mask has shape {mask.shape}, the grid is {grid.height} rows x {grid.width} columns"
        )
    box = mask_box(mask)
    if box is None:
        return None
    block, rows, columns = _crop(mask, box)
    area, mean, moments = _moments(block, rows, columns, grid)
    if np.linalg.norm(mean) > _NO_DIRECTION:
        direction = normalised(mean)
        covariance = _covariance(direction, moments, grid, mask_iou)
    else:
        direction, covariance = _FORWARD, UNKNOWN_VARIANCE * np.eye(2)
    horizontal, vertical = _extents(mask, block, rows, columns, grid, direction)
    return Bearing(direction, covariance, horizontal, vertical, area)


def _covariance(direction: Floats, moments: Floats, grid: Equirect, mask_iou: float) -> Floats:
    """[2, 2] rad^2 (east, north); ``moments`` [3, 3] is the mean of v v^T over the mask."""
    basis = np.stack(tangent_basis(direction))
    pixel = max(2 * math.pi / grid.width, grid.vertical_fov / grid.height)
    doubt = 1.0 - min(max(mask_iou, 0.0), 1.0)
    return bounded_covariance(pixel**2 / 12 * np.eye(2) + (_DOUBT * doubt) ** 2 * (basis @ moments @ basis.T))


def bounded_covariance(covariance: Floats) -> Floats:
    """[2, 2] rad^2: no direction is less certain than one that may be anywhere."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.asarray(vectors * np.minimum(values, UNKNOWN_VARIANCE) @ vectors.T)


def squared_deviation(
    direction: Floats,  # [3] unit vector
    covariance: Floats,  # [2, 2] rad^2, of it in its tangent plane (east, north)
    other: Floats,  # [3] unit vector
) -> float:
    """Squared Mahalanobis distance of another direction, along the great circle; inf with no covariance."""
    seen = np.stack(tangent_basis(direction)) @ other
    length = float(np.linalg.norm(seen))
    offset = seen / length * float(angle_between(direction, other)) if length > 0 else seen
    if np.linalg.matrix_rank(covariance) < 2:
        return math.inf
    return float(offset @ np.linalg.solve(covariance, offset))


def _crop(
    mask: NDArray[np.bool_], box: tuple[int, int, int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """The mask inside its box, contiguous across the seam, with its row and column indices.

    Columns go on counting past the seam: their longitudes stay continuous.
    """
    u_min, v_min, u_max, v_max = box
    width = mask.shape[1]
    columns = np.arange(u_min, u_max + 1 if u_min <= u_max else u_max + width + 1)
    strip = mask[v_min : v_max + 1]
    if u_min <= u_max:
        block = strip[:, u_min : u_max + 1]
    else:
        block = np.concatenate([strip[:, u_min:], strip[:, : u_max + 1]], 1)
    return block, np.arange(v_min, v_max + 1), columns


def _moments(
    block: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    grid: Equirect,
) -> tuple[float, Floats, Floats]:
    """Area (sr), mean vector [3] and mean of v v^T [3, 3] of the mask's unit vectors v.

    Every entry is a product of a function of latitude and one of longitude, so that one matrix
    product per mask replaces a vector per pixel.
    """
    lon, _ = grid.pixel_to_lonlat(columns, 0)
    _, lat = grid.pixel_to_lonlat(0, rows)
    sin, cos = np.sin(lon), np.cos(lon)
    of_lon = np.stack([np.ones_like(lon), sin, cos, sin * sin, sin * cos, cos * cos], 1)
    bands = (block[i : i + _BAND].astype(float) for i in range(0, len(block), _BAND))
    sums = np.concatenate([band @ of_lon for band in bands])
    weight = grid.pixel_solid_angles()[rows]
    level, height = np.cos(lat), -np.sin(lat)
    area = float(weight @ sums[:, 0])
    x, z = (weight * level) @ sums[:, 1:3]
    y = (weight * height) @ sums[:, 0]
    xx, xz, zz = (weight * level**2) @ sums[:, 3:6]
    xy, yz = (weight * level * height) @ sums[:, 1:3]
    yy = (weight * height**2) @ sums[:, 0]
    second = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return area, np.array([x, y, z]) / area, second / area


def _extents(
    mask: NDArray[np.bool_],
    block: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    grid: Equirect,
    direction: Floats,
) -> tuple[float, float]:
    """Horizontal and vertical extent, rad, of the field of view centred on ``direction``.

    The corners of the outline's pixels decide, unless the mask holds one of the points where
    the longitude seen from ``direction`` is not continuous.
    """
    east, north = tangent_basis(direction)
    poles, behind = np.stack([north, -north]), -direction[None]
    around = _holds(mask, grid, np.concatenate([poles, behind]))
    corners = _outline_corners(block, rows, columns, grid)
    longitude = np.arctan2(corners @ east, corners @ direction)
    latitude = np.arcsin(np.clip(corners @ north, -1, 1))
    horizontal = 2 * math.pi if around.any() else 2 * float(np.abs(longitude).max())
    vertical = math.pi if around[:2].any() else 2 * float(np.abs(latitude).max())
    return horizontal, vertical


def _outline_corners(
    block: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    grid: Equirect,
) -> Floats:
    """Unit vectors [N, 3] of the pixel corners where the mask meets what is not the mask."""
    padded = np.pad(block, 1)
    left, right = padded[:, :-1], padded[:, 1:]
    some, every = left | right, left & right
    v, u = np.nonzero((some[:-1] | some[1:]) & ~(every[:-1] & every[1:]))
    return grid.pixel_to_vector(columns[0] + u - 0.5, rows[0] + v - 0.5)


def _holds(mask: NDArray[np.bool_], grid: Equirect, directions: Floats) -> NDArray[np.bool_]:
    """Whether each direction [N, 3] falls on a pixel of the mask."""
    u, v = grid.vector_to_pixel(directions)
    column = np.floor(u + 0.5).astype(int) % grid.width
    row = np.floor(v + 0.5).astype(int)
    # The lower edge of a full sphere (v = H - 0.5) is the pole, which the last row holds.
    inside = (row >= 0) & ((row < grid.height) | (v <= grid.height - 0.5 + 1e-9))
    return np.asarray(inside & mask[row.clip(0, grid.height - 1), column])
