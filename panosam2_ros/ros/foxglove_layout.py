"""Fill the names of one node into the shipped layout of Foxglove. Imports no ROS.

The shipped file is a valid one itself, for a node `/panosam2` with images in frame `camera`. As in RViz, z
is up: where the images' frame is an optical one, the 3D panel shows the frame beside it that RViz takes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from panosam2_ros.io.package_files import package_file
from panosam2_ros.ros.rviz_config import NODE, absolute, fixed_frame


def with_names(
    layout: Any,  # as JSON has it, or a part of it
    namespace: str,
    frame: str,
) -> Any:
    """Return a copy with the topics and services of the node in ``namespace``, shown in ``frame``."""
    if isinstance(layout, list):
        return [with_names(item, namespace, frame) for item in layout]
    if isinstance(layout, dict):
        copy = {
            with_names(key, namespace, frame): with_names(value, namespace, frame)
            for key, value in layout.items()
        }
        return copy | {"followTf": frame} if "followTf" in copy else copy
    if isinstance(layout, str) and layout.startswith(f"{NODE}/"):
        return absolute(layout.removeprefix("/"), namespace)
    return layout


def write_layout(namespace: str, camera_frame: str, *, folder: Path | None = None) -> Path:
    """Write the layout for the node `panosam2` in ``namespace``, by default into a new temporary folder."""
    layout = json.loads(package_file("config", "foxglove.json").read_text())
    target = folder or Path(tempfile.mkdtemp(prefix="panosam2_foxglove_"))
    path = target / "panosam2.foxglove.json"
    path.write_text(json.dumps(with_names(layout, namespace, fixed_frame(camera_frame)), indent=2) + "\n")
    return path


def bridge_port(text: str) -> int:
    """Return the port of the bridge; raise ValueError for what is none."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"foxglove_port must be a port from 1 to 65535, got {text!r}")
    return int(text)


def connection_text(layout: Path, address: str, port: int) -> str:
    """Say how Foxglove connects to the bridge and shows the node."""
    host = "HOST" if address == "0.0.0.0" else address
    return f"Foxglove: open a connection to ws://{host}:{port} and import the layout {layout}"


def missing_text(distribution: str) -> str:
    """Say what to install where the bridge is absent; ``distribution``: of ROS, empty if unknown."""
    package = f"ros-{distribution or 'DISTRO'}-foxglove-bridge"
    return f"foxglove:=true needs foxglove_bridge, which is not installed: sudo apt install {package}"
