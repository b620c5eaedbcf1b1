"""Quality of service over real DDS: chosen by parameter, and explained where it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import ReliabilityPolicy

from helpers.station import Station, start, stations, until_active

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


station = pytest.fixture(stations)


def test_defaults(station: Station, tmp_path: Path) -> None:
    with start("panosam2_nano", tmp_path / "log.txt") as process:
        until_active(process)
        outputs = {name: _publisher(station, f"/panosam2/{name}") for name in ("masks", "bearings")}
        assert {qos.reliability for qos in outputs.values()} == {RELIABLE}
        (image,) = _endpoints(station.get_subscriptions_info_by_topic, station, "/image")
        assert image.reliability == BEST_EFFORT


@pytest.mark.faults
def test_overrides_and_what_is_said_where_they_do_not_fit(station: Station, tmp_path: Path) -> None:
    overrides = {
        "qos_overrides./image.subscription.reliability": "reliable",
        "qos_overrides./panosam2/masks.publisher.reliability": "best_effort",
    }
    with start("panosam2_nano", tmp_path / "log.txt", image_timeout=0.5, **overrides) as process:
        until_active(process)
        assert _publisher(station, "/panosam2/masks").reliability == BEST_EFFORT
        assert _publisher(station, "/panosam2/bearings").reliability == RELIABLE
        station.until_status(DiagnosticStatus.WARN, "/station publishes it best_effort, volatile")
        text = station.status.message
        assert text.startswith("no image on /image for"), text
        assert "which this subscription cannot take" in text, text
        station.spin_until(lambda: text.partition(" for ")[0] in process.output, 20)


@pytest.mark.faults
def test_simulated_time_that_stands_still_stops_no_diagnostics(station: Station, tmp_path: Path) -> None:
    """A bag that is paused, has ended, or has not begun: there is nothing on /clock."""
    with start("panosam2_nano", tmp_path / "log.txt", image_timeout=0.5, use_sim_time=True) as process:
        until_active(process)
        station.until_status(DiagnosticStatus.WARN, "no image on /image for")
        assert process.running and "Traceback" not in process.output


def _publisher(station: Station, topic: str):
    (found,) = _endpoints(station.get_publishers_info_by_topic, station, topic)
    return found


def _endpoints(asked, station: Station, topic: str):
    """QoS of those on a topic that are the node's."""

    def found():
        return [e.qos_profile for e in asked(topic) if e.node_name == "panosam2"]

    station.spin_until(found, 20)
    return found()
