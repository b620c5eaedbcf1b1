"""The SROS2 policy allows what the running node has, and what it has with optional packages."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers.process import ROOT
from helpers.station import Station, start, stations, until_active

POLICY = ROOT / "config" / "sros2" / "panosam2.policy.xml"
# with vision_msgs, bond, tf2, use_sim_time, and image_transport: compressed, ffmpeg and foxglove
OPTIONAL = {
    "publish": {"/panosam2/detections", "/panosam2/label_info", "/bond"},
    "subscribe": {
        *("/tf", "/tf_static", "/clock", "/image/compressed", "/image/ffmpeg", "/image/foxglove"),
        "/panosam2/detections_in",
    },
    "reply": set(),
}

station = pytest.fixture(stations)


def allowed(rule: str) -> set[str]:
    """Names that the policy allows to publish, subscribe to or reply to."""
    root = ElementTree.parse(POLICY).getroot()
    assert root.tag == "policy" and root.get("version") == "0.2.0"
    (profile,) = root.findall("./enclaves/enclave[@path='/panosam2']/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "panosam2")
    names = [e.text or "" for group in profile for e in group if group.get(rule) == "ALLOW"]
    assert len(names) == len(set(names)) and all(name.startswith("/") for name in names)
    assert all(set(group.attrib.values()) == {"ALLOW"} and len(group.attrib) == 1 for group in profile)
    return set(names)


def test_it_allows_what_the_node_has_and_nothing_else(station: Station, tmp_path: Path) -> None:
    with start("panosam2_nano", tmp_path / "log.txt") as process:
        until_active(process)

        def names(found: list[tuple[str, list[str]]]) -> set[str]:
            return {name for name, _ in found}

        def has() -> dict[str, set[str]]:
            return {
                "publish": names(station.get_publisher_names_and_types_by_node("panosam2", "/")),
                "subscribe": names(station.get_subscriber_names_and_types_by_node("panosam2", "/")),
                "reply": names(station.get_service_names_and_types_by_node("panosam2", "/")),
            }

        def missing() -> dict[str, set[str]]:
            return {rule: allowed(rule) - found - OPTIONAL[rule] for rule, found in has().items()}

        station.spin_until(lambda: ("panosam2", "/") in station.get_node_names_and_namespaces(), 60)
        station.spin_until(lambda: not any(missing().values()), 60)  # until all is discovered
        assert {rule: found - allowed(rule) for rule, found in has().items()} == {
            "publish": set(), "subscribe": set(), "reply": set(),
        }  # fmt: skip
