"""Turn a robot until an object is ahead, and keep it there: from `panosam2/bearings` to `cmd_vel`.

    python examples/face_object.py --ros-args -p object_id:=3 -r cmd_vel:=/diffbot/cmd_vel

Publishes geometry_msgs/Twist (`stamped:=true`: TwistStamped) at 20 Hz, only angular.z. What it does:

- visible: turns towards it, at most `max_rate` rad/s and `max_acceleration` rad/s^2; within `deadband`: rests
- occluded: follows the predicted direction until `follow_occluded` s after it was last seen, then rests
- lost, not known, or straight above or below: rests. Turning to search is no use: the camera sees all round
- no bearing whose image is younger than `max_age` s (a dead node or camera): rests
- a new epoch (ids begin anew) or Ctrl-C or SIGTERM: sends zero and ends

To rest it brakes at `max_acceleration`: it stands within max_age + max_rate / max_acceleration seconds of the
last image, 1.6 s. After `kill -9` nothing is sent any more: the base's own time-out of commands must stop it.
The camera's forward axis is taken for the robot's, unless `base_frame` names a frame for tf2 to look up.
"""

from __future__ import annotations

import math
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import rclpy
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from scipy.spatial.transform import Rotation

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray

PERIOD = 0.05  # s between commands
STEEPEST = math.radians(80)  # of elevation: nearer to the vertical an azimuth says nothing
BEHIND = math.radians(165)  # beyond it a turn once begun goes on, though left and right are near the same


@dataclass(frozen=True)
class Settings:
    """The parameters of the node."""

    object_id: int = 1
    base_frame: str = ""  # whose x axis is to point at the object; empty: the bearing's own forward axis
    stamped: bool = False  # publish TwistStamped
    gain: float = 2.0  # rad/s per rad
    max_rate: float = 0.8  # rad/s
    max_acceleration: float = 1.5  # rad/s^2
    deadband: float = 0.03  # rad
    follow_occluded: float = 2.0  # s
    max_age: float = 1.0  # s, of the image of a bearing


class TurnController:
    """Computes rates of turn, rad/s, anticlockwise positive; knows how far it has turned since an image."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.rate = settings, 0.0
        self._commands: deque[tuple[float, float]] = deque(maxlen=200)  # time s, rate from then on

    def step(self, error: float | None, now: float, period: float = PERIOD) -> float:
        """Return the next rate; ``error``: rad to the object, anticlockwise positive, None: come to rest."""
        own, wanted = self._settings, 0.0
        if error is not None and abs(error) > own.deadband:
            if abs(error) > BEHIND and self.rate != 0:
                error = math.copysign(error, self.rate)
            in_time = math.sqrt(2 * own.max_acceleration * abs(error))  # from this rate it can still brake
            wanted = math.copysign(min(own.gain * abs(error), in_time, own.max_rate), error)
        most = own.max_acceleration * period
        self.rate += min(max(wanted - self.rate, -most), most)
        self._commands.append((now, self.rate))
        return self.rate

    def turned_since(self, stamp: float, now: float) -> float:
        """Return how far, rad, the commands since then have turned the robot: the image is that old."""
        turned, end = 0.0, now
        for time, rate in reversed(self._commands):
            turned += rate * (end - max(time, stamp))
            end = time
            if time <= stamp:
                break
        return turned


class ObjectFollower:
    """Decides from the newest bearings which way to turn, or why not to."""

    def __init__(self, settings: Settings, azimuth_of: Callable[[Any, ObjectBearing], float]) -> None:
        """Take the settings and what returns a bearing's azimuth in the robot's axes, given its header."""
        self._settings, self._azimuth_of = settings, azimuth_of
        self._newest: ObjectBearingArray | None = None
        self.epoch: int | None = None

    def update(self, message: ObjectBearingArray) -> bool:
        """Take a message; return False where ids mean other objects than before."""
        self._newest = message
        self.epoch = message.epoch if self.epoch is None else self.epoch
        return bool(message.epoch == self.epoch)

    def azimuth(self, now: float) -> tuple[float | None, float, str]:
        """Return the azimuth to turn to or None, the stamp (s) that it is of, and what is going on."""
        own, message = self._settings, self._newest
        if message is None:
            return None, now, "resting: no bearings yet"
        stamp = seconds(message.header.stamp)
        if not abs(now - stamp) <= own.max_age:
            return None, now, f"resting: the newest image is older than {own.max_age:g} s, or from the future"
        item = next((i for i in message.objects if i.object_id == own.object_id), None)
        if item is None:
            return None, now, f"resting: object {own.object_id} is not known; prompt it, or set object_id"
        if item.state == ObjectBearing.STATE_OCCLUDED:
            if stamp - seconds(item.last_seen) > own.follow_occluded:
                return None, now, "resting: occluded for too long"
        elif item.state != ObjectBearing.STATE_VISIBLE:
            return None, now, "resting: the object is lost"
        if abs(item.elevation) > STEEPEST:
            return None, now, "resting: the object is straight above or below"
        try:
            azimuth = self._azimuth_of(message.header, item)
        except LookupError as error:
            return None, now, f"resting: {error}"
        if not math.isfinite(azimuth):
            return None, now, "resting: the bearing is not a number"
        return azimuth, stamp, "following"


def seconds(stamp: Any) -> float:
    """Return a builtin_interfaces/Time in s."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


def wrapped(angle: float) -> float:
    """Return the same direction as an angle in -pi..pi."""
    return math.remainder(angle, 2 * math.pi)


def azimuth_by_tf(node: Node, base_frame: str) -> Callable[[Any, ObjectBearing], float]:
    """Return what computes azimuths in ``base_frame`` (x forward, y left), by tf2."""
    try:
        import tf2_ros
    except ImportError:
        sys.exit("face_object: base_frame needs tf2_ros: install ros-$ROS_DISTRO-tf2-ros-py")
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node)

    def azimuth(header: Any, item: ObjectBearing, _listener: Any = listener) -> float:
        try:  # the newest: a camera is mounted rigidly
            q = buffer.lookup_transform(base_frame, header.frame_id, Time()).transform.rotation
        except tf2_ros.TransformException as error:
            raise LookupError(f"no transform from {header.frame_id!r} to {base_frame!r}: {error}") from error
        d = item.direction
        x, y, _ = Rotation.from_quat([q.x, q.y, q.z, q.w]).apply([d.x, d.y, d.z])
        return math.atan2(y, x)

    return azimuth


class FaceObject:
    """The node: subscribes to bearings, publishes commands."""

    def __init__(self, node: Node) -> None:
        self._node, self.over = node, False
        own = Settings(**{f.name: node.declare_parameter(f.name, f.default).value for f in fields(Settings)})
        self._settings, self._controller, self._said = own, TurnController(own), ""
        known = azimuth_by_tf(node, own.base_frame) if own.base_frame else lambda _, item: item.azimuth
        self._follower = ObjectFollower(own, known)
        self._publisher = node.create_publisher(TwistStamped if own.stamped else Twist, "cmd_vel", 5)
        node.create_subscription(ObjectBearingArray, "panosam2/bearings", self._on_bearings, 5)
        node.create_timer(PERIOD, self._step)

    def _on_bearings(self, message: ObjectBearingArray) -> None:
        if not self._follower.update(message):
            self._say(f"ending: epoch {message.epoch} began, and object ids with it")
            self.over = True

    def _step(self) -> None:
        now = self._node.get_clock().now().nanoseconds * 1e-9
        azimuth, stamp, why = self._follower.azimuth(now)
        error = None if azimuth is None else wrapped(azimuth - self._controller.turned_since(stamp, now))
        if error is not None and abs(error) <= 3 * self._settings.deadband:
            why = "the object is ahead"
        self._say(why)
        self._publish(self._controller.step(error, now))

    def _publish(self, rate: float) -> None:
        message = TwistStamped() if self._settings.stamped else Twist()
        twist = message.twist if self._settings.stamped else message
        if self._settings.stamped:
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.header.frame_id = self._settings.base_frame or "base_link"
        twist.angular.z = rate
        self._publisher.publish(message)

    def stop(self) -> None:
        """Send zero, and wait until it has arrived."""
        self._publish(0.0)
        self._publisher.wait_for_all_acked(Duration(seconds=1.0))

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            self._node.get_logger().info(what)


def main() -> None:
    """Run until Ctrl-C, SIGTERM or a new epoch."""
    ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter).parse_known_args()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # the last command needs a living context
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    node = rclpy.create_node("face_object")
    facing = FaceObject(node)
    try:
        while not facing.over:
            rclpy.spin_once(node, timeout_sec=1.0)
    except KeyboardInterrupt:
        pass
    finally:
        facing.stop()
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
