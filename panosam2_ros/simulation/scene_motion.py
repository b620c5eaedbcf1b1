"""Random motion of cameras and objects: smooth rotations, one pose per frame.

A pose [3, 3] of an object is a rotation whose columns are the object's right, down and forward axes in
world axes; its direction from the camera is the last column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panosam2_ros.geometry.sphere import (
    Floats,
    lonlat_to_vector,
    normalised,
    rotation_matrix,
    rotation_vector,
    tangent_basis,
)

Rng = np.random.Generator
_FARTHEST = 2.2  # rad, at which an object that comes from or goes to the side of another one stays beside it


def smooth_noise(rng: Rng, frames: int, channels: int) -> Floats:
    """Sample band-limited noise [frames, channels] whose largest row norm is 1."""
    periods = rng.uniform(16, 80, (4, channels))
    phases = rng.uniform(0, 2 * np.pi, (4, channels))
    time = np.arange(frames)[:, None, None]
    noise = np.asarray(np.sin(2 * np.pi * time / periods + phases).sum(1))
    return noise / max(float(np.linalg.norm(noise, axis=1).max(initial=0.0)), 1e-9)


def accumulate(steps: Floats) -> Floats:
    """Integrate rotation vectors [T, 3], each in the axes of its own pose, to poses [T + 1, 3, 3]."""
    poses = np.empty((len(steps) + 1, 3, 3))
    poses[0] = np.eye(3)
    rotations = rotation_matrix(steps) if len(steps) else ()  # scipy 1.14 and older refuse empty input
    for index, step in enumerate(rotations):
        poses[index + 1] = poses[index] @ step
    return poses


def pose_at(poses: Floats, time: float) -> Floats:
    """Interpolate the pose [3, 3] at a fractional frame index, by the shortest rotation between frames."""
    time = float(np.clip(time, 0, len(poses) - 1))
    index = min(int(time), len(poses) - 2) if len(poses) > 1 else 0
    if time == index:
        return np.asarray(poses[index])
    step = rotation_vector(poses[index].T @ poses[index + 1])
    return np.asarray(poses[index] @ rotation_matrix((time - index) * step))


def camera_path(rng: Rng, frames: int, speed: float, tilt: float) -> Floats:
    """Sample world-to-camera rotations [frames, 3, 3].

    ``speed`` is the largest rotation per frame and ``tilt`` the largest tilt at the start, both in rad;
    with tilt 0 the camera stays upright and rotates only about the vertical.
    """
    heading, lean = rng.uniform(-np.pi, np.pi, 2)
    start = np.array([0.0, heading, 0.0])
    steps = smooth_noise(rng, frames - 1, 3) * speed
    towards = rng.uniform(0, tilt) * np.array([np.cos(lean), 0.0, np.sin(lean)])
    if tilt == 0:
        steps[:, [0, 2]] = 0
    camera_to_world = rotation_matrix(start) @ rotation_matrix(towards) @ accumulate(steps)
    return np.asarray(np.swapaxes(camera_to_world, 1, 2))


@dataclass(frozen=True, eq=False)
class Path:
    """The motion of one object."""

    transport: Floats  # [T, 3, 3] poses, parallel-transported along the path
    spin: Floats  # [T] rad, rotation about the line of sight

    @property
    def poses(self) -> Floats:
        """The poses [T, 3, 3] of the sprite."""
        about_sight = np.zeros((len(self.spin), 3))
        about_sight[:, 2] = self.spin
        return np.asarray(self.transport @ rotation_matrix(about_sight))


@dataclass(frozen=True, eq=False)
class Anchor:
    """The direction of an object in one frame."""

    frame: int
    direction: Floats  # [3] unit vector, world axes


def object_path(rng: Rng, frames: int, speed: float, turn: float, anchor: Anchor) -> Path:
    """Sample a path through the anchor at up to ``speed`` rad per frame.

    It is a great circle whose heading varies by up to ``turn`` rad.
    """
    heading = rng.uniform(-np.pi, np.pi) + turn * smooth_noise(rng, frames - 1, 1)[:, 0]
    pace = speed * (1 - 0.5 * abs(smooth_noise(rng, frames - 1, 1)[:, 0]))
    flat = np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], -1)
    way = accumulate(pace[:, None] * flat)
    east, north = tangent_basis(anchor.direction)
    at_anchor = np.stack([east, -north, anchor.direction], -1)
    transport = at_anchor @ way[anchor.frame].T @ way
    spin = rng.uniform(-0.6, 0.6) + rng.normal(0, 0.015) * np.arange(frames)
    return Path(np.asarray(transport), np.asarray(spin, float))


def sizes(rng: Rng, frames: int, diameter: float, factor: float, largest: float) -> Floats:
    """Sample smooth angular diameters [frames], rad, whose ratio is at most ``factor``."""
    swing = rng.uniform(0, np.log(factor) / 2)
    wave = smooth_noise(rng, frames, 1)[:, 0]
    return np.asarray(np.minimum(diameter * np.exp(swing * wave), largest))


def swelling(rng: Rng, frames: int, low: float, high: float) -> Floats:
    """Sample angular diameters [frames], rad: ``low``, rising to ``high`` near the middle, and falling."""
    centre, half = rng.uniform(0.35, 0.65) * frames, rng.uniform(0.3, 0.45) * frames
    phase = np.clip((np.arange(frames) - centre) / max(half, 1.0), -1, 1) * np.pi
    return np.asarray(low * (high / low) ** ((1 + np.cos(phase)) / 2))


@dataclass(frozen=True)
class Hiding:
    """The timing of a full occlusion."""

    start: int  # first frame of full cover
    frames: int  # of full cover
    lead: int  # frames before and after in which the occluder approaches and leaves
    clear: float  # rad, smallest distance of the centres without overlap
    slack: float  # rad, largest distance of the centres with full cover

    def offsets(self, frames: int) -> Floats:
        """Compute the signed angle, rad [frames], between the centres of the occluder and of the object."""
        last = self.start + self.frames - 1
        times = [self.start - self.lead, self.start, last, last + self.lead]
        angles = [-self.clear, -self.slack, self.slack, self.clear]
        time = np.arange(frames)
        pace = (self.clear - self.slack) / self.lead
        early, late = np.minimum(time - times[0], 0), np.maximum(time - times[3], 0)
        inside = np.interp(time, times, angles)
        limit = max(self.clear, _FARTHEST)
        return np.clip(inside + pace * (early + late), -limit, limit)


def occluder_path(rng: Rng, hidden: Path, hiding: Hiding) -> Path:
    """Sample the path of an occluder that passes in front of an object."""
    heading = rng.uniform(-np.pi, np.pi)
    axis = np.array([np.cos(heading), np.sin(heading), 0.0])
    offsets = hiding.offsets(len(hidden.transport))
    transport = hidden.transport @ rotation_matrix(offsets[:, None] * axis)
    return Path(np.asarray(transport), np.zeros(len(offsets)))


@dataclass(frozen=True)
class Passing:
    """The place and pace at which an object passes another one."""

    frame: int  # in which their centres are closest
    speed: float  # rad per frame, relative to the other one
    miss: float  # rad, distance of the centres in that frame


def passing_path(rng: Rng, other: Path, passing: Passing) -> Path:
    """Sample the path of an object that passes another one."""
    heading, frames = rng.uniform(-np.pi, np.pi), len(other.transport)
    along = np.array([np.cos(heading), np.sin(heading), 0.0])
    across = np.array([-np.sin(heading), np.cos(heading), 0.0])
    offsets = np.clip(passing.speed * (np.arange(frames) - passing.frame), -_FARTHEST, _FARTHEST)
    aside = rotation_matrix(passing.miss * across)
    transport = other.transport @ rotation_matrix(offsets[:, None] * along) @ aside
    return Path(np.asarray(transport), np.full(frames, rng.uniform(-0.6, 0.6)))


def random_direction(rng: Rng) -> Floats:
    """Sample a direction [3] uniformly on the sphere."""
    return normalised(rng.normal(size=3))


def seam_direction(rng: Rng) -> Floats:
    """Sample a direction [3] in camera axes on the seam, below 60 degrees of latitude."""
    return lonlat_to_vector(np.pi, rng.uniform(-1.0, 1.0))


def polar_direction(rng: Rng) -> Floats:
    """Sample a direction [3] in camera axes within 18 degrees of either pole."""
    latitude = rng.choice((-1, 1)) * (np.pi / 2 - rng.uniform(0, np.radians(18)))
    return lonlat_to_vector(rng.uniform(-np.pi, np.pi), latitude)
