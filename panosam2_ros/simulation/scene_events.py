"""Events of a scene: changes of light, jumps, objects that pass each other, thin and many-parted objects.

Every event has a probability in SceneConfig. Where that is 0, nothing is drawn at random, so that scenes of
older settings stay the same.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from panosam2_ros.geometry.sphere import Floats, rotation_matrix
from panosam2_ros.simulation import scene_motion as motion
from panosam2_ros.simulation.appearance import AppearanceSampler
from panosam2_ros.simulation.body import Body
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.scene_motion import Rng

_PASSING_SPEED = (0.03, 0.1)  # rad per frame, of one object relative to another that it passes
_LARGEST_MISS = 0.3  # of the diameter, distance of the centres where two objects pass
_SMALLEST_LOOSE = math.radians(25)  # diameter of thin and many-parted objects, whose parts are small
_JUMPS = 2  # of a sequence with jumps
_RAMP = (5, 20)  # frames over which light changes where it does not change within one


def happens(rng: Rng, probability: float) -> bool:
    """Tell whether an event happens; draws nothing where its probability is 0."""
    return probability > 0 and rng.random() < probability


def _middle_frame(rng: Rng, frames: int) -> int:
    """Sample a frame in the middle three fifths of a scene."""
    return int(rng.integers(max(1, frames // 5), max(2, frames - frames // 5)))


def light(config: SceneConfig, rng: Rng) -> Floats:
    """Sample factors [frames] on the light, which falls, or rises to 1, by a step or a ramp."""
    stops = rng.uniform(*config.light_stops)
    frame = _middle_frame(rng, config.frames)
    lasts = int(rng.integers(_RAMP[0], _RAMP[1] + 1)) if rng.random() < 0.5 else 1
    share = np.clip((np.arange(config.frames) - frame + (lasts + 1) / 2) / lasts, 0, 1)
    if rng.random() < 0.5:
        share = 1 - share
    return np.asarray(2.0 ** (-stops * share))


def jump_frames(config: SceneConfig, rng: Rng) -> frozenset[int]:
    """Sample the frames that something has moved by many degrees before."""
    return frozenset(_middle_frame(rng, config.frames) for _ in range(_JUMPS))


def jumping(
    config: SceneConfig,
    rng: Rng,
    poses: Floats,  # [T, 3, 3]
    frames: frozenset[int],
) -> Floats:
    """Rotate poses from each of the frames on, about an axis across their own line of sight."""
    poses = poses.copy()
    for frame in sorted(frames):
        angle, heading = rng.uniform(*config.jump_size), rng.uniform(-math.pi, math.pi)
        axis = poses[frame] @ np.array([math.cos(heading), math.sin(heading), 0.0])
        poses[frame:] = rotation_matrix(angle * axis) @ poses[frame:]
    return poses


def moved(body: Body, path: motion.Path) -> Body:
    """Return a body on another path."""
    return replace(body, path=path, poses=path.poses)


def pass_by(config: SceneConfig, rng: Rng, body: Body, other: Body) -> Body:
    """Return a body whose path passes over the centre of another one, or near it, in some frame."""
    frame = _middle_frame(rng, config.frames)
    miss = rng.uniform(0, _LARGEST_MISS) * float(other.diameters[frame])
    passing = motion.Passing(frame, rng.uniform(*_PASSING_SPEED), miss)
    return moved(body, motion.passing_path(rng, other.path, passing))


def with_events(
    config: SceneConfig,
    appearance: AppearanceSampler,
    tracked: list[Body],
    jumps: frozenset[int],  # of an object; empty: no object jumps
) -> list[Body]:
    """Return the tracked objects of a scene with the events of its settings."""
    rng, bodies = appearance.rng, list(tracked)
    for probability, sample in ((config.thin, appearance.thin), (config.parted, appearance.parted)):
        if happens(rng, probability):
            index, (name, sprite) = int(rng.integers(len(bodies))), sample()
            sizes = np.maximum(bodies[index].diameters, _SMALLEST_LOOSE)
            bodies[index] = replace(bodies[index], name=name, views=(sprite,), phases=None, diameters=sizes)
    if len(bodies) > 1 and happens(rng, config.meeting):
        first, second = rng.permutation(len(bodies))[:2]
        bodies[second] = pass_by(config, rng, bodies[second], bodies[first])
    if jumps:
        index = int(rng.integers(len(bodies)))
        path = bodies[index].path
        transport = jumping(config, rng, path.transport, jumps)
        bodies[index] = moved(bodies[index], replace(path, transport=transport))
    return bodies
