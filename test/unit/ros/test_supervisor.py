"""What is saved where the process is ended while the node ends its runtime."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from panosam2_ros.ros.supervisor import RuntimeSupervisor


def test_the_memory_of_a_runtime_that_is_being_ended_is_waited_for() -> None:
    node: Any = SimpleNamespace(context=SimpleNamespace(ok=lambda: False))
    reporter: Any = SimpleNamespace()
    supervisor = RuntimeSupervisor(node, reporter, lambda _: pytest.fail(), lambda _: pytest.fail())
    waited: list[object] = []

    def close(_: float) -> int:
        supervisor.save_known()  # as from the thread that ends the process
        return 1

    store = SimpleNamespace(close=lambda snapshot, timeout: waited.append(snapshot))
    worker = SimpleNamespace(running=False)
    runtime: Any = SimpleNamespace(close=close, memory_store=store, known="known", worker=worker)
    supervisor.runtime = runtime
    supervisor.close()
    assert waited == ["known"]
    supervisor.save_known()
    assert waited == ["known"]  # there is nothing any more
