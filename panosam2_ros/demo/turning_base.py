"""A simulated robot base that turns as velocity commands say, and a camera's frames as seen from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from panosam2_ros.demo.playback import Played
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.simulation.scene import ObjectTruth

_STEP = 0.01  # s of integration


@dataclass(frozen=True)
class TurnLimits:
    """What the base can do, and when it stops by itself."""

    rate: float = 1.5  # rad/s at most
    acceleration: float = 3.0  # rad/s^2 at most
    timeout: float = 0.5  # s without a command, after which it brakes, as controllers of ros2_control do

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.acceleration > 0 and self.timeout > 0):
            raise ValueError(f"rate, acceleration and time-out of a base must be above 0, got {self}")


class TurningBase:
    """The heading of a base over time; times in s on one clock, never decreasing."""

    def __init__(self, limits: TurnLimits, *, yaw: float = 0.0, now: float = 0.0) -> None:
        """Start at rest, at a heading of ``yaw`` rad, anticlockwise positive seen from above."""
        self._limits = limits
        self.yaw, self.rate = yaw, 0.0  # rad, rad/s
        self._now, self._commanded, self._wanted = now, -math.inf, 0.0

    def command(self, rate: float, now: float) -> bool:
        """Take the wanted rate of turn, rad/s; return False, and ignore it, where it is not finite."""
        self.advance(now)
        if not math.isfinite(rate):
            return False
        limit = self._limits.rate
        self._wanted, self._commanded = min(max(rate, -limit), limit), now
        return True

    def advance(self, now: float) -> None:
        """Move on to a time."""
        while (left := now - self._now) > 1e-9:
            step = min(left, _STEP)
            expired = self._now - self._commanded > self._limits.timeout
            change = (0.0 if expired else self._wanted) - self.rate
            most = self._limits.acceleration * step
            before = self.rate
            self.rate += min(max(change, -most), most)
            self.yaw += (before + self.rate) / 2 * step
            self._now += step


def whole_columns(yaw: float, width: int) -> int:
    """Return the heading in columns of an image, rounded: ground truth stays exact to the pixel."""
    return round(yaw / (2 * math.pi) * width)


def seen_after_turn(played: Played, columns: int, rate: float) -> Played:
    """Return a frame as a camera sees it that has turned left by ``columns`` and turns at ``rate`` rad/s.

    It turns about its own vertical axis, which shifts all columns of a panorama alike.
    """
    angle = columns * 2 * math.pi / played.image.shape[1]
    labels = None if played.labels is None else np.roll(played.labels, columns, 1)
    objects = None
    if played.objects is not None:
        objects = tuple(_turned(truth, angle, rate) for truth in played.objects)
    return replace(played, image=np.roll(played.image, columns, 1), labels=labels, objects=objects)


def _turned(truth: ObjectTruth, angle: float, rate: float) -> ObjectTruth:
    """Rotate an object's ground truth about the camera's vertical axis, which points down."""
    sine, cosine = math.sin(angle), math.cos(angle)
    rotation = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    centre = rotation @ truth.centre
    return replace(
        truth,
        direction=rotation @ truth.direction,
        centre=centre,
        angular_velocity=_across(rotation @ truth.angular_velocity + np.array([0.0, rate, 0.0]), centre),
    )


def _across(angular_velocity: Floats, direction: Floats) -> Floats:
    """Remove the part of an angular velocity [3] that leaves the direction [3] as it is."""
    return np.asarray(angular_velocity - (angular_velocity @ direction) * direction)
