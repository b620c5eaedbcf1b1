"""Which frames of images the log has, and how two cameras on one topic are noticed."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from panosam2_ros.ros.diagnostics import camera_frames
from panosam2_ros.ros.diagnostics.camera_frames import CameraFrames


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(camera_frames, "time", type("Clock", (), {"monotonic": lambda: now[0]}))
    assert time.monotonic() != now[0]
    return now


def test_a_camera_that_is_mounted_anew_is_logged(clock: list[float]) -> None:
    frames = CameraFrames()
    assert [frames.arrived(name) for name in ("a", "a", "b", "b", "a")] == [True, False, True, False, True]
    assert frames.current == "a" and frames.finding("/image", 1) is None


def test_two_cameras_are_noticed_and_the_log_stays_short(clock: list[float]) -> None:
    frames, lines = CameraFrames(), 0
    for i in range(200):
        clock[0] += 0.05
        lines += frames.arrived(f"camera_{i % 2}")
    assert lines == 3
    found = frames.finding("/image", 2)
    assert found is not None and "'camera_0' and 'camera_1', from 2 publishers" in found.text
    clock[0] += 60.0
    assert frames.finding("/image", 1) is None and frames.arrived("camera_0")


def test_ever_new_frames_take_no_memory(clock: list[float]) -> None:
    frames = CameraFrames()
    assert sum(frames.arrived(str(i)) for i in range(10_000)) == 3
    assert all(len(value) <= 6 for value in vars(frames).values())
