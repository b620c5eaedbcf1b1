"""Image messages that become panoramas, by ours or by cv_bridge where only that knows the encoding."""

from __future__ import annotations

import array
import sys
import types
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from sensor_msgs.msg import Image

from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.ros.conversion.panorama_decoder import PanoramaDecoder, raw_to_array
from panosam2_ros.ros.parameters import Parameters

PIXELS = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)


def image(encoding: str, pixels: np.ndarray = PIXELS) -> Image:
    height, width = pixels.shape[:2]
    msg = Image(height=height, width=width, encoding=encoding, step=pixels[0].nbytes)
    msg.data = array.array("B", pixels.tobytes())
    return msg


class StandIn:
    """As cv_bridge's CvBridge: knows one encoding of its own, notes what it is asked for."""

    asked: list[tuple[str, str]]

    def imgmsg_to_cv2(self, msg: Image, desired_encoding: str) -> np.ndarray:
        self.asked.append((msg.encoding, desired_encoding))
        if msg.encoding != "8UC2":
            raise TypeError(f"[{msg.encoding}] is not a color format")
        return PIXELS


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is asked of a cv_bridge that is installed."""
    StandIn.asked = []
    module: Any = types.ModuleType("cv_bridge")
    module.CvBridge = StandIn
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    return StandIn.asked


def test_cv_bridge_serves_encodings_that_are_not_ours(bridge: list[tuple[str, str]]) -> None:
    assert np.array_equal(PanoramaDecoder(Parameters())(image("8UC2")), PIXELS)
    assert bridge == [("8UC2", "rgb8")]


@pytest.mark.faults
def test_exceptions_of_opencv_while_it_remaps_are_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = PanoramaDecoder(Parameters(projection="dual_fisheye"))
    assert decode(image("rgb8")).shape == (64, 128, 3)

    def fail(*_: Any, **__: Any) -> None:
        raise cv2.error("dst.cols < SHRT_MAX")

    monkeypatch.setattr(cv2, "remap", fail)
    with pytest.raises(ImageError, match=r"OpenCV cannot make a panorama of 128x64 pixels: .*SHRT_MAX"):
        decode(image("rgb8"))


def test_cv_bridge_is_not_asked_for_what_is_known_here(bridge: list[tuple[str, str]]) -> None:
    assert np.array_equal(PanoramaDecoder(Parameters())(image("rgb8")), PIXELS)
    with pytest.raises(ImageError, match="too small"):  # of a known encoding: the image itself is wrong
        raw_to_array(image("bgra8"))
    assert bridge == []


def test_an_encoding_that_nobody_knows_is_named(bridge: list[tuple[str, str]]) -> None:
    with pytest.raises(ImageError, match=r"'32FC1' .*cv_bridge cannot convert it either: .*not a color"):
        raw_to_array(image("32FC1"))
    assert bridge == [("32FC1", "rgb8")]


@pytest.mark.parametrize("broken", [None, types.ModuleType("cv_bridge")])  # not there; without CvBridge
def test_without_cv_bridge_the_error_names_the_encodings(
    broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", broken)
    with pytest.raises(ImageError, match="'32FC1' is not understood; needed is one of rgb8"):
        raw_to_array(image("32FC1"))


@pytest.mark.parametrize(
    ("encoding", "channels"), [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1)]
)
def test_ours_agree_with_cv_bridge_where_it_is_installed(encoding: str, channels: int) -> None:
    cv_bridge = pytest.importorskip("cv_bridge", reason="PyPI has no wheel of it", exc_type=ImportError)
    pixels = np.random.default_rng(1).integers(0, 255, (64, 128, channels), np.uint8)
    msg = image(encoding, pixels)
    assert np.array_equal(raw_to_array(msg), cv_bridge.CvBridge().imgmsg_to_cv2(msg, "rgb8"))
