"""Fill the names of one node into the shipped configuration of RViz. Imports no ROS.

The shipped file is a valid one itself, for a node `/panosam2` with images on `/image` in frame `camera`.
RViz takes z for up. Where the images' frame is an optical one (z forward), its fixed frame is therefore
one beside it with REP-103's body axes, which a static transform has to provide.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from panosam2_ros.geometry.camera_frame import FrameConvention
from panosam2_ros.io.package_files import package_file

IMAGE, NODE = "/image", "/panosam2"  # as the shipped file has them


def absolute(name: str, namespace: str) -> str:
    """Return a topic's name as ROS resolves it in a namespace, which may lack its leading slash."""
    if name.startswith("/"):
        return name
    return "/" + "/".join(part for part in (namespace.strip("/"), name) if part)


def fixed_frame(camera_frame: str) -> str:
    """Return the name of a frame with z up, for images in ``camera_frame``."""
    optical = FrameConvention.of_frame_id(camera_frame) is FrameConvention.OPTICAL
    return f"{camera_frame}_upright" if optical else camera_frame


def upright_transform(camera_frame: str) -> list[str]:
    """Return static_transform_publisher's arguments for that frame; none where it is the camera's own."""
    if fixed_frame(camera_frame) == camera_frame:
        return []
    rotation = ["--qx", "0.5", "--qy", "-0.5", "--qz", "0.5", "--qw", "0.5"]
    return ["--frame-id", camera_frame, "--child-frame-id", fixed_frame(camera_frame), *rotation]


def filled(
    config: Any,  # as yaml reads the file, or a part of it
    names: dict[str, str],  # topics, by their names in the shipped file
    frame: str,
) -> Any:
    """Return a copy with the names of one node; raise KeyError for a topic that is not among ``names``."""
    if isinstance(config, list):
        return [filled(item, names, frame) for item in config]
    if not isinstance(config, dict):
        return config
    copy = {key: filled(value, names, frame) for key, value in config.items()}
    if "Reliability Policy" in copy:  # a topic
        copy["Value"] = names[copy["Value"]]
    if "Fixed Frame" in copy:
        copy["Fixed Frame"] = frame
    return copy


def topics(config: Any) -> list[dict[str, Any]]:
    """Return every topic of a configuration, with its QoS, as RViz writes it."""
    if isinstance(config, dict):
        if "Reliability Policy" in config:
            return [config]
        config = list(config.values())
    return [found for part in config for found in topics(part)] if isinstance(config, list) else []


def write(namespace: str, image: str, camera_frame: str, *, folder: Path | None = None) -> Path:
    """Write the file for the node `panosam2` in ``namespace``, by default into a new temporary folder."""
    config = yaml.safe_load(package_file("config", "panosam2.rviz").read_text())
    names = {}
    for topic in topics(config):
        name = topic["Value"]
        names[name] = absolute(image if name == IMAGE else name.removeprefix("/"), namespace)
    target = folder or Path(tempfile.mkdtemp(prefix="panosam2_rviz_"))
    path = target / "panosam2.rviz"
    path.write_text(yaml.safe_dump(filled(config, names, fixed_frame(camera_frame)), sort_keys=False))
    return path
