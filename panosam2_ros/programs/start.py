"""Start the programs, so that one which is ended while it imports its modules says nothing.

That takes seconds. Python's own handler of Ctrl-C would print a traceback of whatever is imported then.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn


def run_program(module: str) -> NoReturn:
    """Import a module, whose ``main`` decides what signals do from then on, and exit with what it returns.

    Where the module, or one that it needs, is not installed, exit with 1 and one line; where the reader of
    its output has seen enough (``| head -3``), with 0.
    """
    die_of_interrupts()
    try:
        main = import_module(module).main
    except (ImportError, MemoryError) as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {_explained(error)}")
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        status = 0
    sys.exit(status)


def _reader_has_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _explained(error: BaseException) -> str:
    """Say in one line why a module cannot be imported."""
    from panosam2_ros.io.out_of_memory import is_out_of_memory, memory_problem

    return memory_problem(error) if is_out_of_memory(error) else " ".join(str(error).split())


def die_of_interrupts() -> None:
    """Have Ctrl-C end the process at once, as SIGTERM does, unless it is ignored (as after ``nohup``)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def panosam2_node() -> NoReturn:
    """Run the node."""
    run_program("panosam2_ros.ros.node")


def panosam2_places() -> NoReturn:
    """Run the node that places objects in space."""
    run_program("panosam2_ros.ros.places.node")


def panosam2_prompt() -> NoReturn:
    """Run the command that prompts the node."""
    run_program("panosam2_ros.ros.cli.prompt")


def panosam2_dds_profile() -> NoReturn:
    """Run the command that prints the line to export for Fast DDS."""
    run_program("panosam2_ros.ros.cli.dds_profile")


def panosam2_mcp() -> NoReturn:
    """Run the server for language models."""
    run_program("panosam2_ros.ros.agents.mcp_server")


def panosam2_web() -> NoReturn:
    """Run the page for a browser."""
    run_program("panosam2_ros.ros.web.node")


def panosam2_play() -> NoReturn:
    """Run camera, node and page."""
    run_program("panosam2_ros.demo.play")


def panosam2_track() -> NoReturn:
    """Run the tracking of files."""
    run_program("panosam2_ros.cli.track")


def panosam2_demo() -> NoReturn:
    """Run the demo."""
    run_program("panosam2_ros.demo.demo")


def panosam2_virtual_camera() -> NoReturn:
    """Run the virtual camera."""
    run_program("panosam2_ros.demo.virtual_camera")
