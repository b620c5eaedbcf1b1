"""Write the transcript of docs/agents.md: what a program says to `panosam2_mcp` and what comes back.

python -m tools.agent_transcript

A camera with a rendered scene, the node and the server run in processes of their own; a client of the
official SDK talks to the server over standard input and output. What the agent "sees" in a picture is
computed from the scene, so that the session is the same every time but for stamps, ages and last digits.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import rclpy
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, ImageContent, TextContent
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.ros.conversion.messages import image_message
from panosam2_ros.ros.waiting import SpinThread
from tools.doc_figures import GRID, scene

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "agents.md"
BEGIN, END = "<!-- written by python -m tools.agent_transcript -->", "<!-- end -->"
TRUCK, BEAR = 1, 2  # labels in the scene
MOST_COLUMNS = 800  # fewer than the scene has: the pictures' pixels are not the image's
PERIOD = 0.25  # s between images
NODE_PARAMETERS = {"model": "panosam2_mobile", "num_threads": 1, "history_seconds": 60.0}
LOOK = {"azimuth": 60, "elevation": -20, "field_of_view": 70}


def agent_scene() -> tuple[ImageArray, LabelImage]:
    """Render what the camera of the session sees, and which pixels are the truck's and the bear's."""
    return scene([("1f69b.webp", 165, -8, 42), ("1f43b.webp", -60, -25, 30)])


class SceneCamera(Node):
    """A camera that shows one image again and again, stamped when it is taken."""

    def __init__(self, image: ImageArray) -> None:
        super().__init__("scene_camera")
        self.image = image
        self._images = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self.create_timer(PERIOD, self._show)

    def _show(self) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id="camera_optical_frame")
        self._images.publish(image_message(header, self.image, "rgb8"))


@dataclass
class Transcript:
    """What was said, as Markdown, and the pictures in it."""

    lines: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)  # JPEG, by the stem of its file

    def add(self, tool: str, arguments: Mapping[str, Any], result: CallToolResult, picture: str) -> None:
        """Add a call and its answer; ``picture``: the name for the picture of the answer."""
        words = "\n".join(c.text for c in result.content if isinstance(c, TextContent))
        failed = " (an error)" if result.is_error else ""
        self.lines += [
            f"**`{tool}`** `{json.dumps(dict(arguments))}`{failed}",
            "",
            "```text",
            words,
            "```",
            "",
        ]
        for content in result.content:
            if isinstance(content, ImageContent):
                self.pictures[picture] = base64.b64decode(content.data)
                self.lines += [f"![{picture.replace('_', ' ')}](pictures/{picture}.jpg)", ""]

    @property
    def text(self) -> str:
        """The lines as they stand in the page."""
        return "\n".join(self.lines).rstrip() + "\n"


@dataclass(frozen=True, eq=False)
class Truth:
    """Where things are in pictures of the scene."""

    labels: LabelImage

    def direction(self, label: int) -> Floats:
        """Return the unit vector [3] of a thing, in the axes of the camera."""
        bearing = mask_bearing(self.labels == label, GRID)
        if bearing is None:
            raise ValueError(f"nothing of {label} is in the scene")
        return bearing.direction

    def pixel(self, label: int, projection: Equirect | PerspectiveView) -> list[int]:
        """Return the pixel of a picture in which the middle of a thing is."""
        u, v = projection.vector_to_pixel(self.direction(label))
        return [round(float(u)), round(float(v))]

    def box(self, label: int, columns: int) -> list[int]:
        """Return the box around a thing in a picture of the panorama with so many columns."""
        box = mask_box(self.labels == label)
        if box is None:
            raise ValueError(f"nothing of {label} is in the scene")
        return [round(corner * columns / GRID.width) for corner in box]


def looked_at() -> PerspectiveView:
    """Return the pixels of the picture that the agent asks for."""
    azimuth, elevation, fov = (math.radians(angle) for angle in LOOK.values())
    return PerspectiveView.facing(UPRIGHT, azimuth, elevation, fov, (800, 600))


async def converse(session: ClientSession, labels: LabelImage) -> Transcript:
    """Hold the session that is documented."""
    written, truth = Transcript(), Truth(labels)

    async def call(tool: str, arguments: dict[str, Any], picture: str = "") -> dict[str, Any]:
        result = await session.call_tool(tool, arguments)
        if not isinstance(result, CallToolResult):
            raise RuntimeError(f"{tool} was not answered")
        written.add(tool, arguments, result, picture)
        return dict(result.structured_content or {})

    seen = await call("look", {}, "agent_look")
    stamp = seen["stamp"]
    detail = await call("look_at", {**LOOK, "stamp": stamp}, "agent_look_at")
    point = truth.pixel(BEAR, looked_at())
    here = {"stamp": stamp, "view": detail["view"]}
    bear = (await call("track", {"label": "bear", "pixel": point, **here}))["object"]["object_id"]
    box = truth.box(TRUCK, seen["width"])
    truck = (await call("track", {"label": "truck", "box": box, "stamp": stamp}))["object"]["object_id"]
    for obj_id in (bear, truck):
        await call("wait_until_visible", {"id": obj_id, "timeout_s": 60})
    await call("where", {"id": truck + 5})
    await call("look", {}, "agent_tracked")
    await call("forget", {"id": bear})
    await call("list", {})
    return written


def server_parameters(*arguments: str) -> StdioServerParameters:
    """Return how the server is started; it gets the environment that ROS needs."""
    words = ["-m", "panosam2_ros.ros.agents.mcp_server", "--timeout", "60", *arguments]
    return StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ), cwd=ROOT)


@contextmanager
def _running_camera(image: ImageArray) -> Iterator[None]:
    rclpy.init()
    camera = SceneCamera(image)
    spinning = SpinThread(camera)
    try:
        yield
    finally:
        spinning.close()
        camera.destroy_node()
        rclpy.try_shutdown()


async def _session(labels: LabelImage) -> Transcript:
    parameters = server_parameters("--max-width", str(MOST_COLUMNS))
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        return await converse(session, labels)


def page_with(text: str, page: str) -> str:
    """Return the page with another transcript."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main() -> None:
    """Run the session and write page and pictures."""
    argparse.ArgumentParser("tools.agent_transcript", description=__doc__).parse_args()
    image, labels = agent_scene()
    settings = [word for name, value in NODE_PARAMETERS.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "panosam2_ros.ros.node", "--ros-args", *settings]
    with subprocess.Popen(command, cwd=ROOT) as node:
        try:
            with _running_camera(image):
                transcript = anyio.run(_session, labels)
        finally:
            node.terminate()
    for name, data in transcript.pictures.items():
        (ROOT / "docs" / "pictures" / f"{name}.jpg").write_bytes(data)
    PAGE.write_text(page_with(transcript.text, PAGE.read_text()))


if __name__ == "__main__":
    main()
