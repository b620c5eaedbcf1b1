"""Two ways to wait for answers and messages: spin the node meanwhile, or let a thread of its own spin it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from panosam2_ros.ros.executor import SteadyExecutor

_STEP = 0.1  # s between two looks at whether the process is to end


class Waiting(Protocol):
    """A way to wait until something has come."""

    def until(self, done: Callable[[], object], timeout: float) -> bool:
        """Wait until ``done`` is true, at most ``timeout`` s; return whether it is."""
        ...


class SpinWhileWaiting:
    """Spins the node in the thread that waits: for programs of one thread."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def until(self, done: Callable[[], object], timeout: float) -> bool:
        """Wait until ``done`` is true, at most ``timeout`` s; return whether it is."""
        end = time.monotonic() + timeout
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            rclpy.spin_once(self._node, timeout_sec=min(left, _STEP))
        return True


class SpinThread:
    """Spins a node on a thread of its own, so that any number of threads may wait; ``close`` ends it."""

    def __init__(self, node: Node) -> None:
        self._executor = SteadyExecutor(context=node.context)
        self._executor.add_node(node)
        self._came, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._spin, name="spin", daemon=True)
        self._thread.start()

    def until(self, done: Callable[[], object], timeout: float) -> bool:
        """Wait until ``done`` is true, at most ``timeout`` s; return whether it is."""
        with self._came:
            self._came.wait_for(lambda: bool(done()) or self._closing, timeout)
            return bool(done())

    def close(self) -> None:
        """End the thread, and let go whoever waits; more than once does no harm."""
        self._closing = True
        self._executor.shutdown()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _spin(self) -> None:
        try:
            while not self._closing and self._executor.context.ok():
                self._executor.spin_once(timeout_sec=_STEP)
                with self._came:
                    self._came.notify_all()
        except ExternalShutdownException:
            pass  # SIGINT or SIGTERM
        except Exception:  # what a call raises that they hit is no error
            if self._executor.context.ok() and not self._closing:
                raise
        finally:
            self._closing = True
            with self._came:
                self._came.notify_all()
