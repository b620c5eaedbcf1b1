"""Points from other frames; tf2_ros has no wheel on PyPI: a stand-in with the three names that are used."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

import rclpy
from geometry_msgs.msg import PointStamped, TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from panosam2_ros.ros.conversion import transforms
from panosam2_ros.ros.conversion.transforms import (
    FrameError,
    PointTransformer,
    Transforms,
    frame_id_problem,
)


class NotYetError(Exception):
    """As tf2_ros.TransformException."""


class Buffer:
    """Knows one transform, from the third look-up on."""

    def __init__(self, node: Node) -> None:
        self.asked = 0

    def lookup_transform(self, target: str, source: str, time: Any) -> TransformStamped:
        self.asked += 1
        if source != "map" or target != "camera" or self.asked < 3:
            raise NotYetError(f"{source} does not exist")
        found = TransformStamped()  # map -> camera: a quarter turn to the left about z, then 1 m forward
        found.transform.rotation.z = found.transform.rotation.w = math.sqrt(0.5)
        found.transform.translation.x = 1.0
        return found


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = Node("frames")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def tf2(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "Buffer": Buffer,
        "TransformListener": lambda *_, **__: None,
        "TransformException": NotYetError,
        "ExtrapolationException": NotYetError,
    }
    monkeypatch.setattr(transforms, "tf2_ros", types.SimpleNamespace(**names))
    monkeypatch.setattr(transforms, "_TRIES", 4)


def point(frame: str) -> PointStamped:
    msg = PointStamped()
    msg.header.frame_id, msg.point.x, msg.point.y = frame, 2.0, 0.5
    return msg


def asked(node: Node, frame: str, camera: str | None = "camera") -> Any:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    task = executor.create_task(PointTransformer(node, Transforms(node)).point, point(frame), camera)
    executor.spin_until_future_complete(task, timeout_sec=30)
    assert task.done(), "it ends"
    executor.remove_node(node)
    return task.result()


@pytest.mark.parametrize("frame", ["", "camera"])
def test_the_cameras_own_frame_needs_no_tf2(node: Node, frame: str) -> None:
    assert np.allclose(asked(node, frame), [2.0, 0.5, 0.0])


def test_another_frame_without_tf2_is_refused_with_the_remedy(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "tf2_ros", None)
    with pytest.raises(FrameError, match=r"'map'.*'camera'.*tf2_ros is not installed: set RViz"):
        asked(node, "map")
    with pytest.raises(FrameError, match="no image has come yet"):
        asked(node, "map", camera=None)


@pytest.mark.usefixtures("tf2")
def test_another_frames_point_is_transformed_as_soon_as_that_can_be_done(node: Node) -> None:
    assert np.allclose(asked(node, "map"), [1.0 - 0.5, 2.0, 0.0])


@pytest.mark.usefixtures("tf2")
def test_a_transform_that_never_comes_is_a_reason(node: Node) -> None:
    with pytest.raises(FrameError, match=r"no transform from 'odom' to 'camera'.*odom does not exist"):
        asked(node, "odom")


@pytest.mark.faults
def test_images_without_a_frame_id_are_clicked_in_their_own_frame_or_refused_as_what_they_are(
    node: Node,
) -> None:
    assert np.allclose(asked(node, "", camera=""), [2.0, 0.5, 0.0])
    with pytest.raises(
        FrameError, match="the images have an empty frame_id: set that in the camera's driver"
    ):
        asked(node, "map", camera="")


@pytest.mark.faults
def test_a_leading_slash_is_named_with_what_tf2_says(node: Node) -> None:
    for frame, camera in (("/map", "camera"), ("map", "/camera")):
        with pytest.raises(FrameError, match=r"begins with a slash, and tf2 refuses it .*cannot start with"):
            asked(node, frame, camera)
    assert np.allclose(asked(node, "/camera", "/camera"), [2.0, 0.5, 0.0])
    assert frame_id_problem("camera") == "" and "is empty" in frame_id_problem("")
