"""Inference that hangs or whose thread ends: said, answered, and gone on from what was remembered last."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition

from helpers.process import Process
from helpers.station import CODE_NAMES, Station, ball_prompt, codes, image_msg, start, stations, until_active
from panosam2_ros.srv import GetObjects

pytestmark = pytest.mark.faults
MODEL = "panosam2_nano"

station = pytest.fixture(stations)


def publish(station: Station) -> None:
    station.stamp += 100_000_000
    station.camera.publish(image_msg(station.stamp))
    station.spin_for(0.1)


def publish_until(station: Station, condition: Any, timeout: float = 60.0) -> None:
    """Publish images until a condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, station.status
        publish(station)


def says(station: Station, level: bytes, *texts: str) -> bool:
    status = station.status
    return status is not None and status.level == level and all(t in status.message for t in texts)


def tracked_ball(process: Process, station: Station) -> None:
    until_active(process)
    station.show()
    assert station.prompt(ball_prompt(label="ball")).success
    station.show()


def test_a_thread_that_ended_is_replaced_and_the_objects_stay(station: Station, tmp_path: Path) -> None:
    with start(MODEL, tmp_path / "log.txt", fault="inference_ends") as process:
        tracked_ball(process, station)
        publish_until(station, lambda: says(station, DiagnosticStatus.ERROR, "ended by SystemExit: injected"))
        publish_until(station, lambda: station.value("restarts") == "1")
        newest = station.show()
        assert [(o.object_id, o.label) for o in station.bearings[newest].objects] == [(1, "ball")]
        answer = station.prompt(ball_prompt(label="second"))
        assert answer.success and answer.results[0].bearing.object_id > 1  # an id that nothing else had
        assert process.output.count("Traceback") == 1


def test_a_thread_that_ends_again_and_again_is_said_to_be_beyond_help(
    station: Station, tmp_path: Path
) -> None:
    with start(MODEL, tmp_path / "log.txt", fault="inference_ends_always") as process:
        until_active(process)
        station.show()
        publish_until(
            station,
            lambda: says(station, DiagnosticStatus.ERROR, "anew has not helped 3 times", "clean it up"),
        )
        answer = station.call(GetObjects, "get_objects")
        assert not answer.success and CODE_NAMES[answer.code] == "NOT_ACTIVE"
        assert station.change(Transition.TRANSITION_DEACTIVATE)
        assert station.change(Transition.TRANSITION_CLEANUP) and process.running
        assert process.stop() == 0


def test_inference_that_hangs_is_said_and_calls_are_answered(station: Station, tmp_path: Path) -> None:
    """With the age of the last result, first as a warning, then as an error; the end does not wait for it."""
    settings = {"result_timeout": 0.5, "result_timeout_error": 3.0, "restart_after": 0.0, "call_timeout": 2.0}
    memory = {"memory_directory": str(tmp_path), "memory_file": "state", "save_interval": 0.0}
    with start(MODEL, tmp_path / "log.txt", fault="inference_hangs", **settings, **memory) as process:
        tracked_ball(process, station)
        hangs = "the last one came"
        publish_until(station, lambda: says(station, DiagnosticStatus.WARN, "for a result", hangs))
        publish_until(station, lambda: says(station, DiagnosticStatus.ERROR, "for a result", hangs))
        answer = station.prompt(ball_prompt())
        assert codes(answer) == ["BUSY"] and "within 2 s (call_timeout)" in answer.message
        assert float(station.value("result_age_s")) > 3
        assert station.change(Transition.TRANSITION_DEACTIVATE)
        assert station.change(Transition.TRANSITION_CLEANUP)
        assert "thread is left behind" in process.output
        assert (tmp_path / "state.safetensors").exists()  # of what was known before it hung
        assert process.stop() == 0


def test_inference_that_hangs_is_replaced(station: Station, tmp_path: Path) -> None:
    settings = {"restart_after": 2.0, "call_timeout": 60.0}
    with start(MODEL, tmp_path / "log.txt", fault="inference_hangs", **settings) as process:
        tracked_ball(process, station)
        publish_until(station, lambda: station.value("restarts") == "1")
        assert "it hangs; its tracker is being built anew" in process.output
        assert [o.label for o in station.bearings[station.show()].objects] == ["ball"]
        assert process.stop() == 0
