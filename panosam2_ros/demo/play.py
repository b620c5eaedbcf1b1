"""`panosam2_play`: a 360 camera, the node and a page for a browser, to try it with the mouse.

By default the camera plays real footage that is part of the package, to and fro. With --video it plays a
recording, which starts again at its end; with --scene it renders a scene that never ends. Ctrl-C ends all.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import sys
import time
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from panosam2_ros.demo.processes import Processes, process_environment, tail
from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.io.interruption import Interrupted, interruptible
from panosam2_ros.io.package_files import package_file
from panosam2_ros.io.video import VideoError

FOOTAGE = ("simulation", "asset_files", "footage", "paris.mp4")
SCENE_WIDTH, SCENE_OF_PLAY = 1280, 7
_PORT = 8360
_START = 120.0  # s for the page's server to import its modules
_ADDRESS = re.compile(r"^panosam2_web: open (\S+)$", re.MULTILINE)


class PlayError(RuntimeError):
    """Nothing can be played; the message says why, and what to do."""


def play_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="panosam2_play", description=__doc__)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--video", help="a 360 video, a ROS bag, an image, or a folder of images")
    source.add_argument("--scene", action="store_true", help="a rendered scene instead of the real footage")
    add("--rate", type=float, default=0.0, help="Hz; default: the video's own times, 6 for a scene")
    add("--width", type=int, default=0, help="of the images; default: the video's own, 1280 for a scene")
    cropped = "rad, of a video that is cropped above and below; default: pi, a full sphere"
    add("--vertical-fov", type=float, default=math.pi, help=cropped)
    add("--seed", type=int, default=SCENE_OF_PLAY, help="of the scene")
    add("--model", default="", help="name or weights file; default: the node's own")
    add(
        "--host",
        default="127.0.0.1",
        help="address of the page; another than this needs a token, which is shown",
    )
    add("--port", type=int, default=_PORT, help=f"of the page; default {_PORT}, or the next that is free")
    add("--open", action="store_true", help="open the page in the browser of this machine")
    add("--out", type=Path, default=Path("out/play"), help="folder for logs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Play until a signal comes, then exit with 130 or 143; with 1 where something ends by itself."""
    options = play_options(arguments)
    try:
        with interruptible(signal.SIGINT, signal.SIGTERM) as check:
            play(options, check)
    except (PlayError, VideoError, OSError) as error:
        sys.exit(f"panosam2_play: {error}")
    except Interrupted as interrupted:
        print("\nended: camera, node and page", file=sys.stderr)
        sys.exit(interrupted.status)


def play(options: argparse.Namespace, check: Callable[[], None]) -> None:
    """Run the three processes; raise PlayError where one ends by itself.

    ``check`` is called all the time, and raises what is to end the run.
    """
    source = _source(options)
    options.out.mkdir(parents=True, exist_ok=True)
    domain = process_environment(options.out)["ROS_DOMAIN_ID"]
    os.environ["ROS_DOMAIN_ID"] = domain  # the same for all, and for the line below
    with Processes(options.out) as processes:
        print(f"[1/3] camera: {_described(options)}", flush=True)
        print(f"[2/3] node: panosam2{f' with {options.model}' if options.model else ''}", flush=True)
        processes.start("node", "panosam2_ros.ros.node", ["--ros-args", *_node_arguments(options)])
        processes.start("camera", "panosam2_ros.demo.virtual_camera", ["--ros-args", *_given(source)])
        page = {"host": options.host, "port": options.port, "next_free_port": True}
        web = processes.start("web", "panosam2_ros.ros.web.node", ["--ros-args", *_given(page)])
        address = _address(processes, web.log or options.out / "web.log", check)
        print(f"[3/3] page: open {address} in a browser\nlogs are in {options.out}; for other programs: "
              f"ROS_DOMAIN_ID={domain}; Ctrl-C ends everything", flush=True)  # fmt: skip
        if options.open:
            webbrowser.open(address)
        while True:
            _wait(processes, check)


def _source(options: argparse.Namespace) -> dict[str, object]:
    """Return the camera's parameters; raise VideoError or PlayError for what it cannot play."""
    if not 0 < options.vertical_fov <= math.pi:
        raise PlayError(f"--vertical-fov must lie in (0, pi] rad, got {options.vertical_fov}")
    if options.rate < 0 or options.width < 0:
        raise PlayError("--rate and --width cannot be negative")
    chosen: dict[str, object] = {"rate": options.rate, "start_when_subscribed": 1}
    if options.scene:
        width = options.width or SCENE_WIDTH
        return chosen | {"source": "synthetic", "seed": options.seed, "width": width, "height": width // 2}
    options.video = options.video or str(package_file(*FOOTAGE))
    frames = open_frames(options.video)
    size = {}
    if options.width:
        size = {"width": options.width, "height": round(frames.height * options.width / frames.width)}
    return chosen | {"source": str(Path(options.video).expanduser().resolve()), "loop": True, **size}


def _described(options: argparse.Namespace) -> str:
    if options.scene:
        return f"a rendered scene, seed {options.seed}"
    real = options.video == str(package_file(*FOOTAGE))
    return "real footage, a bridge in Paris (video by Diego Gonzalez, MIT)" if real else options.video


def _node_arguments(options: argparse.Namespace) -> list[str]:
    # a laptop that takes images more slowly than a video has them is no fault of its network
    own: dict[str, object] = {"vertical_fov": options.vertical_fov, "loss_warning": 0.3}
    return _given(own | {"model": options.model} if options.model else own)


def _given(parameters: dict[str, object]) -> list[str]:
    """Return parameters as arguments of a node."""
    words = {
        name: str(value).lower() if isinstance(value, bool) else value for name, value in parameters.items()
    }
    return [word for name, value in words.items() for word in ("-p", f"{name}:={value}")]


def _address(processes: Processes, log: Path, check: Callable[[], None]) -> str:
    """Wait until the page is served; return its address."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := _ADDRESS.search(text):
            for line in text[: found.start()].splitlines():
                print(line)  # such as that the port was in use
            return found[1]
        _wait(processes, check)
    raise PlayError(f"the page was not served within {_START:.0f} s; {log} says:\n{tail(log)}")


def _wait(processes: Processes, check: Callable[[], None]) -> None:
    """Wait a moment; raise PlayError where a process has ended."""
    check()
    for child in processes.ended():
        raise PlayError(f"the {child.name} ended with status {child.process.returncode}:\n{tail(child.log)}")
    time.sleep(0.1)


if __name__ == "__main__":
    main()
