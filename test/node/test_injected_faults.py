"""Faults from within, by nodes that have one thing broken (faulty_node.py): the rest goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from std_srvs.srv import Trigger

from helpers.process import Process, wait_for
from helpers.station import Station, ball_prompt, image_msg, start, stations, until_active
from panosam2_ros.msg import PromptResult
from panosam2_ros.srv import PromptObjects, SaveMemory

pytestmark = pytest.mark.faults
MODEL = "panosam2_nano"


station = pytest.fixture(stations)


def prompt_request() -> PromptObjects.Request:
    return PromptObjects.Request(prompts=[ball_prompt()])


def test_inference_that_raises_costs_one_image(station: Station, tmp_path: Path) -> None:
    with start(MODEL, tmp_path / "log.txt", fault="inference_raises") as process:
        until_active(process)
        station.show()
        assert station.prompt(ball_prompt(label="ball")).success
        for _ in range(3):
            stamp = station.show()
            assert [o.label for o in station.bearings[stamp].objects] == ["ball"]
        station.until_status(DiagnosticStatus.ERROR, "inference failed: RuntimeError: injected")
        station.spin_until(lambda: int(station.value("frames_failed") or 0) >= 3)
        assert process.output.count("Traceback") == 1  # once per ten seconds, with where it came from
        assert "injected" in station.value("last_error")


def test_out_of_memory_means_fewer_objects_at_once(station: Station, tmp_path: Path) -> None:
    with start(MODEL, tmp_path / "log.txt", fault="out_of_memory", error_stays=0.0) as process:
        until_active(process)
        station.show()
        assert station.prompt(*(ball_prompt() for _ in range(5))).success
        for _ in range(3):
            stamp = station.show()
            assert [o.object_id for o in station.bearings[stamp].objects] == [1, 2, 3, 4, 5]
        station.until_status(DiagnosticStatus.WARN, "memory ran out 2 times: kept images were dropped")
        assert "objects are tracked 2 at a time" in station.status.message
        assert station.value("objects_at_once") == "2" and station.value("out_of_memory") == "2"
        assert station.value("frames_failed") == "0" and "Traceback" not in process.output


def test_out_of_memory_beyond_help_is_reported_and_survived(station: Station, tmp_path: Path) -> None:
    with start(MODEL, tmp_path / "log.txt", fault="no_memory_at_all") as process:
        until_active(process)
        station.show()
        assert station.prompt(ball_prompt()).success
        for _ in range(3):
            station.stamp += 100_000_000
            station.camera.publish(image_msg(station.stamp))
            station.spin_for(0.3)
        station.until_status(DiagnosticStatus.ERROR, "inference failed: MemoryError: injected")
        assert int(station.value("out_of_memory")) > 0 and int(station.value("frames_failed")) > 0
        assert station.call(Trigger, "reset").success
        station.show()  # without objects there is nothing to run out over
        assert process.running


def test_memory_that_runs_out_while_a_message_is_taken_is_survived(station: Station, tmp_path: Path) -> None:
    with start(MODEL, tmp_path / "log.txt", fault="no_memory_for_messages") as process:
        until_active(process)
        for _ in range(3):
            station.show()  # again where it was lost
        station.until_status(DiagnosticStatus.ERROR, "memory ran out while a message on /image was taken")
        station.spin_until(lambda: int(station.value("messages_not_taken") or 0) >= 3)
        wait_for(lambda: "memory ran out in a callback" in process.output, 20, "the report")
        assert station.call(PromptObjects, "prompt", prompt_request(), tries=4).success
        assert station.show() in station.bearings
        assert process.running and "Traceback" not in process.output


@pytest.mark.parametrize("fault, reason", [("disk_full", "No space left"), ("", "")])
def test_a_disk_that_takes_nothing(fault: str, reason: str, station: Station, tmp_path: Path) -> None:
    """Full, or read only: nothing is lost but what could not be saved."""
    folder = tmp_path / "memory"
    folder.mkdir()
    if not fault:
        folder.chmod(0o555)
        folder = Path("/sys") if os.access(folder, os.W_OK) else folder  # root may write anywhere else
    with start(
        MODEL, tmp_path / "log.txt", fault=fault, memory_directory=str(folder), memory_file="state",
        save_interval=0.2,
    ) as process:  # fmt: skip
        until_active(process)
        station.show()
        assert station.prompt(ball_prompt()).success
        wait_for(lambda: "memory not saved" in process.output, 30, "the report")
        station.until_status(DiagnosticStatus.ERROR, "make room there or set memory_directory")
        answer = station.call(SaveMemory, "save_memory", SaveMemory.Request(name="home"))
        assert not answer.success and answer.code == PromptResult.INTERNAL
        assert answer.message and reason in answer.message
        assert not list(folder.glob("*.safetensors*"))
        assert [o.object_id for o in station.bearings[station.show()].objects] == [1]
        assert process.stop(timeout=60) == 0 and "Traceback" not in process.output


def test_a_planner_that_dies_while_it_waits_harms_nobody(station: Station, tmp_path: Path) -> None:
    with start(MODEL, tmp_path / "log.txt", fault="slow") as process:
        until_active(process)
        station.show()
        command = "panosam2_ros.ros.cli.prompt"
        with Process(command, "click", "250", "60", log=tmp_path / "planner.txt") as planner:
            for _ in range(600):  # images all along, so that the call has to wait for its turn
                station.stamp += 100_000_000
                station.camera.publish(image_msg(station.stamp))
                station.spin_for(0.1)
                if station.value("calls_waiting") == "1":
                    break
            assert station.value("calls_waiting") == "1", "the planner's call never waited"
            planner.stop(signal.SIGKILL)
        station.spin_until(lambda: station.value("calls_waiting") == "0", 30)
        assert station.prompt(ball_prompt(label="mine")).success
        assert "mine" in [o.label for o in station.bearings[station.show()].objects]
        assert "Traceback" not in process.output


def test_it_works_with_the_rclpy_of_humble_too(station: Station, tmp_path: Path) -> None:
    """Which tells of parameters only before they change, and of a message nothing but itself."""
    with start(MODEL, tmp_path / "log.txt", fault="like_humble") as process:
        until_active(process)
        for _ in range(5):
            station.show()
        station.spin_until(lambda: int(station.value("frames_kept") or 0) >= 4)
        assert station.set(history_seconds=0.0)[0].successful
        station.show()
        station.spin_until(lambda: station.value("frames_kept") == "1")
        assert "clean it up first" in station.set(model="sam2.1_hiera_tiny")[0].reason
        assert station.prompt(ball_prompt()).success and "Traceback" not in process.output


def test_a_model_for_which_there_is_too_little_memory(station: Station, tmp_path: Path) -> None:
    """By a real limit; the node says so, lives, and can be configured when there is enough."""
    with start(MODEL, tmp_path / "log.txt", fault="little_memory_at_first") as process:
        wait_for(lambda: "could not be configured" in process.output, 90, "the failure")
        assert "memory ran out" in process.output and "a smaller model" in process.output
        station.until_status(DiagnosticStatus.ERROR, "memory ran out")
        assert station.change(Transition.TRANSITION_CONFIGURE)
        assert process.stop() == 0 and "Traceback" not in process.output
