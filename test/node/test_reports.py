"""What is logged and diagnosed: every reason, and never a flood."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from geometry_msgs.msg import PointStamped
from lifecycle_msgs.msg import Transition

from helpers.process import wait_for
from helpers.station import Station, image_msg, start, stations, until_active

pytestmark = pytest.mark.faults
MODEL = "panosam2_nano"

station = pytest.fixture(stations)


def test_each_configure_that_fails_says_its_own_reason(station: Station, tmp_path: Path) -> None:
    with start("/nowhere/one.safetensors", tmp_path / "log.txt", autostart=False) as process:
        assert not station.change(Transition.TRANSITION_CONFIGURE)
        assert station.set(model="/nowhere/two.safetensors")[0].successful
        assert not station.change(Transition.TRANSITION_CONFIGURE)
        wait_for(lambda: "/nowhere/two.safetensors" in process.output, 20, "the second reason")
        assert process.output.count("could not be configured") == 2
        assert "/nowhere/one.safetensors" in process.output and "Traceback" not in process.output


def test_clicks_and_frames_that_change_all_the_time_flood_nothing(station: Station, tmp_path: Path) -> None:
    """The log and /diagnostics stay short, whatever frame ids come."""
    clicks = station.create_publisher(PointStamped, "panosam2/clicked_point", 50)
    with start(MODEL, tmp_path / "log.txt", fault="knows_a_transform") as process:
        until_active(process)
        station.show()
        before = process.output
        for i in range(300):
            click = PointStamped()
            click.header.frame_id = f"{'abcdefghij'[i % 10] * (i + 1)}\x1b[31m" + 10_000 * "x"
            click.point.x = 1.0
            clicks.publish(click)
            image = image_msg(station.stamp + i)
            image.header.frame_id = click.header.frame_id
            station.camera.publish(image)
            station.spin_for(0.01)
        wait_for(lambda: "clicked point refused" in process.output, 30, "a refusal")
        station.spin_until(lambda: "refused: " in station.value("last_error"))
        written = process.output[len(before) :]
        assert written.count("\n") < 30 and len(written) < 40_000 and "\x1b" not in written
        assert station.status is not None and len(station.status.message) < 10_000


def test_two_nodes_of_one_name_say_so(station: Station, tmp_path: Path) -> None:
    with start(MODEL, tmp_path / "one.txt") as one:
        until_active(one)
        station.spin_until(lambda: station.status is not None)
        assert "2 nodes" not in station.status.message
        with start(MODEL, tmp_path / "two.txt") as two:
            station.spin_until(
                lambda: "2 nodes have the name /panosam2 and 2 nodes answer /panosam2/prompt" in one.output,
                60,
            )
            station.spin_until(lambda: "2 nodes have the name" in two.output, 60)
            assert "another namespace" in one.output
        station.spin_until(lambda: station.status is not None and "2 nodes" not in station.status.message, 60)
    with (
        start(MODEL, tmp_path / "a.txt", remap=("__node:=first", "~/prompt:=/shared/prompt")) as first,
        start(MODEL, tmp_path / "b.txt", remap=("__node:=second", "~/prompt:=/shared/prompt")),
    ):
        station.spin_until(lambda: "2 nodes answer /shared/prompt" in first.output, 60)
        assert "have the name" not in first.output
