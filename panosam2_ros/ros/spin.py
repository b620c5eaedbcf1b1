"""Begin and end ROS in a process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException


@contextmanager
def ros_running(args: list[str] | None = None) -> Iterator[None]:
    """Initialise ROS for the block, and leave the block quietly at SIGINT and SIGTERM.

    Other exceptions pass, unless the end of the context caused them.
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


def end_process() -> None:
    """End the process with status 0 though threads run: Python would wait for some of them for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
