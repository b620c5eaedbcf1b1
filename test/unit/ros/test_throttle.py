"""What is logged is bounded, and no reason stays hidden."""

from __future__ import annotations

import sys
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from panosam2_ros.ros.diagnostics.throttle import Throttle, line


def test_each_reason_comes_through_once_in_a_period() -> None:
    throttle = Throttle(period=60.0)
    texts = ("no file a", "no file a", "no image for 3 s", "no image for 4.5 s", "no file b")
    assert [throttle.due("x", text) for text in texts] == [True, False, True, False, True]
    assert throttle.due("y", "no file a")
    short = Throttle(period=0.01)
    assert short.due("x", "a")
    time.sleep(0.02)
    assert short.due("x", "a")


def test_a_flood_of_reasons_is_bounded_and_its_newest_is_told_later() -> None:
    throttle = Throttle(period=0.05, reasons=3)
    flood = [f"frame {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]
    begin = time.monotonic()
    passed = sum(throttle.due("click", text) for text in flood)
    periods = 1 + int((time.monotonic() - begin) / 0.05)
    assert 3 <= passed <= 3 * periods
    assert throttle.due("other", "a reason of another kind")
    time.sleep(0.06)
    (told,) = throttle.held_back()
    assert flood[-1] in told and "more since" in told
    assert throttle.held_back() == []


def test_nothing_from_outside_is_kept() -> None:
    throttle = Throttle(period=60.0)
    for i in range(300):
        throttle.due("click", chr(97 + i % 26) * (100_000 + i))
    kept = [known.newest for known in throttle._kinds.values()]
    assert len(kept) == 1 and sys.getsizeof(kept[0]) < 5000
    assert sum(len(known.reasons) for known in throttle._kinds.values()) <= 3


def test_a_line_is_short_and_has_no_control_characters() -> None:
    assert line("chair \u00e9") == "chair \u00e9"
    assert line("a\x1b[31m\nb\u202e\ud800") == "a\\x1b[31m\\nb\\u202e\\ud800"
    assert len(line("x" * 10**6)) < 1100 and "1000000 characters" in line("x" * 10**6)
