"""Transitions that are not allowed, and the end by signal, in every state of the lifecycle."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from lifecycle_msgs.msg import State, Transition

from helpers.process import Process, wait_for
from helpers.station import Station, ball_prompt, image_msg, start, stations, until_active

pytestmark = pytest.mark.faults
MODEL = "panosam2_nano"
ENDS_WITHIN = 3.0  # s after a signal, on a machine with nothing else to do
TO = {
    "unconfigured": (),
    "inactive": (Transition.TRANSITION_CONFIGURE,),
    "active": (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE),
    "finalized": (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,),
}
# configure, cleanup, activate, deactivate, and three shutdowns
ALLOWED = {"unconfigured": {1, 5}, "inactive": {2, 3, 6}, "active": {4, 7}, "finalized": set()}


station = pytest.fixture(stations)


def brought_to(station: Station, state: str) -> None:
    assert station.state() == State.PRIMARY_STATE_UNCONFIGURED  # it is up
    for transition in TO[state]:
        assert station.change(transition), state


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("state", TO)
def test_a_signal_ends_it_in_every_state(
    state: str, how: signal.Signals, station: Station, tmp_path: Path
) -> None:
    with start(MODEL, tmp_path / "log.txt", autostart=False) as process:
        brought_to(station, state)
        if state == "active":
            station.show()
            station.prompt(ball_prompt())
            station.camera.publish(image_msg(station.stamp + 1))
        _ends_quietly(process, how)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_configures(how: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with start(MODEL, log, fault="slow_to_configure") as process:
        wait_for(lambda: "configuring" in process.output, 90, "the transition to begin")
        _ends_quietly(process, how)
        assert "waiting for images" not in process.output


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("inference_hangs", 0, "its thread is left behind"),  # at the fourth image
        ("executor_hangs", 1, "its main thread does not answer"),  # at the third
    ],
)
def test_a_signal_saves_what_was_known_though_a_thread_hangs(
    fault: str, status: int, said: str, how: signal.Signals, station: Station, tmp_path: Path
) -> None:
    memory = {"memory_directory": str(tmp_path), "memory_file": "state", "save_interval": 0.0}
    with start(MODEL, tmp_path / "log.txt", fault=fault, **memory) as process:
        until_active(process)
        station.show()
        assert station.prompt(ball_prompt(label="ball")).success
        for _ in range(10):
            station.stamp += 100_000_000
            station.camera.publish(image_msg(station.stamp))
            station.spin_for(0.1)
        if fault == "inference_hangs":
            assert station.value("frames_waiting") == "1", "it does not hang"
        assert not (tmp_path / "state.safetensors").exists()
        assert process.stop(how, timeout=limit(process)) == status, process.output
        assert said in process.output and "Traceback" not in process.output
    with start(MODEL, tmp_path / "again.txt", **memory) as process:
        until_active(process)
        assert "remembering objects [1]" in process.output


def test_the_node_answers_while_it_configures(station: Station, tmp_path: Path) -> None:
    """With its state, its parameters and NOT_ACTIVE; a second transition is refused."""
    with start(MODEL, tmp_path / "log.txt", fault="slow_to_configure") as process:
        wait_for(lambda: "configuring" in process.output, 90, "the transition to begin")
        assert station.state() == State.TRANSITION_STATE_CONFIGURING
        station.spin_until(lambda: station.value("state") == "configuring")
        assert not station.change(Transition.TRANSITION_CONFIGURE)
        assert "clean it up first" in station.set(model="sam2.1_hiera_tiny")[0].reason
        answer = station.prompt(ball_prompt())
        assert not answer.success and "not configured" in answer.message
        assert station.state() == State.TRANSITION_STATE_CONFIGURING  # all that was answered meanwhile
        assert process.stop(timeout=limit(process)) == 0 and "Traceback" not in process.output


def limit(process: Process) -> float:
    """Return the time in which a process has to end, s: longer by all before it, as others use the cores."""
    return ENDS_WITHIN + time.monotonic() - process.since


def _ends_quietly(process: Process, how: signal.Signals) -> None:
    assert process.stop(how, timeout=limit(process)) == 0, process.output
    assert "Traceback" not in process.output and "rror" not in process.output, process.output


def test_transitions_that_are_not_allowed_change_nothing(station: Station, tmp_path: Path) -> None:
    ids = {
        "unconfigured": State.PRIMARY_STATE_UNCONFIGURED, "inactive": State.PRIMARY_STATE_INACTIVE,
        "active": State.PRIMARY_STATE_ACTIVE, "finalized": State.PRIMARY_STATE_FINALIZED,
    }  # fmt: skip
    with start(MODEL, tmp_path / "log.txt", autostart=False) as process:
        for state, next_step in (
            ("unconfigured", 1), ("inactive", 3), ("active", 7), ("finalized", 0),
        ):  # fmt: skip
            assert station.state() == ids[state]
            for transition in {0, 1, 2, 3, 4, 5, 6, 7, 99} - ALLOWED[state]:
                assert not station.change(transition), (state, transition)
                assert station.state() == ids[state], (state, transition)
            if state == "active":
                station.show()
                assert station.prompt(ball_prompt()).success
            if next_step:
                assert station.change(next_step)
        answer = station.prompt(ball_prompt())
        assert not answer.success and "not configured" in answer.message
        assert process.running and process.stop() == 0
        assert "Traceback" not in process.output
