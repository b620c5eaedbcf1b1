"""The command lines of programs that are nodes: they answer --help, and take ROS's arguments only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rclpy._rclpy_pybind11 import RCLError
from rclpy.utilities import remove_ros_args

from panosam2_ros.io.printable import printable


def check_node_arguments(
    program: str,
    description: str,
    parameters: Mapping[str, tuple[Any, str]],  # name: default, meaning
    arguments: Sequence[str] | None = None,  # with the program's name; None: the process's own
) -> None:
    """Print the help and exit where it is asked for; exit with 2 for an argument that is none of ROS's."""
    known = "\n".join(
        f"  {name} (default: {_shown(default)})\n      {text}" for name, (default, text) in parameters.items()
    )
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} [--help] [--ros-args -p PARAMETER:=VALUE ... -r NAME:=NEW_NAME ...]",
        description=description,
        epilog=f"parameters (--ros-args -p NAME:=VALUE, or --params-file FILE):\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    try:
        words = remove_ros_args(list(sys.argv if arguments is None else arguments))
    except RCLError:
        return  # the start of ROS says what is wrong with its arguments
    _, others = parser.parse_known_args(words[1:])
    if others:
        parser.error(
            f"{printable(' '.join(others))} is none of ROS's arguments: give parameters and names after "
            f"--ros-args, as in {program} --ros-args -p use_sim_time:=true -r image:=/camera/image_raw"
        )


def _shown(default: Any) -> str:
    """Return a default as it is given on the command line."""
    return str(default).lower() if isinstance(default, bool) else str(default) or "''"
