"""The state of one object over time: visible, occluded or lost, and where its motion predicts it."""

from __future__ import annotations

import copy
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from panosam2_ros.geometry.bearing import UNKNOWN_VARIANCE, Bearing, bounded_covariance
from panosam2_ros.geometry.sphere import (
    Floats,
    angle_between,
    cross,
    normalised,
    rotation_matrix,
    rotation_vector,
)


class TrackState(enum.IntEnum):
    """The state of an object; the values are those of ObjectBearing.msg."""

    VISIBLE = 1  # seen in this image
    OCCLUDED = 2  # not seen, expected back
    LOST = 3  # not seen for longer than lost_after


@dataclass(frozen=True)
class StateConfig:
    """When an object counts as seen, and how its motion is extrapolated."""

    lost_after: float = 3.0  # s unseen until OCCLUDED becomes LOST; 0: at once
    appear: float = 0.5  # an unseen object is seen again from this score on
    disappear: float = 0.5  # a seen one stays seen down to this score; < appear: hysteresis
    velocity_smoothing: float = 0.1  # s, time constant of the measured velocity; 0: none
    velocity_decay: float = 3.0  # s, in which an unseen object's own velocity falls to 1/e
    velocity_limit: float = 2 * math.pi  # rad/s of its own; a jump to elsewhere is not a motion
    velocity_noise: float = 0.2  # rad/s, unknown motion of an unseen object; 0: none

    def __post_init__(self) -> None:
        for name in ("lost_after", "velocity_smoothing", "velocity_noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("velocity_decay", "velocity_limit"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        if not 0 <= self.disappear <= self.appear <= 1:
            raise ValueError(
                "scores must satisfy 0 <= disappear <= appear <= 1, got "
                f"disappear {self.disappear}, appear {self.appear}"
            )


class BearingMotionModel:
    """A model of one object's bearing with constant angular velocity on the sphere.

    The velocity is relative to what stands still, where ``compensate_rotation`` tells how the camera rotated.
    Before the object is first seen its state is LOST and the covariance of its bearing that of a direction of
    which nothing is known. Stamps that go back (a bag that loops) add no time and leave the velocity alone.
    """

    def __init__(self, config: StateConfig = StateConfig()) -> None:
        self._config = config
        self._stamp: int | None = None  # ns, of the last update
        self._seen: Bearing | None = None  # the last measured bearing
        self._unseen = 0  # ns since then
        self.state = TrackState.LOST
        self.last_seen = 0  # ns, stamp of the last image in which it was VISIBLE; 0: never
        self.bearing = _anywhere()
        self._own: Floats = _unknown_velocity()  # [3] rad/s
        self._camera = np.zeros(3)  # rad/s at which still things moved between the last two updates
        self._rotated = np.eye(3)  # by the camera since the last update
        self._predicted: tuple[int, Bearing | None] | None = None  # for a stamp

    @property
    def angular_velocity(self) -> Floats:
        """[3] rad/s at which the direction moves in the camera's axes; NaN while unknown."""
        direction, whole = self.bearing.direction, self._own + self._camera
        # What turns about the direction itself does not move it.
        return np.asarray(whole - direction * (direction @ whole))

    def compensate_rotation(self, rotation: Floats) -> None:
        """Follow a camera rotation; ``rotation`` [3, 3] takes directions of still things to the new axes."""
        self._predicted = None
        self.bearing = self.bearing.rotated(rotation)
        self._seen = None if self._seen is None else self._seen.rotated(rotation)
        self._own, self._rotated = rotation @ self._own, rotation @ self._rotated

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known, as JSON can hold it."""
        return {
            "stamp": self._stamp,
            "unseen": self._unseen,
            "state": int(self.state),
            "last_seen": self.last_seen,
            "bearing": self.bearing.to_dict(),
            "seen": None if self._seen is None else self._seen.to_dict(),
            # relative to what stands still
            "angular_velocity": [x if math.isfinite(x) else None for x in self._own.tolist()],
        }

    @classmethod
    def from_dict(cls, memory: Mapping[str, Any], config: StateConfig = StateConfig()) -> BearingMotionModel:
        """Return the model that ``to_dict`` was called on."""
        motion = cls(config)
        motion._stamp, motion._unseen = memory["stamp"], memory["unseen"]
        motion.state, motion.last_seen = TrackState(memory["state"]), memory["last_seen"]
        motion.bearing = Bearing.from_dict(memory["bearing"])
        motion._seen = None if memory["seen"] is None else Bearing.from_dict(memory["seen"])
        velocity = [math.nan if x is None else x for x in memory["angular_velocity"]]
        motion._own = np.array(velocity)
        return motion

    def present(self, score: float) -> bool:
        """Return whether an object with this presence score (0..1) counts as seen; with hysteresis."""
        seen = self.state is TrackState.VISIBLE
        return score >= (self._config.disappear if seen else self._config.appear)

    def predict(self, stamp: int) -> Bearing | None:
        """Return where the object should be at ``stamp`` (ns) if it is not seen; None for a lost one."""
        if self._predicted is None or self._predicted[0] != stamp:  # several rules ask for the same image
            ahead = copy.copy(self)  # what ``update`` changes it replaces
            ahead.update(stamp, None)
            self._predicted = stamp, None if ahead.state is TrackState.LOST else ahead.bearing
        return self._predicted[1]

    def moved(self, direction: Floats, seconds: float) -> Floats:
        """Return where a direction [3] goes that moves as the object does beside the camera's rotation."""
        known = np.isfinite(self._own).all()
        return np.asarray(rotation_matrix(self._own * seconds) @ direction) if known else direction

    def update(
        self, stamp: int, bearing: Bearing | None, *, prompted: bool = False, whole: bool = True
    ) -> None:
        """Take in the image of ``stamp`` (ns); None: the object was not seen in it.

        ``prompted``: a prompt says where the object is, so an unseen object did not move there by itself.
        ``whole``: the bearing is of the whole object; that of a part which others leave does not move as the
        object does, so that the velocity stays as it was.
        """
        elapsed = 0 if self._stamp is None else max(0, stamp - self._stamp)
        self._predicted, self._stamp = None, stamp
        if elapsed:
            self._camera = rotation_vector(self._rotated) / (elapsed * 1e-9)
        self._rotated = np.eye(3)
        if bearing is not None:
            if prompted and self.state is not TrackState.VISIBLE:
                self._seen = None
            self._see(stamp, bearing, elapsed, whole=whole)
        elif self._seen is not None:
            self._miss(self._seen, elapsed)

    def _see(self, stamp: int, bearing: Bearing, elapsed: int, *, whole: bool) -> None:
        """Take in a measured bearing, ``elapsed`` ns after the last update."""
        interval = (self._unseen + elapsed) * 1e-9
        if self._seen is None or self.state is TrackState.LOST:
            self._own = _unknown_velocity()
        elif interval > 0 and whole:
            self._measure_velocity(self._seen.direction, bearing.direction, interval)
        self.bearing = self._seen = bearing
        self.state, self.last_seen, self._unseen = TrackState.VISIBLE, stamp, 0

    def _measure_velocity(self, before: Floats, after: Floats, interval: float) -> None:
        """Smooth the velocity with that from one direction to another, ``interval`` s later."""
        axis = cross(before, after)
        length = float(np.linalg.norm(axis))
        speed = min(float(angle_between(before, after)) / interval, self._config.velocity_limit)
        measured = axis / length * speed if length > 0 else np.zeros(3)
        smoothing = self._config.velocity_smoothing
        gain = 1 - math.exp(-interval / smoothing) if smoothing > 0 else 1.0
        if np.isfinite(self._own).all():
            measured = self._own + gain * (measured - self._own)
        self._own = measured - after * (after @ measured)  # as in angular_velocity

    def _miss(self, seen: Bearing, elapsed: int) -> None:
        """Take in that the object was not seen, ``elapsed`` ns after the last update."""
        self._unseen += elapsed
        unseen = self._unseen * 1e-9
        if unseen > self._config.lost_after or self.state is TrackState.LOST:
            self.state = TrackState.LOST
            self._own = _unknown_velocity()
        else:
            self.state = TrackState.OCCLUDED
            seen = self._moved_on(seen, elapsed * 1e-9)
        variance = (self._config.velocity_noise * unseen) ** 2
        covariance = bounded_covariance(seen.covariance + variance * np.eye(2))
        self.bearing = replace(seen, covariance=covariance, solid_angle=0.0)

    def _moved_on(self, seen: Bearing, elapsed: float) -> Bearing:
        """Return the bearing moved on along its great circle, with the measured covariance."""
        direction = self.bearing.direction
        if np.isfinite(self._own).all():
            decay = self._config.velocity_decay
            left = math.exp(-elapsed / decay)
            turn = rotation_matrix(self._own * decay * (1 - left))
            direction = normalised(turn @ direction)
            self._own = self._own * left
        return seen.rotated(_shortest_rotation(seen.direction, direction))


def _anywhere() -> Bearing:
    """Return a bearing of which nothing is known."""
    covariance = UNKNOWN_VARIANCE * np.eye(2)
    return Bearing(np.array([0.0, 0.0, 1.0]), covariance, 0.0, 0.0, 0.0)


def _unknown_velocity() -> Floats:
    """Return a velocity of which nothing is known."""
    return np.full(3, math.nan)


def _shortest_rotation(source: Floats, target: Floats) -> Floats:
    """Return the rotation [3, 3] along the great circle from one unit vector [3] to another."""
    axis = cross(source, target)
    length = float(np.linalg.norm(axis))
    if length == 0:
        return np.eye(3)
    return rotation_matrix(axis / length * float(angle_between(source, target)))
