"""One object's state over time: visible, occluded or lost, and where to expect it."""

from __future__ import annotations

import copy
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from panosam2_ros.bearing import UNKNOWN_VARIANCE, Bearing, bounded_covariance
from panosam2_ros.equirect import Floats, angle_between, normalised, tangent_basis


class TrackState(enum.IntEnum):
    """As in ObjectBearing.msg."""

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
    velocity_decay: float = 1.0  # s, in which an unseen object's velocity falls to 1/e
    velocity_limit: float = 2 * math.pi  # rad/s; a jump to elsewhere is not a motion
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


class ObjectMotion:
    """Follows one object's bearing; its size does not grow with time.

    Before the first sight the state is LOST and the bearing's covariance says "anywhere".
    Stamps that go back (a bag that loops) add no time and leave the velocity alone.
    """

    def __init__(self, config: StateConfig = StateConfig()) -> None:
        self._config = config
        self._stamp: int | None = None  # ns, of the last update
        self._seen: Bearing | None = None  # the last measured bearing
        self._unseen = 0  # ns since then
        self.state = TrackState.LOST
        self.last_seen = 0  # ns, stamp of the last image in which it was VISIBLE; 0: never
        self.bearing = _anywhere()
        self.angular_velocity: Floats = _unknown_velocity()

    def remembered(self) -> dict[str, Any]:
        """All that is known, as JSON can hold it; ``recalled`` takes it back."""
        return {
            "stamp": self._stamp,
            "unseen": self._unseen,
            "state": int(self.state),
            "last_seen": self.last_seen,
            "bearing": self.bearing.as_lists(),
            "seen": None if self._seen is None else self._seen.as_lists(),
            "angular_velocity": [x if math.isfinite(x) else None for x in self.angular_velocity.tolist()],
        }

    @classmethod
    def recalled(cls, memory: Mapping[str, Any], config: StateConfig = StateConfig()) -> ObjectMotion:
        """A motion that goes on from what ``remembered`` gave."""
        motion = cls(config)
        motion._stamp, motion._unseen = memory["stamp"], memory["unseen"]
        motion.state, motion.last_seen = TrackState(memory["state"]), memory["last_seen"]
        motion.bearing = Bearing.from_lists(memory["bearing"])
        motion._seen = None if memory["seen"] is None else Bearing.from_lists(memory["seen"])
        velocity = [math.nan if x is None else x for x in memory["angular_velocity"]]
        motion.angular_velocity = np.array(velocity)
        return motion

    def present(self, score: float) -> bool:
        """Whether an object with this presence score (0..1) counts as seen; with hysteresis."""
        seen = self.state is TrackState.VISIBLE
        return score >= (self._config.disappear if seen else self._config.appear)

    def expected(self, stamp: int) -> Bearing | None:
        """Where it should be at ``stamp`` (ns), were it not seen; None for one that is lost."""
        ahead = copy.copy(self)  # what ``update`` changes it replaces
        ahead.update(stamp, None)
        return None if ahead.state is TrackState.LOST else ahead.bearing

    def update(self, stamp: int, bearing: Bearing | None, prompted: bool = False) -> None:
        """Take in the image of ``stamp`` (ns); None: the object was not seen in it.

        ``prompted``: somebody says where it is, so that no motion has led there from where it was expected.
        """
        elapsed = 0 if self._stamp is None else max(0, stamp - self._stamp)
        self._stamp = stamp
        if bearing is not None:
            if prompted and self.state is not TrackState.VISIBLE:
                self._seen = None
            self._see(stamp, bearing, elapsed)
        elif self._seen is not None:
            self._miss(self._seen, elapsed)

    def _see(self, stamp: int, bearing: Bearing, elapsed: int) -> None:
        interval = (self._unseen + elapsed) * 1e-9
        if self._seen is None or self.state is TrackState.LOST:
            self.angular_velocity = _unknown_velocity()
        elif interval > 0:
            self._measure_velocity(self._seen.direction, bearing.direction, interval)
        self.bearing = self._seen = bearing
        self.state, self.last_seen, self._unseen = TrackState.VISIBLE, stamp, 0

    def _measure_velocity(self, before: Floats, after: Floats, interval: float) -> None:
        axis = np.cross(before, after)
        length = float(np.linalg.norm(axis))
        speed = min(float(angle_between(before, after)) / interval, self._config.velocity_limit)
        measured = axis / length * speed if length > 0 else np.zeros(3)
        smoothing = self._config.velocity_smoothing
        gain = 1 - math.exp(-interval / smoothing) if smoothing > 0 else 1.0
        if np.isfinite(self.angular_velocity).all():
            measured = self.angular_velocity + gain * (measured - self.angular_velocity)
        # What turns about the direction itself does not move it.
        self.angular_velocity = measured - after * (after @ measured)

    def _miss(self, seen: Bearing, elapsed: int) -> None:
        self._unseen += elapsed
        unseen = self._unseen * 1e-9
        if unseen > self._config.lost_after or self.state is TrackState.LOST:
            self.state = TrackState.LOST
            self.angular_velocity = _unknown_velocity()
            last_known, moved = seen, seen.covariance
        else:
            self.state = TrackState.OCCLUDED
            last_known, moved = self._predict(seen, elapsed * 1e-9)
        variance = (self._config.velocity_noise * unseen) ** 2
        covariance = bounded_covariance(moved + variance * np.eye(2))
        self.bearing = replace(last_known, covariance=covariance, solid_angle=0.0)

    def _predict(self, seen: Bearing, elapsed: float) -> tuple[Bearing, Floats]:
        """The bearing moved on along its great circle, and the measured covariance moved along."""
        direction = self.bearing.direction
        if np.isfinite(self.angular_velocity).all():
            decay = self._config.velocity_decay
            left = math.exp(-elapsed / decay)
            turn = _rotation(self.angular_velocity * decay * (1 - left))
            direction = normalised(turn @ direction)
            self.angular_velocity = self.angular_velocity * left
        whole = _shortest_rotation(seen.direction, direction)
        jacobian = np.stack(tangent_basis(direction)) @ whole
        jacobian = jacobian @ np.stack(tangent_basis(seen.direction), 1)
        return replace(seen, direction=direction), jacobian @ seen.covariance @ jacobian.T


def _anywhere() -> Bearing:
    covariance = UNKNOWN_VARIANCE * np.eye(2)
    return Bearing(np.array([0.0, 0.0, 1.0]), covariance, 0.0, 0.0, 0.0)


def _unknown_velocity() -> Floats:
    return np.full(3, math.nan)


def _rotation(vector: Floats) -> Floats:
    """[3, 3] rotation about ``vector`` [3] by its length, rad (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)


def _shortest_rotation(source: Floats, target: Floats) -> Floats:
    """[3, 3] rotation along the great circle from one unit vector [3] to another."""
    axis = np.cross(source, target)
    length = float(np.linalg.norm(axis))
    if length == 0:
        return np.eye(3)
    return _rotation(axis / length * float(angle_between(source, target)))
