"""Waiting while a thread spins the node: for many threads at once, with an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from std_srvs.srv import Trigger

from panosam2_ros.ros.client import NO_ANSWER, Client, ClientError
from panosam2_ros.ros.waiting import SpinThread


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    made = rclpy.create_node("waiting", context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


def test_many_threads_call_at_once(node: Node) -> None:
    def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        time.sleep(0.01)
        response.success, response.message = True, "epoch 7"
        return response

    node.create_service(Trigger, "panosam2/reset", answer)
    spinning = SpinThread(node)
    client = Client(node, timeout=60, waiting=spinning)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: client.reset(), range(24)))
        assert found == ["epoch 7"] * 24
        assert len(list(node.clients)) == 1  # kept, not one for each call
    finally:
        spinning.close()


def test_a_call_that_is_not_answered_ends_and_leaves_nothing_behind(node: Node) -> None:
    release = threading.Event()

    def hang(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        release.wait(30)
        return response

    node.create_service(Trigger, "panosam2/reset", hang)
    spinning = SpinThread(node)
    try:
        with pytest.raises(ClientError, match=r"did not answer within 0\.5 s") as error:
            Client(node, timeout=0.5, waiting=spinning).reset()
        assert error.value.name == NO_ANSWER
        assert not next(iter(node.clients))._pending_requests
    finally:
        release.set()
        spinning.close()


def test_whoever_waits_is_let_go_at_the_end(node: Node) -> None:
    spinning = SpinThread(node)
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(spinning.until(lambda: False, 60)))
    thread.start()
    node.context.shutdown()  # as SIGINT does
    thread.join(20)
    assert waited == [False]
    spinning.close()
    spinning.close()
