"""A view that raises is reported, and neither tracking nor other views feel it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus

from helpers.onlooker import Onlooker
from helpers.process import Process, wait_for
from helpers.station import ball_prompt, stations


@pytest.fixture
def station() -> Iterator[Onlooker]:
    yield from stations(Onlooker)


def test_a_view_that_fails_is_reported_and_hurts_nothing(tmp_path: Path, station: Onlooker) -> None:
    code = (
        "from panosam2_ros.ros import node\n"
        "from panosam2_ros.ros.publishing import visualization_messages\n"
        "def broken(*_): raise RuntimeError('injected')\n"
        "visualization_messages.cloud_msg = broken\n"
        "node.main()\n"
    )
    (tmp_path / "broken_views.py").write_text(code)
    arguments = ["-p", "model:=panosam2_nano", "-p", "num_threads:=1", "-p", "diagnostics_period:=0.2"]
    log = tmp_path / "log.txt"
    with Process(
        "broken_views", "--ros-args", *arguments, "-r", "__node:=panosam2", log=log, PYTHONPATH=str(tmp_path)
    ) as process:
        wait_for(lambda: "waiting for images" in process.output, 60)
        station.look("mask_cloud", "markers")
        station.show()
        assert station.prompt(ball_prompt()).success
        station.shown("markers")
        station.until_status(DiagnosticStatus.ERROR, "view mask_cloud failed: RuntimeError: injected")
        assert station.show() in station.bearings and process.running
        station.look_away()
        assert process.stop() == 0, process.output
