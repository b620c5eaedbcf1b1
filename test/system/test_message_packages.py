"""The message packages that tests compile: types travel between processes; tf2_ros answers as tf2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from helpers.message_packages import COMPILED, environment_with, is_installed, package_folders
from helpers.process import ROOT, Process

TALKER = """
import time, rclpy
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster
from geometry_msgs.msg import TransformStamped
rclpy.init(); node = rclpy.create_node("talker")
boxes = node.create_publisher(Detection2DArray, "boxes", 10)
moving, still = TransformBroadcaster(node), StaticTransformBroadcaster(node)

def transform(parent, child, x, seconds):
    t = TransformStamped(child_frame_id=child)
    t.header.frame_id, t.header.stamp.sec = parent, seconds
    t.transform.translation.x = x
    t.transform.rotation.z = t.transform.rotation.w = 0.5 ** 0.5  # a quarter turn to the left
    return t

still.sendTransform(transform("base", "camera", 1.0, 0))
box = Detection2D(id="7", results=[ObjectHypothesisWithPose()])
box.results[0].hypothesis.class_id, box.bbox.center.position.x = "chair", 12.5
while rclpy.ok():
    boxes.publish(Detection2DArray(detections=[box]))
    moving.sendTransform([transform("odom", "base", 0.0, 1), transform("odom", "base", 2.0, 3)])
    time.sleep(0.1)
"""
LISTENER = """
import time, rclpy, tf2_ros
from rclpy.time import Time
from vision_msgs.msg import Detection2DArray
rclpy.init(); node = rclpy.create_node("listener")
buffer = tf2_ros.Buffer(node=node); listener = tf2_ros.TransformListener(buffer, node)
seen = []
node.create_subscription(Detection2DArray, "boxes", seen.append, 10)
end = time.monotonic() + 60
while time.monotonic() < end and not (seen and buffer.can_transform("odom", "camera", Time(seconds=2))):
    rclpy.spin_once(node, timeout_sec=1.0)
t = buffer.lookup_transform("odom", "camera", Time(seconds=2)).transform
print(seen[0].detections[0].results[0].hypothesis.class_id, seen[0].detections[0].bbox.center.position.x)
print(*(round(v, 6) for v in (t.translation.x, t.translation.y, t.rotation.z)))
try:
    buffer.lookup_transform("odom", "camera", Time(seconds=4))
except tf2_ros.ExtrapolationException as error:
    print(error)
"""


def test_types_and_transforms_travel_between_processes(tmp_path: Path) -> None:
    environment = environment_with("vision_msgs", "tf2_ros")
    (tmp_path / "talker.py").write_text(TALKER)
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    with Process("talker", log=tmp_path / "log", **environment) as talking:
        heard = subprocess.run(
            [sys.executable, "-c", LISTENER],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert heard.returncode == 0, heard.stderr + talking.output
    box, transform, late = heard.stdout.splitlines()
    assert box == "chair 12.5"
    # half way between 0 and 2 m along x, turned to the left: the camera is 1 m along y, turned by 180 degrees
    assert transform == "1.0 1.0 1.0"
    assert "extrapolation into the future" in late


def test_what_tests_put_on_the_path_is_not_taken_for_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    if is_installed("vision_msgs") or is_installed("tf2_ros"):
        pytest.skip("vision_msgs or tf2_ros is installed")
    before = package_folders("vision_msgs", "tf2_ros")
    monkeypatch.setattr(sys, "path", [*before, *sys.path])
    assert package_folders("vision_msgs", "tf2_ros") == before


@pytest.mark.parametrize("package", COMPILED)
def test_a_package_is_found_only_by_who_asks_for_it(package: str) -> None:
    if is_installed(package):
        pytest.skip(f"{package} is installed")
    program = [sys.executable, "-c", f"from {package} import msg; print(*sorted(dir(msg)))"]
    without = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert without.returncode != 0 and "ModuleNotFoundError" in without.stderr
    environment = {**os.environ, **environment_with(package)}
    found = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    defined = {file.stem for file in (ROOT / "test" / "interfaces" / package / "msg").glob("*.msg")}
    assert defined <= set(found.stdout.split())
