"""Send a robot with Nav2 to an object: in front of it, facing it.

    python examples/go_to_object.py --ros-args -p object_id:=3
    python examples/go_to_object.py --ros-args -p object_id:=3 -p assumed_distance:=2.5

The first takes the object's place from node `panosam2_places` (`panosam2_places/objects_3d`), the second the
direction from `panosam2/bearings` and your word for the level distance, m. tf2 must know `base_frame` and the
frame of the place or bearing in `map_frame`. The goal is `stand_off` m before the object on the way from the
robot, turned to it; a robot that is nearer already only turns. Refused: a place whose standard deviation in
its worst level direction is above `max_deviation` m, a message older than `max_age` s, an object that is not
visible.

The goal goes to the action `navigate_to_pose` (nav2_msgs), and Ctrl-C cancels it; with `by_topic:=true` it is
published on `goal_pose` instead, as RViz does, and the program ends. It waits `timeout` s for a good message.
"""

from __future__ import annotations

import math
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import deque
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import rclpy
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import PoseStamped
from numpy.typing import ArrayLike, NDArray
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from scipy.spatial.transform import Rotation

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """The parameters of the program."""

    object_id: int = 1
    assumed_distance: float = 0.0  # m; 0: take the object's place instead
    stand_off: float = 1.0  # m
    max_deviation: float = 0.5  # m
    max_age: float = 2.0  # s
    timeout: float = 20.0  # s
    map_frame: str = "map"
    base_frame: str = "base_link"
    by_topic: bool = False


class GoalError(ValueError):
    """There is no goal; the message says why."""


@dataclass(frozen=True)
class Goal:
    """Where to stand, m, and which way to look, rad, in the map."""

    x: float
    y: float
    yaw: float


def goal_before(robot: ArrayLike, place: ArrayLike, stand_off: float) -> Goal:
    """Return the pose ``stand_off`` m before a place, coming from the robot; both [2] or [3] in the map, m.

    A robot that is nearer stays where it is and turns. Raise GoalError where it stands on the place.
    """
    own, there = np.asarray(robot, float)[:2], np.asarray(place, float)[:2]
    way = there - own
    distance = float(np.hypot(*way))
    if not (np.isfinite(way).all() and distance > 1e-3):
        raise GoalError(f"no direction from the robot at {own} to the object at {there}")
    at = own + way * max(0.0, 1.0 - stand_off / distance)
    return Goal(float(at[0]), float(at[1]), math.atan2(way[1], way[0]))


def check_deviation(covariance: ArrayLike, most: float) -> None:
    """Raise GoalError for a covariance [3, 3], m^2, that is none, or too large along some level direction."""
    level = np.asarray(covariance, float)[:2, :2]
    largest = float(np.linalg.eigvalsh((level + level.T) / 2)[-1]) if np.isfinite(level).all() else math.nan
    if not 0.0 < largest <= most**2:
        deviation = "unknown" if not largest > 0 else f"{math.sqrt(largest):.2f} m"
        raise GoalError(
            f"the place is not known well enough: standard deviation {deviation}, wanted {most:g} m"
        )


def place_of(message: Any, object_id: int) -> tuple[Floats, Floats]:
    """Return position [3] and its covariance [3, 3] of an object in a vision_msgs/Detection3DArray."""
    for detection in message.detections:
        if detection.id == str(object_id) and detection.results:
            pose = detection.results[0].pose
            p = pose.pose.position
            return np.array([p.x, p.y, p.z]), np.asarray(pose.covariance, float).reshape(6, 6)[:3, :3]
    raise GoalError(f"object {object_id} has no place: not visible, or out of reach of lidar and depth")


def direction_of(message: ObjectBearingArray, object_id: int) -> Floats:
    """Return the direction [3] of an object that is visible."""
    item = next((i for i in message.objects if i.object_id == object_id), None)
    if item is None:
        raise GoalError(f"object {object_id} is not known")
    if item.state != ObjectBearing.STATE_VISIBLE:
        raise GoalError(f"object {object_id} is not visible")
    return np.array([item.direction.x, item.direction.y, item.direction.z])


class GoalFinder:
    """Turns messages into goals, by tf2."""

    def __init__(self, node: Node, settings: Settings) -> None:
        try:
            import tf2_ros
        except ImportError:
            sys.exit("go_to_object: tf2_ros is missing: install ros-$ROS_DISTRO-tf2-ros-py")
        self._node, self._settings, self._tf2 = node, settings, tf2_ros
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def goal(self, message: Any) -> Goal:
        """Return the goal for a message of places or bearings; raise GoalError."""
        own, stamp = self._settings, Time.from_msg(message.header.stamp)
        age = (self._node.get_clock().now() - stamp).nanoseconds * 1e-9
        if age > own.max_age:
            raise GoalError(f"the newest message is {age:.1f} s old")
        robot, _ = self._transform(own.base_frame, Time())
        origin, rotation = self._transform(message.header.frame_id, stamp)
        if own.assumed_distance > 0:
            along = rotation.apply(direction_of(message, own.object_id))
            level = float(np.hypot(*along[:2]))
            if level < math.cos(math.radians(75)):
                raise GoalError("the object is nearly straight above or below")
            return goal_before(robot, origin + own.assumed_distance * along / level, own.stand_off)
        position, covariance = place_of(message, own.object_id)
        matrix = rotation.as_matrix()
        check_deviation(matrix @ covariance @ matrix.T, own.max_deviation)
        return goal_before(robot, origin + rotation.apply(position), own.stand_off)

    def _transform(self, frame: str, stamp: Time) -> tuple[Floats, Rotation]:
        """Return position [3] and rotation of a frame in the map."""
        try:
            found = self._buffer.lookup_transform(self._settings.map_frame, frame, stamp).transform
        except self._tf2.TransformException as error:
            raise GoalError(
                f"no transform from {frame!r} to {self._settings.map_frame!r}: {error}"
            ) from error
        t, q = found.translation, found.rotation
        return np.array([t.x, t.y, t.z]), Rotation.from_quat([q.x, q.y, q.z, q.w])


def pose_message(goal: Goal, node: Node, frame_id: str) -> PoseStamped:
    """Return a goal as a message, stamped now."""
    pose = PoseStamped()
    pose.header.frame_id, pose.header.stamp = frame_id, node.get_clock().now().to_msg()
    pose.pose.position.x, pose.pose.position.y = goal.x, goal.y
    pose.pose.orientation.z, pose.pose.orientation.w = math.sin(goal.yaw / 2), math.cos(goal.yaw / 2)
    return pose


def message_source(settings: Settings) -> tuple[Any, str]:
    """Return type and name of the topic that says where the object is; exit where its package is missing."""
    if settings.assumed_distance > 0:
        return ObjectBearingArray, "panosam2/bearings"
    try:
        from vision_msgs.msg import Detection3DArray
    except ImportError:
        sys.exit("go_to_object: vision_msgs is missing: install ros-$ROS_DISTRO-vision-msgs")
    return Detection3DArray, "panosam2_places/objects_3d"


def wait_for_goal(node: Node, settings: Settings) -> Goal:
    """Return the goal of the first message that has one; exit with the last reason where none comes."""
    finder, newest = GoalFinder(node, settings), deque[Any](maxlen=1)
    kind, topic = message_source(settings)
    subscription = node.create_subscription(kind, topic, lambda message: newest.append(message), 5)
    reason, end = f"nothing came on {topic}", time.monotonic() + settings.timeout
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
        if newest:
            try:
                goal = finder.goal(newest[-1])
            except GoalError as error:
                reason = str(error)
            else:
                node.destroy_subscription(subscription)
                return goal
    sys.exit(f"go_to_object: no goal within {settings.timeout:g} s: {reason}")


def publish(node: Node, pose: PoseStamped) -> None:
    """Publish a goal once somebody listens; exit where nobody does."""
    publisher = node.create_publisher(PoseStamped, "goal_pose", 1)
    end = time.monotonic() + 10.0
    while not publisher.get_subscription_count():
        if time.monotonic() > end:
            sys.exit("go_to_object: nobody subscribes to goal_pose: is Nav2's bt_navigator active?")
        rclpy.spin_once(node, timeout_sec=0.1)
    publisher.publish(pose)
    publisher.wait_for_all_acked(Duration(seconds=5.0))


def navigate(node: Node, pose: PoseStamped) -> None:
    """Send a goal to Nav2 and wait for its result; Ctrl-C cancels it. Exit with 1 where it fails."""
    try:
        from nav2_msgs.action import NavigateToPose
    except ImportError:
        sys.exit(
            "go_to_object: nav2_msgs is missing: install ros-$ROS_DISTRO-nav2-msgs, or set by_topic:=true"
        )
    client = ActionClient(node, NavigateToPose, "navigate_to_pose")
    if not client.wait_for_server(timeout_sec=10.0):
        sys.exit("go_to_object: no action navigate_to_pose within 10 s: is Nav2 active?")
    sent = client.send_goal_async(NavigateToPose.Goal(pose=pose))
    rclpy.spin_until_future_complete(node, sent, timeout_sec=10.0)
    handle = sent.result()
    if handle is None or not handle.accepted:
        sys.exit("go_to_object: Nav2 refused the goal")
    result = handle.get_result_async()
    try:
        rclpy.spin_until_future_complete(node, result)
    except KeyboardInterrupt:
        rclpy.spin_until_future_complete(node, handle.cancel_goal_async(), timeout_sec=2.0)
        sys.exit("go_to_object: cancelled")
    if result.result().status != GoalStatus.STATUS_SUCCEEDED:
        sys.exit(f"go_to_object: Nav2 did not get there, status {result.result().status}")


def main() -> None:
    """Find the goal, print it, and send it."""
    ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter).parse_known_args()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # a cancel needs a living context
    node = rclpy.create_node("go_to_object")
    settings = Settings(**{f.name: node.declare_parameter(f.name, f.default).value for f in fields(Settings)})
    try:
        goal = wait_for_goal(node, settings)
        degrees = math.degrees(goal.yaw)
        print(
            f"goal in {settings.map_frame}: x {goal.x:.2f} m, y {goal.y:.2f} m, yaw {degrees:.0f} deg",
            flush=True,
        )
        send = publish if settings.by_topic else navigate
        send(node, pose_message(goal, node, settings.map_frame))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
