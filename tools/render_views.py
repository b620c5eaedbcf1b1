"""Pictures of the node's views, made of its messages while it tracks a video; needs `pip install vtk`.

python -m tools.render_views --video VIDEO --box U0,V0,U1,V1 --out docs/pictures
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

_START = 240.0  # s for models and pictures to be ready
_VIEWS = {"overlay/compressed": CompressedImage, "markers": MarkerArray, "mask_cloud": PointCloud2}


class Onlooker(Node):
    """Keeps the newest images that came in every view."""

    def __init__(self) -> None:
        super().__init__("onlooker")
        self.seen: dict[int, dict[str, Any]] = {}  # by stamp, ns
        for name, kind in _VIEWS.items():
            self.create_subscription(kind, f"/panosam2/{name}", self._keeper(name), 10)
        self._prompts = self.create_client(PromptObjects, "/panosam2/prompt")

    def _keeper(self, name: str) -> Callable[[Any], None]:
        def keep(msg: Any) -> None:
            headers = [m.header for m in msg.markers] if name == "markers" else [msg.header]
            for stamp in {stamp_to_ns(header.stamp) for header in headers}:
                self.seen.setdefault(stamp, {})[name] = msg
            for old in sorted(self.seen)[:-5]:
                del self.seen[old]

        return keep

    def whole(self) -> tuple[int, dict[str, Any]] | None:
        """The newest image that came in every view, and its stamp."""
        stamps = [stamp for stamp, views in self.seen.items() if len(views) == len(_VIEWS)]
        return (max(stamps), self.seen[max(stamps)]) if stamps else None

    def until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Spins; TimeoutError says what did not come."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
            rclpy.spin_once(self, timeout_sec=0.05)

    def prompt(self, boxes: Sequence[Sequence[float]]) -> None:
        """By boxes on the newest image; RuntimeError where one is refused."""
        self._prompts.wait_for_service(_START)
        self.until(lambda: bool(self.seen), _START, "the first image")
        made = [ObjectPrompt(label=f"object {i + 1}", box=list(box)) for i, box in enumerate(boxes)]
        answer = self._prompts.call_async(PromptObjects.Request(prompts=made))
        self.until(answer.done, 60.0, "an answer to the prompt")
        if not answer.result().success:
            raise RuntimeError(answer.result().message)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="view_pictures", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--video", required=True, help="a video, or a folder of images")
    add("--box", type=_box, action="append", required=True, metavar="U0,V0,U1,V1", help="repeat for more")
    add("--seconds", type=float, default=2.0, help="of the video after the prompt, until the pictures")
    add("--rate", type=float, default=5.0, help="Hz")
    add("--yaw", type=float, default=0.0, help="degrees to the left: where the eye looks")
    add("--out", type=Path, default=Path("docs/pictures"))
    return parser.parse_args(arguments)


def _box(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 4:
        raise argparse.ArgumentTypeError(f"needed are 4 numbers with commas: {text!r}")
    return values


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = parse(arguments)
    logs = Path("out/view_pictures")
    logs.mkdir(parents=True, exist_ok=True)
    os.environ.update(process_environment(logs))  # our own end of DDS as the others'
    try:
        views = watch(options, logs)
    except (TimeoutError, RuntimeError) as error:
        sys.exit(f"view_pictures: {error}\n{tail(logs / 'node.log')}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures(views, options.yaw).items():
        path = options.out / f"{name}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
        print(f"{path}: {path.stat().st_size // 1024} kB")


def watch(options: argparse.Namespace, logs: Path) -> dict[str, Any]:
    """One message of every view, of the same image, from the node while it tracks the video."""
    played = {"source": options.video, "rate": options.rate, "start_when_subscribed": 1}
    words = [word for k, v in played.items() for word in ("-p", f"{k}:={v}")]
    with ros_running([]), Processes(logs) as processes:
        onlooker = Onlooker()
        try:
            processes.start("node", "panosam2_ros.ros.node", ["--ros-args", "-p", "cloud_width:=1024"])
            processes.start("camera", "panosam2_ros.demo.virtual_camera", ["--ros-args", *words])
            onlooker.prompt(options.box)
            begun = max(onlooker.seen)

            def late_enough() -> bool:
                found = onlooker.whole()
                return found is not None and found[0] - begun >= options.seconds * 1e9

            onlooker.until(late_enough, 60.0 + 10 * options.seconds, "an image in every view")
            found = onlooker.whole()
            assert found is not None
            return found[1]
        finally:
            onlooker.destroy_node()
    raise TimeoutError("ROS ended before the pictures were complete")


def pictures(views: dict[str, Any], yaw: float) -> dict[str, np.ndarray]:
    """Overlay; sphere and markers from within; markers alone from outside."""
    cloud, markers = views["mask_cloud"], views["markers"]
    axes = camera_frame("auto", cloud.header.frame_id, 0.0, 0.0, 0.0)
    turn = np.radians(yaw)
    radius = float(np.linalg.norm(np.frombuffer(cloud.data[:12], "<f4")))

    def at(ahead: float, up: float, aside: float = 0.0) -> Floats:
        """A place ahead of the camera, above and to the right, in sphere radii; in the frame's axes."""
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
