"""The bond with a lifecycle manager, with a stand-in for package `bond`, which has no wheel."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from panosam2_ros.ros import bond
from panosam2_ros.ros.bond import Bond


class FakeStatus:
    """The fields of bond/msg/Status."""

    def __init__(self) -> None:
        self.header = SimpleNamespace(stamp=None)
        self.id = self.instance_id = ""
        self.active, self.heartbeat_timeout, self.heartbeat_period = False, 0.0, 0.0


class FakeNode:
    """Keeps what is published, and fires timers when it is told to."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.timers: list[Callable[[], None]] = []
        self.context = SimpleNamespace(ok=lambda: True)

    def create_publisher(self, kind: Any, name: str, depth: int) -> Any:
        assert (kind, name) == (FakeStatus, "bond") and depth >= 1
        return SimpleNamespace(publish=self.sent.append)

    def create_timer(self, period: float, callback: Callable[[], None]) -> Any:
        self.timers.append(callback)
        return callback

    def destroy_timer(self, timer: Any) -> None:
        self.timers.remove(timer)

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: None))

    def get_name(self) -> str:
        return "panosam2"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    monkeypatch.setattr(bond, "Status", FakeStatus)
    return FakeNode()


def test_heartbeats_from_activation_to_deactivation(node: FakeNode) -> None:
    one = Bond(node)
    one.form(0.1)
    one.form(0.1)  # is formed already
    for _ in range(3):
        (beat,) = node.timers
        beat()
    one.end()
    one.end()
    assert [msg.active for msg in node.sent] == [True] * 4 + [False] and node.timers == []
    assert {msg.id for msg in node.sent} == {"panosam2"}  # what the manager's side of the bond is named by
    assert len({msg.instance_id for msg in node.sent}) == 1 and node.sent[0].instance_id
    assert all(msg.heartbeat_timeout > 10 * msg.heartbeat_period > 0 for msg in node.sent)
    one.form(0.1)
    assert node.sent[-1].active and node.sent[-1].instance_id != node.sent[0].instance_id


def test_none_where_it_is_switched_off_or_the_process_ends(node: FakeNode) -> None:
    one = Bond(node)
    one.form(0.0)
    assert node.sent == [] and node.timers == []
    one.form(0.1)
    node.context.ok = lambda: False
    one.end()
    assert [msg.active for msg in node.sent] == [True]


def test_none_without_the_package() -> None:
    node = FakeNode()
    one = Bond(node)  # type: ignore[arg-type]
    one.form(0.1)
    one.end()
    assert bond.Status is None or node.sent
