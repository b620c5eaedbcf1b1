"""The executor goes on where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

import rclpy
from rclpy.executors import SingleThreadedExecutor

from panosam2_ros.ros.executor import SteadyExecutor


class Entity(SimpleNamespace):
    """A subscription or service; hashed by identity, as those of rclpy."""

    __hash__ = object.__hash__


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[SteadyExecutor, list[str]]]:
    rclpy.init()
    executor, said = SteadyExecutor(), []
    executor.memory_ran_out = said.append
    yield executor, said
    executor.shutdown()
    rclpy.shutdown()


def taking(monkeypatch: pytest.MonkeyPatch, name: str, take: Callable[[], Any]) -> None:
    monkeypatch.setattr(SingleThreadedExecutor, name, lambda *_: take())


def no_memory() -> None:
    raise MemoryError


@pytest.mark.parametrize("method, entity", [
    ("_take_subscription", Entity(topic_name="/image")), ("_take_service", Entity(srv_name="/prompt")),
])  # fmt: skip
def test_a_message_without_memory_is_no_message(
    method: str, entity: Any, told: tuple[SteadyExecutor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, said = told
    taking(monkeypatch, method, no_memory)
    assert getattr(executor, method)(entity) is None
    (name,) = vars(entity).values()
    assert said == [f"while a message on {name} was taken"]
    executor.memory_ran_out = lambda _: no_memory()  # not even that can be said
    assert getattr(executor, method)(entity) is None
    taking(monkeypatch, method, lambda: "message")
    assert getattr(executor, method)(entity) == "message"


def test_messages_that_come_and_cannot_be_read_are_said(
    told: tuple[SteadyExecutor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, said = told
    image, other = Entity(topic_name="/image"), Entity(topic_name="/other")
    for taken in (None, None, None, None, "image", None, None, None, None):
        taking(monkeypatch, "_take_subscription", lambda taken=taken: taken)
        executor._take_subscription(image)
        executor._take_subscription(other)
    assert said == []
    executor._take_subscription(image)
    assert said == ["so that messages come on /image and none of 5 could be taken"]
