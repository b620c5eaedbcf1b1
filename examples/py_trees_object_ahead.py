"""A py_trees leaf that waits until an object is ahead of the robot; needs `pip install "panosam2_ros[bt]"`.

    python examples/py_trees_object_ahead.py --ros-args -p object_id:=3

It only looks: beside it something turns the robot, for example face_object.py, or a leaf of yours that calls
a navigation action. As in py_trees_ros, ``setup`` takes the node as a keyword. The leaf is

- SUCCESS once the object was within `tolerance` rad of straight ahead for `hold` s
- RUNNING while it is visible elsewhere, or occluded since less than `occluded_for` s
- FAILURE where it is lost, not known, occluded for longer, not ahead within `timeout` s, or where no bearing
  came for `silence` s; `feedback_message` says which
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass, fields
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException

try:
    import py_trees
    from py_trees.common import Status
except ImportError:
    sys.exit('py_trees is missing: pip install "panosam2_ros[bt]", or install ros-$ROS_DISTRO-py-trees')

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray


@dataclass(frozen=True)
class Patience:
    """How near is ahead, rad, and how long the leaf waits for what, s."""

    tolerance: float = math.radians(5)
    hold: float = 1.0
    occluded_for: float = 3.0
    silence: float = 2.0
    timeout: float = 30.0


class ObjectAhead(py_trees.behaviour.Behaviour):
    """A leaf that succeeds when an object is ahead."""

    def __init__(self, object_id: int, patience: Patience | None = None) -> None:
        """Take the object's id, as the node's answer to a prompt says it."""
        super().__init__(name=f"object {object_id} ahead")
        self._object_id, self._patience = object_id, patience or Patience()
        self._newest: ObjectBearingArray | None = None

    def setup(self, **kwargs: Any) -> None:
        """Subscribe, on the node that the tree was given."""
        self._node = kwargs["node"]
        self._subscription = self._node.create_subscription(
            ObjectBearingArray, "panosam2/bearings", self._on_bearings, 5
        )

    def _on_bearings(self, message: ObjectBearingArray) -> None:
        self._newest, self._heard = message, self._now()

    def initialise(self) -> None:
        """Begin to wait."""
        self._began = self._heard = self._now()
        self._ahead_since: float | None = None
        self._newest = None  # what came before says nothing about now

    def update(self) -> Status:
        """Return how it stands."""
        status, self.feedback_message = self._judge(self._now())
        return status

    def terminate(self, new_status: Status) -> None:
        """Keep the subscription: the leaf may be ticked again."""

    def _judge(self, now: float) -> tuple[Status, str]:
        own = self._patience
        if now - self._began > own.timeout:
            return Status.FAILURE, f"not ahead within {own.timeout:g} s"
        if now - self._heard > own.silence:
            return Status.FAILURE, f"no bearings for {own.silence:g} s: is the node active?"
        if self._newest is None:
            return Status.RUNNING, "waiting for bearings"
        item = next((i for i in self._newest.objects if i.object_id == self._object_id), None)
        if item is None:
            return Status.FAILURE, f"object {self._object_id} is not known"
        if item.state == ObjectBearing.STATE_OCCLUDED:
            self._ahead_since = None
            unseen = seconds(self._newest.header.stamp) - seconds(item.last_seen)
            if unseen > own.occluded_for:
                return Status.FAILURE, f"occluded for {unseen:.1f} s"
            return Status.RUNNING, "occluded, expected back"
        if item.state != ObjectBearing.STATE_VISIBLE:
            return Status.FAILURE, "lost"
        degrees = math.degrees(item.azimuth)
        if not abs(item.azimuth) <= own.tolerance:
            self._ahead_since = None
            return Status.RUNNING, f"{degrees:+.0f} degrees off"
        self._ahead_since = now if self._ahead_since is None else self._ahead_since
        if now - self._ahead_since < own.hold:
            return Status.RUNNING, "ahead"
        return Status.SUCCESS, f"ahead for {own.hold:g} s"

    def _now(self) -> float:
        return float(self._node.get_clock().now().nanoseconds * 1e-9)


def seconds(stamp: Any) -> float:
    """Return a builtin_interfaces/Time in s."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


def main() -> None:
    """Tick the leaf five times a second until it has succeeded or failed; the exit status says which."""
    ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter).parse_known_args()
    rclpy.init()
    node = rclpy.create_node("object_ahead")
    object_id = node.declare_parameter("object_id", 1).value
    patience = Patience(**{f.name: node.declare_parameter(f.name, f.default).value for f in fields(Patience)})
    tree = py_trees.trees.BehaviourTree(root=ObjectAhead(object_id, patience))
    tree.setup(node=node)
    timer = node.create_timer(0.2, tree.tick)
    said = ""
    try:
        while tree.root.status in (Status.INVALID, Status.RUNNING):
            rclpy.spin_once(node)
            if tree.root.feedback_message != said:
                said = tree.root.feedback_message
                print(f"{tree.root.status.name}: {said}", flush=True)
    except (KeyboardInterrupt, ExternalShutdownException):
        tree.interrupt()
    node.destroy_timer(timer)
    node.destroy_node()
    rclpy.try_shutdown()
    sys.exit(tree.root.status != Status.SUCCESS)


if __name__ == "__main__":
    main()
