"""Which panorama a page shows, and what it says where none comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns
from panosam2_ros.ros.web import tracker_health
from panosam2_ros.ros.web.live_topics import LiveTopics
from panosam2_ros.ros.web.tracker_health import TrackerHealth


class FakeNode:
    """Keeps the callbacks of its subscriptions."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[Any], None]] = {}

    def create_subscription(self, _: type, topic: str, callback: Any, __: int) -> str:
        self.callbacks[topic] = callback
        return topic

    def destroy_subscription(self, topic: str) -> None:
        del self.callbacks[topic]

    def send(self, name: str, stamp: int) -> None:
        kind = ObjectBearingArray if name == "bearings" else Image
        self.callbacks[f"tracker/{name}"](kind(header=Header(stamp=ns_to_stamp(stamp))))


@pytest.fixture
def shown() -> tuple[FakeNode, LiveTopics, list[tuple[int, ...]]]:
    node, taken = FakeNode(), list[tuple[int, ...]]()

    def take(*messages: Any) -> None:
        taken.append(tuple(0 if m is None else stamp_to_ns(m.header.stamp) for m in messages))

    topics = LiveTopics(node, "tracker", take)  # type: ignore[arg-type]
    topics.start()
    return node, topics, taken


def test_a_panorama_is_shown_with_the_masks_and_bearings_of_its_own_stamp(shown: Any) -> None:
    node, _, taken = shown
    for name, stamp in (("masks", 1), ("panorama", 1), ("masks", 2), ("bearings", 1), ("panorama", 2)):
        node.send(name, stamp)
    assert taken == [(1, 1, 1)]
    node.send("bearings", 2)
    assert taken == [(1, 1, 1), (2, 2, 2)]


def test_without_masks_or_bearings_it_is_shown_alone_after_a_while_and_nothing_piles_up(shown: Any) -> None:
    node, topics, taken = shown
    for stamp in range(1, 100):
        node.send("panorama", stamp)
    assert taken and all(bearings == masks == 0 for _, masks, bearings in taken)
    assert [panorama for panorama, _, _ in taken] == sorted({panorama for panorama, _, _ in taken})
    assert max(len(kept) for kept in topics._arrived.messages.values()) <= 4
    node.send("masks", 200), node.send("bearings", 200), node.send("panorama", 200)
    assert taken[-1] == (200, 200, 200)


def test_nobody_subscribes_while_nobody_looks(shown: Any) -> None:
    node, topics, taken = shown
    topics.start()
    late = dict(node.callbacks)
    topics.stop(), topics.stop()
    assert node.callbacks == {}
    for name in ("masks", "bearings", "panorama"):  # what is still under way when it is ended
        late[f"tracker/{name}"]({"panorama": Image, "masks": Image}.get(name, ObjectBearingArray)())
    assert taken == []
    topics.start()
    assert len(node.callbacks) == 3


def said(level: bytes, message: str, name: str = "/robot/panosam2: tracking") -> DiagnosticArray:
    values = [KeyValue(key="rate_hz", value="9.5"), KeyValue(key="secret", value="x")]
    return DiagnosticArray(status=[DiagnosticStatus(name=name, level=level, message=message, values=values)])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(tracker_health.time, "monotonic", lambda: now[0])
    return now


def test_the_page_says_what_is_wrong_with_the_remedy_of_the_node(clock: list[float]) -> None:
    health = TrackerHealth("/robot/panosam2", 5.0)
    health.looking()
    assert "Waiting" in health.values()["summary"] and not health.values()["images"]
    clock[0] += 60
    assert (
        "No node /robot/panosam2" in health.values()["summary"]
        and "ROS_DOMAIN_ID" in health.values()["remedy"]
    )
    health.take(said(DiagnosticStatus.OK, "active", name="/other: tracking"))
    assert "No node" in health.values()["summary"]
    health.take(said(DiagnosticStatus.WARN, "no images for 60 s: start the camera"))
    values = health.values()
    assert (values["level"], values["images"]) == ("error", False)
    assert "No image" in values["summary"] and values["remedy"] == "no images for 60 s: start the camera"
    assert values["tracker"] == {"rate_hz": "9.5"}  # and nothing that is not shown
    health.image_came()
    values = health.values()
    assert (values["level"], values["images"]) == ("warn", True) and "start the camera" in values["remedy"]
    health.take(said(DiagnosticStatus.OK, "active"))
    assert health.values()["level"] == "ok" and health.values()["remedy"] == ""
    health.problem = "encoding 16UC7"
    assert "cannot be shown" in health.values()["summary"] and health.values()["remedy"] == "encoding 16UC7"
    health.image_came()
    clock[0] += 6
    assert "ended or hangs" in health.values()["summary"] and health.values()["level"] == "error"
    health.image_came()
    assert health.values()["level"] == "ok"  # images come: its diagnostics are only late
