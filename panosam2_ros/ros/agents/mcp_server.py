"""`panosam2_mcp`: a server of the Model Context Protocol, by which a language model looks, points and asks.

It speaks on standard input and output with the program that started it, and listens nowhere: nobody on the
network can reach it. Standard output carries the protocol only; logs go to standard error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from panosam2_ros.io.package_files import package_file
from panosam2_ros.ros.client import Client
from panosam2_ros.ros.dds import PROFILES_VARIABLE, keep_buffers
from panosam2_ros.ros.spin import end_process, exit_with, ros_running
from panosam2_ros.ros.waiting import SpinThread

_COLUMNS = 1280
_WATCH = 0.2  # s between two looks at whether a signal came
_EPILOG = """\
A program that starts MCP servers takes for example:
  {"mcpServers": {"robot": {"command": "panosam2_mcp", "args": ["--namespace", "/robot1"],
                            "env": {"ROS_DOMAIN_ID": "7"}}}}
Such programs pass hardly any environment on: name ROS_DOMAIN_ID and the like, or start it by a shell that has
sourced the workspace (docs/agents.md).
"""


def server_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="panosam2_mcp",
        description="Serve a running panosam2 node to a language model, by the Model Context Protocol on "
        "standard input and output.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--node", default="panosam2", metavar="NAME", help="of the node (default: panosam2)")
    made.add_argument("--namespace", default="", metavar="NS", help="of the node, such as /robot1")
    text = "for a service, an answer or an image (default: 10)"
    made.add_argument("--timeout", type=float, default=10.0, metavar="S", help=f"time to wait {text}")
    text = f"columns of a picture of the panorama at most (default: {_COLUMNS})"
    made.add_argument("--max-width", type=int, default=_COLUMNS, metavar="W", help=text)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends (status 0), or SIGINT or SIGTERM comes (status 0)."""
    arguments = list(sys.argv if arguments is None else ["panosam2_mcp", *arguments])
    top = server_parser()
    options = top.parse_args(remove_ros_args(arguments)[1:])
    if not 64 <= options.max_width <= 4096:
        top.error(f"--max-width is 64 to 4096, got {options.max_width}")
    try:
        served = importlib.import_module("panosam2_ros.ros.agents.mcp_tools")
    except ImportError as error:
        exit_with(f"the package mcp, version 2, is needed: pip install 'mcp>=2.3,<3' ({error})")
    keep_buffers()
    # large panoramas need it, and hosts pass hardly any environment on
    os.environ.setdefault(PROFILES_VARIABLE, str(package_file("config", "fastdds.xml")))
    with ros_running(arguments):
        _serve(served, options)
    end_process()  # Python's own end takes seconds, and hosts kill servers that take more than two


def _serve(served: Any, options: argparse.Namespace) -> None:
    from panosam2_ros.ros.agents.tools import AgentTools  # after the check: it imports torch

    name = f"panosam2_mcp_{os.getpid()}"
    node = rclpy.create_node(name, namespace=options.namespace or None, enable_rosout=False)
    spinning, finished = SpinThread(node), threading.Event()
    threading.Thread(target=_end_at_signal, args=(node, spinning, finished), daemon=True).start()
    try:
        client = Client(node, options.node, timeout=options.timeout, waiting=spinning)
        served.build_server(AgentTools(client, most_columns=options.max_width)).run("stdio")
    finally:
        finished.set()
        spinning.close()
        node.destroy_node()


def _end_at_signal(node: Node, spinning: SpinThread, finished: threading.Event) -> None:
    """End the process when a signal has ended ROS: the thread that reads standard input cannot be woken."""
    while node.context.ok():
        if finished.is_set():
            return
        time.sleep(_WATCH)
    if not finished.is_set():
        spinning.close()
        node.destroy_node()  # otherwise Fast DDS's shared memory, 128 MiB, would stay behind
        end_process()


if __name__ == "__main__":
    main()
