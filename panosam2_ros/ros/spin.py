"""How every process of ours begins and ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException


@contextmanager
def ros_running(args: list[str] | None = None) -> Iterator[None]:
    """ROS from here to the end of the block; SIGINT and SIGTERM leave the block quietly.

    Other exceptions pass, unless they came of the context's end.
    """
    # rclpy notices both signals; a KeyboardInterrupt besides could hit anything, also the clean-up.
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=args)
    try:
        yield
    except ExternalShutdownException:
        pass
    except Exception:
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
