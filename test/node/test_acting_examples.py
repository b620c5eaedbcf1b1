"""The examples that act, as processes over DDS: what they command, and that they stop."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import rclpy
from geometry_msgs.msg import PoseStamped, TransformStamped, Twist, TwistStamped
from rclpy.node import Node

from helpers.compiled_modules import compiled_modules
from helpers.message_packages import environment_with
from helpers.process import ROOT, Process, wait_for
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray

AZIMUTH = 0.9  # rad


class Planner(Node):
    """Stands for the node panosam2 and for the base: publishes bearings, receives commands."""

    def __init__(self) -> None:
        super().__init__("stand_in")
        self.commands: list[float] = []
        self.stamped: list[TwistStamped] = []
        self.goals: list[PoseStamped] = []
        self.bearings = self.create_publisher(ObjectBearingArray, "panosam2/bearings", 5)
        self.create_subscription(Twist, "cmd_vel", lambda m: self.commands.append(m.angular.z), 50)
        self.create_subscription(TwistStamped, "cmd_vel_stamped", self.stamped.append, 50)
        self.create_subscription(PoseStamped, "goal_pose", self.goals.append, 5)

    def say(
        self,
        state: int = ObjectBearing.STATE_VISIBLE,
        azimuth: float = AZIMUTH,
        epoch: int = 0,
        obj_id: int = 3,
    ) -> None:
        item = ObjectBearing(object_id=obj_id, state=state, azimuth=azimuth)
        item.direction.x, item.direction.y = math.cos(azimuth), math.sin(azimuth)
        message = ObjectBearingArray(epoch=epoch, objects=[item])
        message.header.stamp = item.last_seen = self.get_clock().now().to_msg()
        message.header.frame_id = "camera_link"
        self.bearings.publish(message)

    def until(self, condition: Any, timeout: float = 30.0, **said: Any) -> None:
        """Say the same until a condition holds; nothing where ``said`` is empty."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"nothing came within {timeout} s"
            if said:
                self.say(**said)
            rclpy.spin_once(self, timeout_sec=0.05)


@pytest.fixture(scope="module")
def planner() -> Iterator[Planner]:
    rclpy.init()
    node = Planner()
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def example(
    name: str, folder: Path, environment: dict[str, str] | None = None, remap: str = "", **parameters: Any
) -> Process:
    given = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    given += ["-r", remap] if remap else []
    return Process(f"examples.{name}", "--ros-args", *given, log=folder / "example.log", **environment or {})


@pytest.mark.faults
def test_face_object_turns_and_stops_when_bearings_or_it_itself_end(planner, tmp_path):
    planner.commands.clear()
    with example("face_object", tmp_path, object_id=3) as process:
        visible = {"state": ObjectBearing.STATE_VISIBLE}
        planner.until(lambda: planner.commands and planner.commands[-1] > 0.5, **visible)
        planner.until(lambda: planner.commands[-1] == 0.0)  # nothing is said any more: a dead node
        assert "older than 1 s" in process.output
        planner.until(lambda: planner.commands[-1] < -0.5, azimuth=-AZIMUTH)
        planner.until(lambda: planner.commands[-1] == 0.0, state=ObjectBearing.STATE_LOST)
        planner.until(lambda: planner.commands[-1] > 0.5, **visible)
        planner.until(lambda: planner.commands[-1] == 0.0, obj_id=4)
        assert "object 3 is not known" in process.output
        planner.until(lambda: planner.commands[-1] > 0.5, **visible)
        assert process.stop(signal.SIGINT) == 0
        planner.until(lambda: planner.commands[-1] == 0.0)
        assert "Traceback" not in process.output


PACKAGES = ("tf2_ros", "vision_msgs")


@pytest.fixture(scope="module")
def with_packages() -> Iterator[dict[str, str]]:
    """What a process needs to find the packages, which this one finds too for the while."""
    with compiled_modules(*PACKAGES):
        yield environment_with(*PACKAGES)


@pytest.fixture(scope="module")
def tf(planner, with_packages) -> Any:
    """A broadcaster of static transforms, by tf2 or what stands for it here."""
    import tf2_ros

    return tf2_ros.StaticTransformBroadcaster(planner)


def transform(parent: str, child: str, x: float, y: float, yaw: float) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform.translation.x, message.transform.translation.y = x, y
    message.transform.rotation.z, message.transform.rotation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


def test_face_object_turns_the_base_not_the_camera_and_ends_with_the_epoch(
    planner, tmp_path, tf, with_packages
):
    tf.sendTransform([transform("base_link", "camera_link", 0.2, 0.0, -AZIMUTH - 0.5)])
    own = {"object_id": 3, "base_frame": "base_link", "stamped": True}
    with example("face_object", tmp_path, with_packages, remap="cmd_vel:=cmd_vel_stamped", **own) as process:
        planner.until(lambda: planner.stamped and planner.stamped[-1].twist.angular.z < -0.3, azimuth=AZIMUTH)
        assert planner.stamped[-1].header.frame_id == "base_link"
        planner.until(lambda: not process.running, azimuth=AZIMUTH, epoch=1)
        assert process.wait() == 0 and "epoch 1 began" in process.output
        planner.until(lambda: planner.stamped[-1].twist.angular.z == 0.0)


def test_go_to_object_sends_the_pose_before_a_direction_or_a_place(planner, tmp_path, tf, with_packages):
    tf.sendTransform(
        [
            transform("map", "base_link", 10.0, 5.0, math.pi / 2),
            transform("base_link", "camera_link", 0.0, 0.0, 0.0),
        ]
    )
    how = {"object_id": 3, "assumed_distance": 3.0, "by_topic": True, "stand_off": 1.0}
    with example("go_to_object", tmp_path, with_packages, **how) as process:
        planner.until(lambda: planner.goals and not process.running, azimuth=0.0)
        assert process.wait() == 0
    (goal,) = planner.goals
    assert goal.header.frame_id == "map"
    assert (goal.pose.position.x, goal.pose.position.y) == pytest.approx((10.0, 7.0), abs=1e-6)
    yaw = 2 * math.atan2(goal.pose.orientation.z, goal.pose.orientation.w)
    assert yaw == pytest.approx(math.pi / 2, abs=1e-6)

    from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

    planner.goals.clear()
    places = planner.create_publisher(Detection3DArray, "panosam2_places/objects_3d", 5)
    known = ObjectHypothesisWithPose()
    known.pose.pose.position.x, known.pose.pose.position.y = (
        4.0,
        0.0,
    )  # ahead of the camera, which looks north
    message = Detection3DArray(detections=[Detection3D(id="3", results=[known])])
    message.header.frame_id = "camera_link"
    how = {"object_id": 3, "by_topic": True}
    with example("go_to_object", tmp_path, with_packages, **how) as process:
        known.pose.covariance[0] = known.pose.covariance[7] = 4.0  # 2 m: too uncertain

        def publish() -> bool:
            message.header.stamp = planner.get_clock().now().to_msg()
            places.publish(message)
            return bool(planner.goals)

        end = time.monotonic() + 4.0
        while time.monotonic() < end:
            assert not publish()
            rclpy.spin_once(planner, timeout_sec=0.05)
        known.pose.covariance[0] = known.pose.covariance[7] = 0.01
        planner.until(publish)
        wait_for(lambda: not process.running, 20.0)
    assert (planner.goals[0].pose.position.x, planner.goals[0].pose.position.y) == pytest.approx(
        (10.0, 8.0), abs=1e-6
    )


def test_the_leaf_of_a_behaviour_tree_succeeds_and_fails_as_a_process(planner, tmp_path):
    pytest.importorskip("py_trees")
    own = {"object_id": 3, "hold": 0.3, "silence": 20.0}
    with example("py_trees_object_ahead", tmp_path, **own) as process:
        planner.until(lambda: "RUNNING: +52 degrees off" in process.output, azimuth=AZIMUTH)
        planner.until(lambda: not process.running, azimuth=0.0)
        assert process.wait() == 0 and "SUCCESS: ahead" in process.output
    with example("py_trees_object_ahead", tmp_path, **own) as process:
        planner.until(lambda: not process.running, state=ObjectBearing.STATE_LOST)
        assert process.wait() == 1 and "FAILURE: lost" in process.output


@pytest.mark.parametrize(
    ("name", "given", "missing"),
    [
        ("go_to_object", ["-p", "assumed_distance:=1.0"], "tf2_ros is missing"),
        ("face_object", ["-p", "base_frame:=base_link"], "base_frame needs tf2_ros"),
    ],
)
def test_what_is_not_installed_is_said_in_one_line(name, given, missing):
    code = f"import sys; sys.modules['tf2_ros'] = None; from examples import {name}; {name}.main()"
    command = [sys.executable, "-c", code, "--ros-args", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 1
    assert missing in done.stderr and "Traceback" not in done.stderr


def test_a_camera_that_turns_gets_the_object_ahead_by_the_real_node(tmp_path):
    """One of the ten scenes of `python -m tools.face_object`, with a thing that hardly moves."""
    options = ["--scenes=1", "--seed=2", "--object-speed=0.01", f"--out={tmp_path}"]
    command = [sys.executable, "-m", "tools.face_object", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert abs(result["start_deg"]) > 140 and result["largest_after_deg"] < 5.0
