"""How cameras and objects move: smooth rotations, one pose per frame, from a random generator.

A pose [3, 3] of an object is a rotation whose columns are the object's right, down and forward
axes in world axes; its direction seen from the camera is the last column.
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


def smooth_noise(rng: Rng, frames: int, channels: int) -> Floats:
    """Band-limited noise [frames, channels] whose largest row norm is 1."""
    periods = rng.uniform(16, 80, (4, channels))
    phases = rng.uniform(0, 2 * np.pi, (4, channels))
    time = np.arange(frames)[:, None, None]
    noise = np.asarray(np.sin(2 * np.pi * time / periods + phases).sum(1))
    return noise / max(float(np.linalg.norm(noise, axis=1).max(initial=0.0)), 1e-9)


def accumulate(steps: Floats) -> Floats:
    """Poses [T + 1, 3, 3] from rotation vectors [T, 3], each about the axes of its own pose."""
    poses = np.empty((len(steps) + 1, 3, 3))
    poses[0] = np.eye(3)
    for index, step in enumerate(rotation_matrix(steps) if len(steps) else ()):  # older scipy refuses none
        poses[index + 1] = poses[index] @ step
    return poses


def pose_at(poses: Floats, time: float) -> Floats:
    """[3, 3]: the pose at a fractional frame index, on the shortest way between neighbours."""
    time = float(np.clip(time, 0, len(poses) - 1))
    index = min(int(time), len(poses) - 2) if len(poses) > 1 else 0
    if time == index:
        return np.asarray(poses[index])
    step = rotation_vector(poses[index].T @ poses[index + 1])
    return np.asarray(poses[index] @ rotation_matrix((time - index) * step))


def camera_path(rng: Rng, frames: int, speed: float, tilt: float) -> Floats:
    """World-to-camera rotations [frames, 3, 3].

    ``speed`` is the largest rotation per frame and ``tilt`` the largest tilt at the start, both in
    rad; tilt 0 gives a camera that stays upright and only turns about the vertical.
    """
    heading, lean = rng.uniform(-np.pi, np.pi, 2)
    start = np.array([0.0, heading, 0.0])
    steps = smooth_noise(rng, frames - 1, 3) * speed
    towards = rng.uniform(0, tilt) * np.array([np.cos(lean), 0.0, np.sin(lean)])
    if tilt == 0:
        steps[:, [0, 2]] = 0
    camera_to_world = rotation_matrix(start) @ rotation_matrix(towards) @ accumulate(steps)
    return np.asarray(np.swapaxes(camera_to_world, 1, 2))


@dataclass(frozen=True)
class Path:
    """The way of one object."""

    transport: Floats  # [T, 3, 3] poses carried along the way without spinning
    spin: Floats  # [T] rad, turn about the line of sight

    @property
    def poses(self) -> Floats:
        """[T, 3, 3] poses of the sprite."""
        about_sight = np.zeros((len(self.spin), 3))
        about_sight[:, 2] = self.spin
        return np.asarray(self.transport @ rotation_matrix(about_sight))


@dataclass(frozen=True)
class Anchor:
    """Where an object is at one moment."""

    frame: int
    direction: Floats  # [3] unit vector, world axes


def object_path(rng: Rng, frames: int, speed: float, turn: float, anchor: Anchor) -> Path:
    """A great circle through the anchor at ``speed`` rad per frame; bends by up to ``turn`` rad."""
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
    """Angular diameters [frames], rad: smooth, changing by at most ``factor`` over the clip."""
    swing = rng.uniform(0, np.log(factor) / 2)
    wave = smooth_noise(rng, frames, 1)[:, 0]
    return np.asarray(np.minimum(diameter * np.exp(swing * wave), largest))


def swelling(rng: Rng, frames: int, low: float, high: float) -> Floats:
    """Angular diameters [frames], rad: ``low``, up to ``high`` near the middle, and down again."""
    centre, half = rng.uniform(0.35, 0.65) * frames, rng.uniform(0.3, 0.45) * frames
    phase = np.clip((np.arange(frames) - centre) / max(half, 1.0), -1, 1) * np.pi
    return np.asarray(low * (high / low) ** ((1 + np.cos(phase)) / 2))


@dataclass(frozen=True)
class Hiding:
    """When an occluder covers its object, and how it comes and goes."""

    start: int  # first frame of full cover
    frames: int  # of full cover
    lead: int  # frames that it takes to come, and to go
    clear: float  # rad between the centres at which both are apart
    slack: float  # rad between the centres within which the object is covered whole

    def offsets(self, frames: int) -> Floats:
        """Signed angle, rad [frames], between the centres of the occluder and of the object."""
        last = self.start + self.frames - 1
        times = [self.start - self.lead, self.start, last, last + self.lead]
        angles = [-self.clear, -self.slack, self.slack, self.clear]
        time = np.arange(frames)
        pace = (self.clear - self.slack) / self.lead
        early, late = np.minimum(time - times[0], 0), np.maximum(time - times[3], 0)
        inside = np.interp(time, times, angles)
        limit = max(self.clear, 2.2)
        return np.clip(inside + pace * (early + late), -limit, limit)


def occluder_path(rng: Rng, hidden: Path, hiding: Hiding) -> Path:
    """A way that passes between the camera and an object and stays in front for a while."""
    heading = rng.uniform(-np.pi, np.pi)
    axis = np.array([np.cos(heading), np.sin(heading), 0.0])
    offsets = hiding.offsets(len(hidden.transport))
    transport = hidden.transport @ rotation_matrix(offsets[:, None] * axis)
    return Path(np.asarray(transport), np.zeros(len(offsets)))


def random_direction(rng: Rng) -> Floats:
    """[3], uniform on the sphere."""
    return normalised(rng.normal(size=3))


def seam_direction(rng: Rng) -> Floats:
    """[3] in camera axes: on the seam, below 60 degrees of latitude."""
    return lonlat_to_vector(np.pi, rng.uniform(-1.0, 1.0))


def polar_direction(rng: Rng) -> Floats:
    """[3] in camera axes: within 18 degrees of either pole."""
    latitude = rng.choice((-1, 1)) * (np.pi / 2 - rng.uniform(0, np.radians(18)))
    return lonlat_to_vector(rng.uniform(-np.pi, np.pi), latitude)
