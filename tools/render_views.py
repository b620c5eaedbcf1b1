"""Render the views of the documentation from the node's messages while it tracks a video; needs vtk.

pip install vtk && python -m tools.render_views --video VIDEO --box U0,V0,U1,V1 --out docs/pictures
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, PointCloud2
from visualization_msgs.msg import MarkerArray

from panosam2_ros.demo.processes import Processes, process_environment, tail
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.image_encodings import compressed_to_array
from panosam2_ros.msg import ObjectPrompt
from panosam2_ros.ros.conversion.messages import camera_frame, stamp_to_ns
from panosam2_ros.ros.spin import ros_running
from panosam2_ros.srv import PromptObjects
from tools.vtk_scene import Eye, render_scene

_START = 240.0  # s for the network and the first image to be ready
_VIEWS = {"overlay/compressed": CompressedImage, "markers": MarkerArray, "mask_cloud": PointCloud2}


class ViewRecorder(Node):
    """Keeps the newest messages of every view, by stamp."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.seen: dict[int, dict[str, Any]] = {}  # by stamp, ns
        for name, kind in _VIEWS.items():
            self.create_subscription(kind, f"/panosam2/{name}", self._keeper(name), 10)
        self._prompts = self.create_client(PromptObjects, "/panosam2/prompt")

    def _keeper(self, name: str) -> Callable[[Any], None]:
        """Return the callback that keeps the messages of a view."""

        def keep(msg: Any) -> None:
            headers = [m.header for m in msg.markers] if name == "markers" else [msg.header]
            for stamp in {stamp_to_ns(header.stamp) for header in headers}:
                self.seen.setdefault(stamp, {})[name] = msg
            for old in sorted(self.seen)[:-5]:
                del self.seen[old]

        return keep

    def newest_complete(self) -> tuple[int, dict[str, Any]] | None:
        """Return the newest stamp with a message of every view, and these messages, if there is one."""
        stamps = [stamp for stamp, views in self.seen.items() if len(views) == len(_VIEWS)]
        return (max(stamps), self.seen[max(stamps)]) if stamps else None

    def spin_until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Spin until a condition holds; raise TimeoutError, which names ``what`` was waited for."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
            rclpy.spin_once(self, timeout_sec=0.05)

    def prompt(self, boxes: Sequence[Sequence[float]]) -> None:
        """Prompt objects by boxes in the newest image; raise RuntimeError where a prompt is refused."""
        self._prompts.wait_for_service(_START)
        self.spin_until(lambda: bool(self.seen), _START, "the first image")
        made = [ObjectPrompt(label=f"object {i + 1}", box=list(box)) for i, box in enumerate(boxes)]
        answer = self._prompts.call_async(PromptObjects.Request(prompts=made))
        self.spin_until(answer.done, 60.0, "an answer to the prompt")
        if not answer.result().success:
            raise RuntimeError(answer.result().message)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="tools.render_views", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--video", required=True, help="a video, or a folder of images")
    add("--box", type=_box, action="append", required=True, metavar="U0,V0,U1,V1",
        help="of an object in the first image, repeatable")  # fmt: skip
    add("--seconds", type=float, default=2.0,
        help="of the video between prompt and rendering (default: %(default)s)")  # fmt: skip
    add("--rate", type=float, default=5.0, help="Hz, of the video (default: %(default)s)")
    add("--yaw", type=float, default=0.0, help="degrees to the left, of the direction of view")
    add("--out", type=Path, default=Path("docs/pictures"), help="folder (default: %(default)s)")
    return parser.parse_args(arguments)


def _box(text: str) -> tuple[float, ...]:
    """Parse four numbers with commas between them."""
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 4:
        raise argparse.ArgumentTypeError(f"4 numbers with commas between are needed, got {text!r}")
    return values


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parse_arguments(arguments)
    logs = Path("out/render_views")
    logs.mkdir(parents=True, exist_ok=True)
    os.environ.update(process_environment(logs))  # the same settings of DDS as the node's
    try:
        views = record_views(options, logs)
    except (TimeoutError, RuntimeError) as error:
        sys.exit(f"render_views: {error}\n{tail(logs / 'node.log')}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name, picture in render_pictures(views, options.yaw).items():
        path = options.out / f"{name}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
        print(f"{path}: {path.stat().st_size // 1024} kB")


def record_views(options: argparse.Namespace, logs: Path) -> dict[str, Any]:
    """Return one message of every view, of the same image, from the node while it tracks the video."""
    played = {"source": options.video, "rate": options.rate, "start_when_subscribed": 1}
    words = [word for k, v in played.items() for word in ("-p", f"{k}:={v}")]
    with ros_running([]), Processes(logs) as processes:
        recorder = ViewRecorder()
        try:
            processes.start("node", "panosam2_ros.ros.node", ["--ros-args", "-p", "cloud_width:=1024"])
            processes.start("camera", "panosam2_ros.demo.virtual_camera", ["--ros-args", *words])
            recorder.prompt(options.box)
            begun = max(recorder.seen)

            def late_enough() -> bool:
                found = recorder.newest_complete()
                return found is not None and found[0] - begun >= options.seconds * 1e9

            recorder.spin_until(late_enough, 60.0 + 10 * options.seconds, "an image in every view")
            found = recorder.newest_complete()
            if found is not None:
                return found[1]
        finally:
            recorder.destroy_node()
    raise TimeoutError("ROS ended before the pictures were complete")


def render_pictures(views: dict[str, Any], yaw: float) -> dict[str, np.ndarray]:
    """Render the overlay, sphere and markers from within, and markers alone from outside."""
    cloud, markers = views["mask_cloud"], views["markers"]
    axes = camera_frame("auto", cloud.header.frame_id, 0.0, 0.0, 0.0)
    turn = np.radians(yaw)
    radius = float(np.linalg.norm(np.frombuffer(cloud.data[:12], "<f4")))

    def at(ahead: float, up: float, aside: float = 0.0) -> Floats:
        """Return a place ahead of the camera, above and to the right, sphere radii, in the frame's axes."""
        sine, cosine = np.sin(turn), np.cos(turn)
        optical = np.array([aside * cosine - ahead * sine, -up, aside * sine + ahead * cosine])
        return axes.to_frame(optical * radius)

    upright = at(0.0, 1.0) / radius
    within = Eye(at(-0.75, 0.3), at(1.0, -0.1), upright, angle=80)
    outside = Eye(at(2.0, 0.9, 0.8), at(0.3, -0.35), upright, angle=40)
    return {
        "overlay": compressed_to_array(views["overlay/compressed"]),
        "sphere": render_scene(cloud, markers, within),
        "markers": render_scene(None, markers, outside),
    }


if __name__ == "__main__":
    main()
