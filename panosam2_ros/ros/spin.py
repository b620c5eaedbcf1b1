"""Begin and end ROS in a process."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.logging import get_logger

from panosam2_ros.io.out_of_memory import is_out_of_memory, memory_problem
from panosam2_ros.ros.dds import remove_dead_segments

_NOTED_WITHIN = 1.0  # s
_MAX_DOMAIN = 232  # DDS derives its ports from it
# What rcl says when it cannot start, and what to do. rcl has no codes for these.
_REMEDIES = (
    ("logging directory", "set HOME, or ROS_LOG_DIR to a folder that can be written"),
    ("log directory", "set ROS_LOG_DIR to a folder that can be written"),
    ("YAML", "check the path and the YAML of the file, as config/panosam2.yaml"),
    ("parameter override", "write -p NAME:=VALUE"),
    ("remap rule", "write -r FROM:=TO, with names of letters, digits, _ and /"),
    ("rmw", "install that RMW implementation, or unset RMW_IMPLEMENTATION"),
    ("", "see the arguments after --ros-args, and the environment variables ROS_* and RMW_*"),
)


@contextmanager
def ros_running(args: list[str] | None = None) -> Iterator[list[int]]:
    """Initialise ROS for the block, and leave the block quietly at SIGINT and SIGTERM.

    Yields the list to which the numbers of those signals are added. One that comes before ROS has started
    ends the process with 128 + its number. Exit with one line where ROS cannot start or a parameter cannot be
    used. Other exceptions pass, unless the end of the context caused them.
    """
    # rclpy notices both signals; a KeyboardInterrupt besides could hit anything, also the clean-up.
    signals: list[int] = []
    started = False

    def note(number: int, _: FrameType | None) -> None:
        signals.append(number)
        if not started:  # rclpy may not have noticed, and there is nothing to clean up
            end_process(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, note)
    _say_nothing_of_halves()
    _check_domain(os.environ.get("ROS_DOMAIN_ID", ""))
    left = remove_dead_segments()
    try:
        rclpy.init(args=args)
    except (RCLError, RuntimeError) as error:
        reason = one_line(error)
        exit_with(f"{reason}: {next(remedy for part, remedy in _REMEDIES if part in reason)}")
    started = True
    if left:
        text = f"removed {left / 2**20:.0f} MiB of shared memory that processes left when they were killed"
        get_logger("panosam2_ros").debug(text)  # of no use to most, and in the way of what commands print
    try:
        yield signals
    except ExternalShutdownException:
        pass
    except ParameterException as error:
        exit_with(one_line(error))
    except Exception:
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()


def first_signal(signals: Sequence[int]) -> int:
    """Return the number of the signal that ended ROS, of the list of ``ros_running``.

    rclpy notices signals on a thread of its own, which may be earlier than Python's handler.
    """
    end = time.monotonic() + _NOTED_WITHIN
    while not signals and time.monotonic() < end:
        time.sleep(0.01)
    return signals[0] if signals else signal.SIGINT


@contextmanager
def starting() -> Iterator[None]:
    """Exit with one line where the block, which makes a node, raises what wrong settings raise."""
    try:
        yield
    except (RCLError, ParameterException, RuntimeError, ValueError, OSError) as error:
        if not rclpy.ok():  # a signal came first: ``ros_running`` leaves quietly
            raise
        problem = memory_problem(error) if is_out_of_memory(error) else one_line(error)
        exit_with(f"cannot start: {problem}")


def one_line(error: Exception) -> str:
    """Return the message of an exception in one line, without rcl's places in its own source."""
    return " ".join(re.sub(r",? at /\S+?:\d+", "", str(error)).split()).rstrip(" ,:")


def exit_with(reason: str) -> NoReturn:
    """End the program with status 1 and one line."""
    sys.exit(f"{Path(sys.argv[0]).stem}: {reason}")


def _say_nothing_of_halves() -> None:
    """Keep rclpy from complaining of nodes and executors that a signal kept it from completing."""
    warnings.filterwarnings("ignore", "Failed to fini", RuntimeWarning)
    # its __del__ needs this, and __init__ may not have come to it
    Executor._sigint_gc = None


def _check_domain(domain: str) -> None:
    """Exit for a ROS_DOMAIN_ID that DDS cannot use; with some middleware it ends the process otherwise."""
    if domain and not (domain.strip().isdecimal() and int(domain) <= _MAX_DOMAIN):
        exit_with(f"ROS_DOMAIN_ID must be an integer from 0 to {_MAX_DOMAIN}, got {domain[:80]!r}")


def end_process(status: int = 0) -> None:
    """End the process though threads run: Python would wait for some of them for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
