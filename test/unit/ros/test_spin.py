"""The beginning and the end of ROS in a process."""

from __future__ import annotations

import signal
import threading

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

import rclpy
from rclpy.node import Node

from panosam2_ros.ros.spin import first_signal, one_line, ros_running, starting


def test_a_signal_before_the_node_is_made_is_no_error() -> None:
    with ros_running([]):
        rclpy.shutdown()
        with starting():
            Node("late")
    assert not rclpy.ok()


def test_what_is_wrong_at_the_start_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"cannot start: too high a value$"), ros_running([]), starting():
        raise ValueError("too high\n a value")
    assert one_line(RuntimeError("no home, at /a/b.c:82, at /c.cpp:137\n")) == "no home"


def test_a_signal_that_python_hears_of_later_is_waited_for() -> None:
    signals: list[int] = []
    later = threading.Timer(0.1, signals.append, [signal.SIGTERM])
    later.start()
    assert first_signal(signals) == signal.SIGTERM
    later.join()
