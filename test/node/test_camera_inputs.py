"""Cameras that deliver something else than a whole panorama in RGB, before a node over real DDS."""

from __future__ import annotations

import array
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from helpers.fisheye_photograph import photographed
from helpers.process import Process, wait_for
from helpers.station import FRAME, Station, cap, image_msg, start, stations
from panosam2_ros.geometry.dual_fisheye import DualFisheye
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, angle_between, lonlat_to_vector
from panosam2_ros.io.image_encodings import image_to_array
from panosam2_ros.model.build import random_model
from panosam2_ros.model.weights import save_weights
from panosam2_ros.msg import ObjectPrompt
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns

BALL = lonlat_to_vector(math.pi / 2, 0.2)  # where the lenses meet
RED, SKY = (210.0, 30.0, 30.0), (120.0, 160.0, 220.0)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_weights(random_model(), tmp_path / "random.safetensors")
    return str(tmp_path / "random.safetensors")


station = pytest.fixture(stations)


def coloured(directions: Floats) -> Floats:
    return np.where((directions @ BALL > math.cos(0.35))[..., None], RED, SKY)


def shown(station: Station, msg: Image) -> int:
    """The stamp of an image that was answered."""
    for _ in range(20):
        station.stamp += 100_000_000
        msg.header.stamp, msg.header.frame_id = ns_to_stamp(station.stamp), FRAME
        station.camera.publish(msg)
        station.spin_for(0.5)
        if station.stamp in station.bearings:
            return station.stamp
    raise AssertionError("no results for any of twenty images")


def mask_of(mask: NDArray[np.bool_]) -> ObjectPrompt:
    return ObjectPrompt(mask=image_msg(0, mask.astype(np.uint8) * 255, "mono8"))


def active(process: Process) -> None:
    wait_for(lambda: "waiting for images" in process.output, 90, "the node to be active")


def test_two_fisheyes_become_the_panorama_that_prompts_refer_to(station, weights, tmp_path):
    panoramas: dict[int, Image] = {}
    watch = station.create_subscription(
        Image, "panosam2/panorama", lambda m: panoramas.update({stamp_to_ns(m.header.stamp): m}), 5
    )
    seen = photographed(DualFisheye.side_by_side(256, 128), colours=coloured)
    with start(weights, tmp_path / "log", projection="dual_fisheye", panorama_width=512) as process:
        active(process)
        stamp = shown(station, image_msg(0, seen))
        station.spin_until(lambda: stamp in panoramas, 20)
        assert panoramas[stamp].header == station.bearings[stamp].header
        panorama = image_to_array(panoramas[stamp])
        grid = Equirect(512, 256)
        true = coloured(grid.pixel_to_vector(*np.meshgrid(np.arange(512), np.arange(256))))
        assert (np.abs(panorama - true).max(-1) > 60).mean() < 0.02  # the ball's edge
        answer = station.prompt(mask_of(panorama[..., 2] < 125), stamp=stamp)
        assert answer.success, answer
        told = answer.results[0].bearing.direction
        assert angle_between([told.x, told.y, told.z], BALL) < math.radians(1)
        stamp = shown(station, image_msg(0, seen))
        assert (station.masks[stamp].width, station.masks[stamp].height) == (512, 256)
        station.destroy_subscription(watch)
        shown(station, image_msg(0, seen))
        before = len(panoramas)
        shown(station, image_msg(0, seen))
        assert len(panoramas) == before and process.running


@pytest.mark.faults
def test_two_fisheyes_that_come_as_a_panorama_are_named(station, weights, tmp_path):
    seen = photographed(DualFisheye.side_by_side(256, 128), colours=coloured)
    with start(weights, tmp_path / "log") as process:
        active(process)
        shown(station, image_msg(0, seen))
        station.until_status(DiagnosticStatus.WARN, "images look like two fisheye circles")
        assert "images look like two fisheye circles" in process.output


def test_a_cropped_panorama_in_yuyv_has_its_bearings_where_they_are(station, weights, tmp_path):
    grid = Equirect(256, 64, math.pi / 2)
    rows = slice(32, 96)  # of the station's whole sphere: 45 degrees up and down
    ball = lonlat_to_vector(math.pi, 0.3)
    mask = cap(ball)[rows]
    yuyv = np.empty((64, 256, 2), np.uint8)
    yuyv[..., 0] = np.where(mask, 80, 160)
    yuyv[..., 1] = 128
    msg = Image(height=64, width=256, encoding="yuv422_yuy2", step=512 + 8)
    msg.data = array.array("B", np.pad(yuyv.reshape(64, -1), ((0, 0), (0, 8))).tobytes())
    with start(weights, tmp_path / "log", vertical_fov=math.pi / 2) as process:
        active(process)
        stamp = shown(station, msg)
        answer = station.prompt(mask_of(mask), stamp=stamp)
        assert answer.success, answer
        bearing = answer.results[0].bearing
        told = np.array([bearing.direction.x, bearing.direction.y, bearing.direction.z])
        assert angle_between(told, ball) < math.radians(1.5)
        assert bearing.elevation == pytest.approx(0.3, abs=0.025)
        assert bearing.solid_angle == pytest.approx(2 * math.pi * (1 - math.cos(0.35)), rel=0.1)
        assert grid.contains(*grid.vector_to_pixel(told))
        stamp = shown(station, msg)
        assert (station.masks[stamp].width, station.masks[stamp].height) == (256, 64)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"fisheye_calibration": "/nowhere.yaml"}, "No such file or directory: '/nowhere.yaml'"),
        ({"vertical_fov": 1.5}, "vertical_fov must be pi, got 1.5"),
    ],
)
def test_settings_that_cannot_work_are_named(station, weights, tmp_path, parameters, reason):
    with start(weights, tmp_path / "log", projection="dual_fisheye", **parameters) as process:
        wait_for(lambda: reason in process.output, 60, reason)
        station.until_status(DiagnosticStatus.ERROR, reason)
        assert process.running and "Traceback" not in process.output
