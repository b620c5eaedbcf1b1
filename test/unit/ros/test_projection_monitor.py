"""What the node says of images that are not in the projection that its parameters name."""

from __future__ import annotations

import array
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from sensor_msgs.msg import CompressedImage, Image

from helpers.fisheye_photograph import photographed
from panosam2_ros.geometry.dual_fisheye import DualFisheye
from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.ros.conversion.panorama_decoder import PanoramaDecoder
from panosam2_ros.ros.parameters import Parameters

CIRCLES = photographed(DualFisheye.side_by_side(256, 128))
PANORAMA = np.random.default_rng(0).integers(30, 255, (128, 256, 3), np.uint8)


def raw(pixels: np.ndarray, encoding: str = "rgb8") -> Image:
    height, width = pixels.shape[:2]
    msg = Image(height=height, width=width, encoding=encoding, step=pixels[0].nbytes)
    msg.data = array.array("B", pixels.tobytes())
    return msg


@pytest.mark.faults
@pytest.mark.parametrize("compressed", [False, True])
def test_circles_that_come_as_a_panorama_are_named(compressed: bool) -> None:
    decoder, msg = PanoramaDecoder(Parameters()), raw(CIRCLES)
    if compressed:
        data = cv2.imencode(".jpg", CIRCLES[..., ::-1])[1].tobytes()
        msg = CompressedImage(format="jpeg", data=array.array("B", data))
    assert decoder(msg).shape == (128, 256, 3)  # tracked all the same
    assert "look like two fisheye circles" in decoder.problem and "set projection to" in decoder.problem
    assert "100% of the pixels beside two circles are black" in decoder.problem
    for _ in range(10):
        decoder(raw(PANORAMA))
    assert decoder.problem == ""


@pytest.mark.faults
@pytest.mark.parametrize("calibrated", [False, True])
def test_a_panorama_that_comes_as_two_circles_is_named(calibrated: bool, tmp_path: Path) -> None:
    path = tmp_path / "lenses.yaml"
    lens: Any = "{center: [%s, 63.5], radius: 64, fov: 3.3, yaw: %s}"
    path.write_text(f"width: 256\nheight: 128\nfront: {lens % (63.5, 0)}\nback: {lens % (191.5, math.pi)}\n")
    calibration = str(path) if calibrated else ""
    parameters = Parameters(projection="dual_fisheye", fisheye_calibration=calibration)
    decoder = PanoramaDecoder(parameters)
    assert decoder(raw(PANORAMA)).shape == (128, 256, 3)  # tracked all the same
    assert "look like a panorama, not like two fisheye circles" in decoder.problem
    assert "set projection to equirectangular" in decoder.problem
    for _ in range(10):
        decoder(raw(CIRCLES))
    assert decoder.problem == ""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("shape", "reason"), [((128, 128), "the circle of one lens"), ((256, 128), "a pair above each other")]
)
def test_one_lens_or_a_stacked_pair_is_refused(shape: tuple[int, int], reason: str) -> None:
    msg = raw(np.zeros((*shape, 3), np.uint8))
    with pytest.raises(ImageError, match=rf"{shape[1]}x{shape[0]} is the shape of {reason}"):
        PanoramaDecoder(Parameters(projection="dual_fisheye"))(msg)


def test_a_calibration_says_where_the_circles_are(tmp_path: Path) -> None:
    path = tmp_path / "lenses.yaml"
    lens: Any = "{center: [63.5, %s], radius: 64, fov: 3.3, yaw: %s}"
    path.write_text(f"width: 128\nheight: 256\nfront: {lens % (63.5, 0)}\nback: {lens % (191.5, math.pi)}\n")
    decoder = PanoramaDecoder(Parameters(projection="dual_fisheye", fisheye_calibration=str(path)))
    assert decoder(raw(np.zeros((256, 128, 3), np.uint8))).shape == (64, 128, 3) and decoder.problem == ""
    assert PanoramaDecoder(Parameters(projection="dual_fisheye"))(raw(CIRCLES)).shape == (128, 256, 3)


@pytest.mark.faults
@pytest.mark.parametrize("encoding", ["8UC1", "mono8"])
def test_planes_that_come_as_grey_are_refused_or_named(encoding: str) -> None:
    """By their height, or where any height may be right by what they look like."""
    smooth = cv2.GaussianBlur(PANORAMA, (0, 0), 6)
    planes = np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2YUV_I420), np.uint8)
    with pytest.raises(ImageError, match=r"one and a half times a panorama's height.*nv12 with height 128"):
        PanoramaDecoder(Parameters())(raw(planes, encoding))
    cropped = PanoramaDecoder(Parameters(vertical_fov=2.0))
    cropped(raw(planes, encoding))
    assert f"encoding {encoding!r} look like planes of YUV" in cropped.problem
    cropped = PanoramaDecoder(Parameters(vertical_fov=2.0))
    cropped(raw(cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY), encoding))
    assert cropped.problem == ""
