"""Upright rectangles on the sphere (bounding fields of view) and how much of each other they cover.

A box is centred on a direction. In the axes east, north and forward at that direction it holds the longitudes
within half its width and the latitudes within half its height. It has no seam and no pole, so that boxes of
panoramas, of perspective views and the extents of bearings can be compared with each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.sphere import Floats, angle_between, normalised, tangent_basis

_SAMPLES = 16  # on each side of a box; areas of intersections are right within about 1 / 32 of each side


@dataclass(frozen=True, eq=False)
class AngularBoxes:
    """Boxes on the sphere, in optical axes."""

    directions: Floats  # [N, 3] unit vectors of the centres
    extents: Floats  # [N, 2] rad: width in 0..2 pi, height in 0..pi

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.directions)

    @classmethod
    def around(cls, centres: Floats, points: Floats) -> AngularBoxes:
        """Return the smallest boxes centred on ``centres`` [N, 3] that hold ``points`` [N, P, 3]."""
        along, up = _local(centres[:, None], points)
        extents = 2 * np.stack([np.abs(along).max(1), np.abs(up).max(1)], -1)
        return cls(normalised(centres), extents)

    def of(self, rows: NDArray[np.int64]) -> AngularBoxes:
        """Return some of the boxes, in the order of ``rows``."""
        return AngularBoxes(self.directions[rows], self.extents[rows])

    @property
    def solid_angles(self) -> Floats:
        """The solid angles, [N] sr."""
        return np.asarray(self.extents[:, 0] * 2 * np.sin(self.extents[:, 1] / 2))

    @property
    def radii(self) -> Floats:
        """Angles [N], rad, from the centres within which all of each box lies."""
        half = self.extents / 2
        beyond = half[:, 0] > math.pi / 2  # then the farthest place lies on the level through the centre
        corner = np.arccos(np.cos(half[:, 0]) * np.cos(half[:, 1]))
        return np.asarray(np.where(beyond, np.maximum(corner, half[:, 0]), corner))

    def samples(self) -> Floats:
        """Return directions [N, S, 3] that each stand for the same solid angle of their box."""
        at = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
        lon = np.repeat(at, _SAMPLES) * self.extents[:, :1]
        sine = np.tile(at, _SAMPLES) * 2 * np.sin(self.extents[:, 1:] / 2)
        east, north = tangent_basis(self.directions)
        level = np.sqrt(1 - sine**2)[..., None]
        forward, right = (x[..., None] * level for x in (np.cos(lon), np.sin(lon)))
        return np.asarray(
            forward * self.directions[:, None] + right * east[:, None] + sine[..., None] * north[:, None]
        )


def shared_solid_angles(boxes: AngularBoxes, others: AngularBoxes) -> Floats:
    """Compute the solid angles [N, M], sr, that each of ``boxes`` [N] shares with each of ``others`` [M]."""
    shared = np.zeros((len(boxes), len(others)))
    apart = angle_between(boxes.directions[:, None], others.directions[None])
    i, j = np.nonzero(apart < boxes.radii[:, None] + others.radii[None])
    if not i.size:
        return shared
    smaller = boxes.solid_angles[i] <= others.solid_angles[j]  # the smaller one of a pair is sampled
    for sampled, holding, rows, columns, chosen in (
        (boxes, others, i, j, smaller),
        (others, boxes, j, i, ~smaller),
    ):
        a, b = rows[chosen], columns[chosen]
        inside = _inside(sampled.of(a).samples(), holding.of(b)).mean(-1) * sampled.solid_angles[a]
        shared[i[chosen], j[chosen]] = inside
    return shared


def box_ious(boxes: AngularBoxes, others: AngularBoxes) -> Floats:
    """Compute the intersection over union [N, M], of solid angles, of ``boxes`` [N] and ``others`` [M]."""
    shared = shared_solid_angles(boxes, others)
    union = boxes.solid_angles[:, None] + others.solid_angles[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-12))


def _inside(points: Floats, boxes: AngularBoxes) -> NDArray[np.bool_]:
    """Tell which of the points [N, P, 3] lie in the box [N] of their row, [N, P]."""
    along, up = _local(boxes.directions[:, None], points)
    half = boxes.extents[:, None] / 2 + 1e-9
    return np.asarray((np.abs(along) <= half[..., 0]) & (np.abs(up) <= half[..., 1]))


def _local(centres: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Return longitudes and latitudes [N, P], rad, of points [N, P, 3] seen from centres [N, 1, 3]."""
    east, north = tangent_basis(centres)
    along = np.arctan2((points * east).sum(-1), (points * centres).sum(-1))
    return along, np.arcsin(np.clip((points * north).sum(-1), -1, 1))
