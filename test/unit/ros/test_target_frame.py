"""Bearings in another frame. tf2 is not to be had from PyPI: one that answers as tf2_ros does stands in."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention, body_rotation
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.ros.conversion import transforms
from panosam2_ros.ros.conversion.target_frame import TargetFrame, TargetFrameOptions
from panosam2_ros.ros.conversion.transforms import Transforms

OPTICAL, BODY = FrameConvention.OPTICAL, FrameConvention.BODY


class TooEarlyError(LookupError):
    """As tf2_ros.ExtrapolationException."""


@pytest.fixture
def known_transforms(monkeypatch: pytest.MonkeyPatch) -> dict:
    """(target, source) -> quaternion x, y, z, w, as the stand-in's buffer has them."""
    known: dict = {}

    class Buffer:
        def __init__(self, node):
            pass

        def lookup_transform(self, target, source, time):
            if known.get("late"):
                known["late"] -= 1
                raise TooEarlyError("extrapolation into the future")
            if (target, source) not in known:
                raise LookupError(f'"{source}" is not connected to "{target}"')
            x, y, z, w = known[target, source]
            rotation = SimpleNamespace(x=x, y=y, z=z, w=w)
            return SimpleNamespace(transform=SimpleNamespace(rotation=rotation))

    names = {
        "Buffer": Buffer,
        "TransformListener": lambda *_, **__: None,
        "TransformException": LookupError,
        "ExtrapolationException": TooEarlyError,
    }
    monkeypatch.setattr(transforms, "tf2_ros", SimpleNamespace(**names))
    return known


def about_z(angle: float) -> tuple[float, ...]:
    return 0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)


def test_a_turned_robot_sees_the_same_thing_elsewhere(known_transforms: dict) -> None:
    """base_link is turned 90 degrees to the left in map: what is ahead of it lies to the left there."""
    known_transforms["map", "base_link"] = about_z(math.pi / 2)
    camera = CameraFrame(BODY)
    target = TargetFrame(Transforms(None), TargetFrameOptions("map"))
    header, turned = target.of(Header(frame_id="base_link"), camera)
    ahead = lonlat_to_vector(0.0, 0.0)
    assert header.frame_id == "map" and not target.problem
    assert np.allclose(turned.to_frame(ahead), [0, 1, 0], atol=1e-12)
    azimuth, elevation = turned.azimuth_elevation(turned.to_frame(ahead))
    assert azimuth == pytest.approx(math.pi / 2) and elevation == pytest.approx(0)


def test_an_optical_camera_on_a_tilted_mount(known_transforms: dict) -> None:
    """From the optical axes of the camera to the body axes of the robot, pitched: as the parameters do it."""
    down = 0.4
    # base_link <- camera_optical: x forward is the camera's z, y left its -x, z up its -y; then pitched
    body_of_optical = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)
    matrix = body_rotation(0, down, 0) @ body_of_optical
    w = math.sqrt(1 + np.trace(matrix)) / 2
    off = (matrix - matrix.T) / (4 * w)
    known_transforms["base_link", "camera_optical_frame"] = (off[2, 1], off[0, 2], off[1, 0], w)
    target = TargetFrame(Transforms(None), TargetFrameOptions("base_link"))
    _, turned = target.of(Header(frame_id="camera_optical_frame"), CameraFrame(OPTICAL))
    assert turned.convention is BODY
    assert np.allclose(turned.rotation(), CameraFrame(BODY, pitch=down).rotation(), atol=1e-12)
    direction, covariance = lonlat_to_vector(0.7, -0.3), np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    expected = CameraFrame(BODY, pitch=down).covariance_to_frame(direction, covariance)
    assert np.allclose(turned.covariance_to_frame(direction, covariance), expected)


def test_without_a_way_bearings_stay_in_the_images_frame_until_there_is_one(known_transforms: dict) -> None:
    camera, header = CameraFrame(OPTICAL), Header(frame_id="camera")
    target = TargetFrame(Transforms(None), TargetFrameOptions("map"))
    assert target.of(header, camera) == (header, camera)
    assert "'camera'" in target.problem and "'map'" in target.problem and "not connected" in target.problem
    known_transforms["map", "camera"] = (0.0, 0.0, 0.0, 0.0)
    assert target.of(header, camera) == (header, camera) and "unit quaternion" in target.problem
    known_transforms["map", "camera"] = about_z(0)
    assert target.of(header, camera)[0].frame_id == "map"
    assert "for 2 of the last 3 images" in target.problem
    for _ in range(40):
        target.of(header, camera)
    assert not target.problem


@pytest.mark.faults
def test_a_transform_that_is_late_is_waited_for(known_transforms: dict) -> None:
    known_transforms["map", "camera"] = about_z(0)
    camera, header = CameraFrame(OPTICAL), Header(frame_id="camera")
    patient = TargetFrame(Transforms(None), TargetFrameOptions("map", timeout=60.0))
    for _ in range(5):
        known_transforms["late"] = 3  # times that it is asked for in vain
        assert patient.of(header, camera)[0].frame_id == "map" and not patient.problem
    hasty = TargetFrame(Transforms(None), TargetFrameOptions("map", timeout=0.02))
    known_transforms["late"] = 10**9
    assert hasty.of(header, camera)[0].frame_id == "camera"
    assert "within 0.02 s (transform_timeout) (extrapolation into the future)" in hasty.problem
    assert "bearings are in the image's frame, for 1 of the last 1 images" in hasty.problem
    assert hasty.accepts(header)


def test_frames_that_are_not_connected_are_not_waited_for(known_transforms: dict) -> None:
    camera, header = CameraFrame(OPTICAL), Header(frame_id="camera")
    target = TargetFrame(Transforms(None), TargetFrameOptions("map", timeout=1e6))
    assert target.of(header, camera)[0].frame_id == "camera" and "not connected" in target.problem


@pytest.mark.faults
def test_bearings_may_be_left_out_rather_than_published_in_another_frame(known_transforms: dict) -> None:
    camera, header = CameraFrame(OPTICAL), Header(frame_id="camera")
    target = TargetFrame(Transforms(None), TargetFrameOptions("map", only=True))
    assert not target.accepts(target.of(header, camera)[0])
    assert "bearings are left out" in target.problem
    known_transforms["map", "camera"] = about_z(0)
    assert target.accepts(target.of(header, camera)[0])
    anywhere = TargetFrame(Transforms(None), TargetFrameOptions("", only=True))
    assert anywhere.accepts(anywhere.of(header, camera)[0])


@pytest.mark.parametrize("name, said", [("", ""), ("map", "tf2_ros is not installed")])
def test_without_tf2(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "tf2_ros", None)
    target = TargetFrame(Transforms(None), TargetFrameOptions(name))
    header, camera = Header(frame_id="camera"), CameraFrame(OPTICAL)
    assert target.of(header, camera) == (header, camera)
    assert said in target.problem and bool(said) == bool(target.problem)
