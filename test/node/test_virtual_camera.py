"""The camera as a driver would be seen: a process of its own, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from helpers.process import Process, wait_for
from helpers.videos import index_of, spoil, write_video
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.io.image_encodings import image_to_array
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.conversion.messages import stamp_to_ns

MODULE = "panosam2_ros.demo.virtual_camera"


class Viewer(Node):
    """Takes everything that the camera sends."""

    def __init__(self) -> None:
        super().__init__("viewer")
        self.images: list[Image] = []
        self.arrivals: list[int] = []
        self.masks: dict[int, Image] = {}
        self.bearings: dict[int, ObjectBearingArray] = {}
        self.status: dict[str, str] = {}
        self.create_subscription(Image, "image", self._on_image, qos_profile_sensor_data)
        self.create_subscription(Image, "virtual_camera/true_masks", self._on_masks, 50)
        self.create_subscription(ObjectBearingArray, "virtual_camera/true_bearings", self._on_bearings, 50)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_image(self, msg: Image) -> None:
        self.images.append(msg)
        self.arrivals.append(time.time_ns())

    def _on_masks(self, msg: Image) -> None:
        self.masks[stamp_to_ns(msg.header.stamp)] = msg

    def _on_bearings(self, msg: ObjectBearingArray) -> None:
        self.bearings[stamp_to_ns(msg.header.stamp)] = msg

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.status = {item.key: item.value for item in msg.status[0].values}

    @property
    def stamps(self) -> list[int]:
        return [stamp_to_ns(msg.header.stamp) for msg in self.images]

    def watch(self, camera: Process, images: int | None = None, timeout: float = 30.0) -> None:
        """Until the camera has ended, or so many images have come."""
        end = time.monotonic() + timeout
        while camera.running and (images is None or len(self.images) < images):
            assert time.monotonic() < end, f"{len(self.images)} images in {timeout} s"
            rclpy.spin_once(self, timeout_sec=0.05)
        for _ in range(50):
            rclpy.spin_once(self, timeout_sec=0.0)


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    rclpy.init()
    node = Viewer()
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def camera(folder: Path, **parameters: object) -> Process:
    settings = {"start_when_subscribed": 1, "fill_first": True} | parameters
    given = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    return Process(MODULE, "--ros-args", *given, log=folder / "camera.log")


def folder_of_images(folder: Path, count: int, size: tuple[int, int] = (128, 64)) -> Path:
    images = folder / "images"
    images.mkdir()
    for i in range(count):
        pixels = np.full((size[1], size[0], 3), (30, 20, 10 + i), np.uint8)  # B, G, R
        cv2.imwrite(str(images / f"{i:03d}.png"), pixels)
    return images


def test_a_synthetic_scene_comes_with_its_truth_and_the_camera_ends(viewer, tmp_path):
    with camera(tmp_path, width=256, height=128, frames=12, rate=20.0, seed=3) as process:
        viewer.watch(process)
        assert process.stop() == 0
    assert len(viewer.images) == 12
    assert viewer.status["frames_published"] == "12" and viewer.status["finished"] == "True"
    assert sorted(viewer.masks) == sorted(viewer.bearings) == viewer.stamps
    grid, checked = Equirect(256, 128), 0
    axes = CameraFrame(FrameConvention.OPTICAL)
    for msg in viewer.images:
        assert (msg.encoding, msg.width, msg.height) == ("rgb8", 256, 128)
        assert msg.header.frame_id == "camera_optical_frame"
        stamp = stamp_to_ns(msg.header.stamp)
        assert viewer.masks[stamp].header == viewer.bearings[stamp].header == msg.header
        labels = np.frombuffer(viewer.masks[stamp].data, np.uint16).reshape(128, 256)
        for item in viewer.bearings[stamp].objects:
            seen = (labels == item.object_id).any()
            assert seen == (item.state == ObjectBearing.STATE_VISIBLE)
            if seen:
                told = [item.direction.x, item.direction.y, item.direction.z]
                found = mask_bearing(labels == item.object_id, grid)
                assert np.degrees(angle_between(axes.from_frame(told), found.direction)) < 0.5
                checked += 1
    assert checked > 12


def test_it_keeps_time_and_stamps_when_it_takes_the_image(viewer, tmp_path):
    images = folder_of_images(tmp_path, 15)
    with camera(tmp_path, source=images, rate=20.0) as process:
        viewer.watch(process)
    assert len(viewer.images) == 15
    periods = np.diff(viewer.stamps) * 1e-9
    assert np.median(periods) == pytest.approx(0.05, abs=0.01)
    assert periods.min() > 0.02  # never a burst
    late = np.array(viewer.arrivals) - np.array(viewer.stamps)
    assert (late > 0).all() and np.median(late) < 0.5e9


def test_a_folder_loops_in_the_colours_and_the_size_asked_for(viewer, tmp_path):
    images = folder_of_images(tmp_path, 3)
    settings = {"loop": True, "rate": 50.0, "frames": 8, "encoding": "bgr8"}
    with camera(tmp_path, source=images, width=64, height=32, **settings) as process:
        viewer.watch(process)
    assert {(m.encoding, m.width, m.height) for m in viewer.images} == {("bgr8", 64, 32)}
    reds = [int(image_to_array(msg)[5, 5, 0]) for msg in viewer.images]
    assert reds == [10, 11, 12, 10, 11, 12, 10, 11]
    assert not viewer.masks and not viewer.bearings  # no truth for files


@pytest.mark.parametrize("restamp", [False, True])
def test_a_bag_comes_as_it_was_recorded_or_as_if_now(viewer, tmp_path, restamp):
    pytest.importorskip("rosbags", reason="needs rosbags: make, or pip install rosbags")
    from helpers.bags import PERIOD, START, write_bag

    bag = write_bag(tmp_path / "bag", frames=5)
    with camera(tmp_path, source=bag, topic="/pano/image", restamp=restamp) as process:
        viewer.watch(process, timeout=60.0)
        assert process.stop() == 0
    frame_ids = {msg.header.frame_id for msg in viewer.images}
    assert [int(image_to_array(msg)[5, 5, 0]) for msg in viewer.images] == [10, 11, 12, 13, 14]
    if restamp:
        assert frame_ids == {"camera_optical_frame"}
        assert min(viewer.stamps) > time.time_ns() - 120 * 10**9
    else:
        assert frame_ids == {"pano_optical_frame"}
        assert viewer.stamps == [START + i * PERIOD for i in range(5)]


def test_an_image_that_breaks_the_recording_is_said_and_ends_it(viewer, tmp_path):
    images = folder_of_images(tmp_path, 6)
    cv2.imwrite(str(images / "004.png"), np.zeros((32, 64, 3), np.uint8))
    with camera(tmp_path, source=images, rate=20.0) as process:
        viewer.watch(process)
        assert process.stop() == 1
        assert "004.png" in process.output and "Traceback" not in process.output
        assert "played" not in process.output


@pytest.mark.faults
def test_a_damaged_video_is_played_at_its_times_and_the_loss_is_said(viewer, tmp_path):
    video = spoil(write_video(tmp_path / "hole.mp4", [0, 100, 200, 1700, 1800]), 1)
    with camera(tmp_path, source=video) as process:
        viewer.watch(process)
        assert process.stop() == 3
        assert "4 of 5 frames could be read, 1 are missing" in process.output
        assert "Traceback" not in process.output
    assert [index_of(image_to_array(msg)) for msg in viewer.images] == [0, 2, 3, 4]
    assert viewer.status["frames_missing"] == "1"
    assert viewer.stamps[2] - viewer.stamps[1] > 1.2e9  # the pause of 1.5 s is kept


def test_an_endless_camera_ends_cleanly_when_told(viewer, tmp_path):
    with camera(tmp_path, width=128, height=64, rate=30.0, buffer_mib=1) as process:
        viewer.watch(process, images=5)
        assert process.running
        assert process.stop() == 0
        assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"source": "/nowhere.mp4"}, "there is no /nowhere.mp4"),
        ({"encoding": "yuv422"}, "encoding must be one of"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(tmp_path, settings, problem):
    with camera(tmp_path, **settings) as process:
        wait_for(lambda: not process.running, 30.0, "the end of the camera")
        assert process.stop() == 1
        assert problem in process.output and "Traceback" not in process.output
