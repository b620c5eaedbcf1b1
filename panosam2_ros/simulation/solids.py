"""Solid shapes at known places, and where rays meet them: exact ground truth of ranges.

Axes are those of REP-103 (x forward, y left, z up), lengths are metres. The ground is the plane z = 0.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.sphere import Floats

_PARALLEL = 1e-12  # a component of a direction that counts as none
_MARGIN = 1e-6  # rad, beside the sphere round a solid


class SolidShape(enum.Enum):
    """The shapes that a solid can have; each stands upright."""

    BOX = "box"
    CYLINDER = "cylinder"  # elliptic where the first two sizes differ
    ELLIPSOID = "ellipsoid"


@dataclass(frozen=True)
class Solid:
    """One solid, or one part of an object that has several."""

    shape: SolidShape
    centre: tuple[float, float, float]  # m
    size: tuple[float, float, float]  # m, whole lengths along its own x, y, z
    yaw: float = 0.0  # rad, of its x axis
    obj_id: int = 0  # 0: background
    name: str = ""

    @property
    def radius(self) -> float:
        """Radius, m, of the sphere round the solid."""
        return math.hypot(*self.size) / 2


@dataclass(frozen=True, eq=False)
class RayHits:
    """What each of N rays meets first."""

    ranges: Floats  # [N] m, inf: nothing
    obj_ids: NDArray[np.uint16]  # [N] of the solid, 0: background or nothing
    solids: NDArray[np.int32]  # [N] index of the solid, -1: the ground, -2: nothing


def cast_rays(
    solids: Sequence[Solid],
    origin: Floats,  # [3] m
    directions: Floats,  # [N, 3] unit vectors
    *,
    ground: bool = True,
) -> RayHits:
    """Find the first solid, or the ground, on each ray from ``origin``."""
    count = len(directions)
    ranges, ids = np.full(count, np.inf), np.zeros(count, np.uint16)
    which = np.full(count, -2, np.int32)
    if ground and origin[2] > 0:
        down = directions[:, 2] < -_PARALLEL
        ranges[down], which[down] = -origin[2] / directions[down, 2], -1
    for index, solid in enumerate(solids):
        near = _towards(solid, origin, directions)
        at = _first_hit(solid, origin, directions[near])
        closer = at < ranges[near]
        chosen = near[closer]
        ranges[chosen], ids[chosen], which[chosen] = at[closer], solid.obj_id, index
    return RayHits(ranges, ids, which)


def _towards(solid: Solid, origin: Floats, directions: Floats) -> NDArray[np.int64]:
    """Return the rays that meet the sphere round a solid."""
    offset = np.asarray(solid.centre) - origin
    distance = float(np.linalg.norm(offset))
    if distance <= solid.radius:
        return np.arange(len(directions))
    cosine = math.cos(min(math.asin(solid.radius / distance) + _MARGIN, math.pi))
    return np.flatnonzero(directions @ (offset / distance) >= cosine)


def _first_hit(solid: Solid, origin: Floats, directions: Floats) -> Floats:
    """Return the ranges [N] at which rays meet a solid, inf where they do not."""
    cos, sin = math.cos(solid.yaw), math.sin(solid.yaw)
    into = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    half = np.asarray(solid.size) / 2
    # in the solid's own axes, scaled so that it is 2 wide: ranges along the rays stay as they are
    start = into @ (origin - np.asarray(solid.centre)) / half
    along = (into / half[:, None]) @ directions.T
    enter, leave = _INTERVALS[solid.shape](start, along)
    hit = (enter <= leave) & (leave > 0)
    return np.where(hit, np.where(enter > 0, enter, 0.0), np.inf)


def _slab(start: float, along: Floats) -> tuple[Floats, Floats]:
    """Return where rays enter and leave -1..1 along one axis, of which ``along`` [N] is their component."""
    inverse = 1 / np.where(np.abs(along) < _PARALLEL, _PARALLEL, along)
    first, second = (-1 - start) * inverse, (1 - start) * inverse
    return np.minimum(first, second), np.maximum(first, second)


def _ball(start: Floats, along: Floats) -> tuple[Floats, Floats]:
    """Return where rays, components [k, N], enter and leave the unit ball; (inf, -inf) where they miss it."""
    a = np.maximum((along * along).sum(0), _PARALLEL)
    b, c = start @ along, float(start @ start) - 1
    inside = b * b - a * c
    root, missed = np.sqrt(np.maximum(inside, 0.0)), inside < 0
    return np.where(missed, np.inf, (-b - root) / a), np.where(missed, -np.inf, (-b + root) / a)


def _box_interval(start: Floats, along: Floats) -> tuple[Floats, Floats]:
    slabs = [_slab(float(start[axis]), along[axis]) for axis in range(3)]
    return np.maximum.reduce([s[0] for s in slabs]), np.minimum.reduce([s[1] for s in slabs])


def _cylinder_interval(start: Floats, along: Floats) -> tuple[Floats, Floats]:
    side, ends = _ball(start[:2], along[:2]), _slab(float(start[2]), along[2])
    return np.maximum(side[0], ends[0]), np.minimum(side[1], ends[1])


_INTERVALS: dict[SolidShape, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    SolidShape.BOX: _box_interval,
    SolidShape.CYLINDER: _cylinder_interval,
    SolidShape.ELLIPSOID: _ball,
}
