"""The place of an object in space: position, covariance and the box of what is seen of it.

The position is the middle of the surface that is seen: the point on the object's bearing at the mean range of
its visible surface. What is behind that surface is not seen, and neither position nor box claims it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.places.mask_window import MaskWindow
from panosam2_ros.places.projected_points import ProjectedPoints
from panosam2_ros.places.range_clusters import OwnPoints, RangeConfig, own_points

ELLIPSOID_95 = 7.815  # chi-squared of three dimensions: squared deviation at the edge of the 95 % ellipsoid
# Standard deviation of the mean range as a multiple of the own points' spread: the points may be of a part of
# the object only. Measured by `python -m tools.bench_places`.
_SPREAD_GAIN = 0.15
_BIAS = 0.02  # m, standard deviation of what all ranges of one object have in common
_EDGE_WEIGHT = 0.6  # of the points at a mask's edge, where another thing's may be
_LEAST_WIDTH = 0.003  # rad
_MOST_BORDER = 400  # pixels of a mask's border that a box is made of
_TAIL = 0.01  # share of the own points beyond the box at its near and far side
_PARALLEL = 1e-3  # sine of the angle to the vertical below which a bearing has no horizontal part


class PlaceSource(enum.Enum):
    """What a place was computed from."""

    RANGE = "range"
    TRIANGULATION = "triangulation"


@dataclass(frozen=True, eq=False)
class SeenBox:
    """The box round what is seen of an object, one axis along the horizontal line of sight."""

    centre: Floats  # [3] m
    axes: Floats  # [3, 3], columns: away from the camera, to its left, up
    size: Floats  # [3] m along these: seen depth, width, height


@dataclass(frozen=True, eq=False)
class ObjectPlace:
    """Where an object is, in the axes and from the origin that its maker says."""

    obj_id: int
    source: PlaceSource
    position: Floats  # [3] m
    covariance: Floats  # [3, 3] m^2
    box: SeenBox
    # [N] which points are its own, among those projected
    points: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), kw_only=True)

    def moved(self, rotation: Floats, translation: Floats) -> ObjectPlace:
        """Express the place in another frame: ``rotation`` [3, 3] first, then ``translation`` [3], m."""
        box = SeenBox(rotation @ self.box.centre + translation, rotation @ self.box.axes, self.box.size)
        covariance = rotation @ self.covariance @ rotation.T
        return ObjectPlace(
            self.obj_id,
            self.source,
            rotation @ self.position + translation,
            covariance,
            box,
            points=self.points,
        )


@dataclass(frozen=True, eq=False)
class MaskedObject:
    """One visible object of one image, in the camera's optical axes."""

    obj_id: int
    mask: NDArray[np.bool_]  # [H, W]
    direction: Floats  # [3] unit vector
    covariance: Floats  # [3, 3] rad^2, of the direction


def place_by_range(
    seen: MaskedObject, grid: Equirect, points: ProjectedPoints, up: Floats, config: RangeConfig
) -> ObjectPlace | None:
    """Place an object by the points inside its mask; None where none can be told to be its own.

    ``up`` [3] is the vertical in optical axes, for the box. The place is in optical axes, from the camera.
    """
    window = MaskWindow.around(seen.mask, grid, 3.5 * config.alignment_error)
    own = own_points(window, points, config) if window is not None else None
    if own is None:
        return None
    estimate = _mean_range(own, points, config)
    # a mask that is shifted across an oblique surface is also nearer or farther
    moved = estimate.distance * np.eye(3) + np.outer(seen.direction, estimate.slope)
    covariance = moved @ seen.covariance @ moved.T
    covariance += estimate.variance * np.outer(seen.direction, seen.direction)
    box = _seen_box(seen, grid, points.xyz[own.index], up)
    position = estimate.distance * seen.direction
    return ObjectPlace(seen.obj_id, PlaceSource.RANGE, position, covariance, box, points=own.index)


@dataclass(frozen=True, eq=False)
class _RangeEstimate:
    """The mean range of a surface."""

    distance: float  # m
    slope: Floats  # [3] m/rad: how the range changes with the direction
    variance: float  # m^2, of the distance at a direction that is known


def _mean_range(own: OwnPoints, points: ProjectedPoints, config: RangeConfig) -> _RangeEstimate:
    """Return the mean range of an object's own points."""
    xyz, ranges = points.xyz[own.index], points.ranges[own.index]
    # sensors measure at even steps of angle: towards the poles a point stands for less solid angle
    level = np.hypot(xyz[:, 0], xyz[:, 2]) / ranges
    weight = level * np.clip(own.depth / config.alignment_error, _EDGE_WEIGHT, 1.0)
    weight /= weight.sum()
    mean = float(weight @ ranges)
    slope, rest = _slope(xyz / ranges[:, None], ranges - mean, weight)
    effective = 1 / float(weight @ weight)
    variance = (rest + config.range_noise**2) / effective + _SPREAD_GAIN**2 * rest + _BIAS**2
    return _RangeEstimate(mean, slope, variance)


def _slope(directions: Floats, offsets: Floats, weight: Floats) -> tuple[Floats, float]:
    """Fit range offsets [N], m, linearly over directions [N, 3]: slope [3], m/rad, and variance left, m^2."""
    across = directions - weight @ directions
    values, vectors = np.linalg.eigh(across.T @ (across * weight[:, None]))
    basis = vectors[:, 1:]  # the smallest is along the bearing
    # a slope over a width of less than a sample's is none
    steady = values[1:] + _LEAST_WIDTH**2
    slope = basis @ ((basis.T @ (across.T @ (weight * offsets))) / steady)
    left = offsets - across @ slope
    return slope, float(weight @ left**2)


def _seen_box(seen: MaskedObject, grid: Equirect, own: Floats, up: Floats) -> SeenBox:
    """Return the box round an object's own points [N, 3] and its mask's border at their ranges."""
    axes = sight_axes(seen.direction, up)
    ranges = np.linalg.norm(own, axis=1)
    border = _border_directions(seen.mask, grid)
    _, nearest = cKDTree(own / ranges[:, None]).query(border)
    outline = border * ranges[nearest, None]
    across = np.concatenate([outline, own]) @ axes
    along = np.quantile(own @ axes[:, 0], [_TAIL, 1 - _TAIL])
    low = np.array([along[0], *across[:, 1:].min(0)])
    high = np.array([along[1], *across[:, 1:].max(0)])
    return SeenBox(axes @ ((low + high) / 2), axes, high - low)


def sight_axes(direction: Floats, up: Floats) -> Floats:
    """Return [3, 3], columns: the horizontal part of a direction [3], to its left, up."""
    level = direction - (direction @ up) * up
    length = float(np.linalg.norm(level))
    if length < _PARALLEL:  # straight up or down: any horizontal direction
        level = np.eye(3)[int(np.argmin(np.abs(up)))]
        level = level - (level @ up) * up
        length = float(np.linalg.norm(level))
    forward = level / length
    return np.stack([forward, np.cross(up, forward), up], 1)


def _border_directions(mask: NDArray[np.bool_], grid: Equirect) -> Floats:
    """Return unit vectors [N, 3] of pixels on the border of a mask."""
    rows = np.flatnonzero(mask.any(1))
    band = mask[rows[0] : rows[-1] + 1].view(np.uint8)
    wrapped = cv2.copyMakeBorder(band, 1, 1, 0, 0, cv2.BORDER_CONSTANT, value=0)
    wrapped = cv2.copyMakeBorder(wrapped, 0, 0, 1, 1, cv2.BORDER_WRAP)
    inner = cv2.erode(wrapped, np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    v, u = np.nonzero((band > 0) & (inner == 0))
    chosen = slice(None, None, math.ceil(len(u) / _MOST_BORDER))
    return grid.pixel_to_vector(u[chosen], v[chosen] + rows[0])
