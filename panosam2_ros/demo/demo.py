"""`panosam2_demo`: run a 360 camera, the node and a planner as processes, and report the results.

By default the camera renders a scene with ground truth, made of pictures that no shipped model was
trained on. With --video it plays a recording, and --box and --click name the objects to track.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from panosam2_ros.demo.pictures import contact_picture, ruled, write_video
from panosam2_ros.demo.processes import Child, Processes, tail
from panosam2_ros.demo.recording import Recording
from panosam2_ros.demo.report import DemoRun
from panosam2_ros.demo.rerun_demo import write_demo
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.io.interruption import Interrupted, interruptible
from panosam2_ros.io.read_report import EXIT_STATUS
from panosam2_ros.io.video import VideoError
from panosam2_ros.ros.dds import loss_remedy
from panosam2_ros.visualization.rerun_recording import RerunError, check_rerun

FRAMES, RATE, SCENE_SEED = 240, 6.0, 7  # scene 7: seam crossings of all three, one occlusion
RECEIVED = 0.95  # of the published images, at least
LEGEND = "in colour: the node's masks, with id, azimuth and elevation"
_WIDTH = 1920  # of the synthetic scene's images, unless --width says otherwise
_START = 240.0  # s for models and pictures to be ready
_MOST_FRAMES = 10**6  # of a video that does not say how many it has
_LONGEST_BUFFER = 2048  # MiB


class DemoError(RuntimeError):
    """The demo has no result; the message says why, and what to do."""


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="panosam2_demo", description=__doc__)
    add = parser.add_argument
    add("--video", help="a video, or a folder of images, instead of the synthetic scene")
    boxed = "with --video: a box round an object, in pixels of the first frame; U0 > U1: it crosses the seam"
    clicked = "with --video: a pixel on an object; repeat --box and --click for more objects"
    add("--box", type=_numbers(4), action="append", default=[], metavar="U0,V0,U1,V1", help=boxed)
    add("--click", type=_numbers(2), action="append", default=[], metavar="U,V", help=clicked)
    add("--frames", type=int, default=0, help=f"default {FRAMES}, or the whole video")
    add("--rate", type=float, default=0.0, help=f"Hz; default {RATE}, or the video's own")
    add("--width", type=int, default=0, help="of the images; default 1920, or the video's own")
    cropped = "rad, of the images; below pi they are cropped above and below; default: pi, a full sphere"
    add("--vertical-fov", type=float, default=math.pi, help=cropped)
    add("--seed", type=int, default=SCENE_SEED, help="of the synthetic scene")
    add("--objects", type=int, default=4, help="in the synthetic scene; three are tracked")
    add("--model", default="", help="name or weights file; default: the node's own")
    add("--out", type=Path, default=Path("out"), help="folder for demo.json, .mp4, .png and logs")
    add("--rerun", type=Path, metavar="FILE.rrd", help="also write a recording for the Rerun viewer")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo; exit with 0 after a complete run, 1 without a result, 130 or 143 after a signal."""
    options = parse_options(arguments)
    try:
        with interruptible(signal.SIGINT, signal.SIGTERM) as check:
            run_demo(options, check)
    except (DemoError, VideoError, RerunError, OSError) as error:
        sys.exit(f"panosam2_demo: {error}")
    except Interrupted as interrupted:
        print("\ninterrupted: all processes have ended", file=sys.stderr)
        sys.exit(interrupted.status)


def run_demo(options: argparse.Namespace, check: Callable[[], None]) -> None:
    """Run all processes and write the results; raise DemoError where there is none.

    ``check`` is called all the time, and raises what is to end the run.
    """
    check_options(options)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="panosam2_demo_") as folder:
        run_processes(options, Path(folder), check)
        with Recording(Path(folder)) as recording:
            finish(options, DemoRun(recording))


def check_options(options: argparse.Namespace) -> None:
    """Raise DemoError for options that contradict each other, or that the video does not fit."""
    prompts = options.box + options.click
    if options.rerun:
        check_rerun(options.rerun)
    if not 0 < options.vertical_fov <= math.pi:
        raise DemoError(f"--vertical-fov must lie in (0, pi] rad, got {options.vertical_fov}")
    if options.video is None:
        options.height, options.vertical_fov = synthetic_size(options)
        if prompts:
            raise DemoError("--box and --click need --video: the synthetic scene has prompts of its own")
        return
    source = open_frames(options.video)
    width = options.width or source.width
    grid = Equirect(width, round(source.height * width / source.width), options.vertical_fov)
    if not prompts:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / "first_frame.png"
        first = ruled(next(iter(source)))
        cv2.imwrite(str(path), cv2.cvtColor(first, cv2.COLOR_RGB2BGR))
        raise DemoError(
            f"name the objects to track in {options.video}: --click U,V (repeat for more objects) or "
            f"--box U0,V0,U1,V1 (U0 > U1: across the seam), in pixels of its first frame, which is "
            f"{grid.width}x{grid.height}; {path} shows it with rulers.\nWith make: make demo "
            f"VIDEO={options.video} ARGS='--click {grid.width // 2},{grid.height // 2}'"
        )
    for point in [(b[i], b[i + 1]) for b in options.box for i in (0, 2)] + options.click:
        if not grid.contains(*point):
            raise DemoError(f"{point} is outside the video's {grid.width}x{grid.height} pixels")


def synthetic_size(options: argparse.Namespace) -> tuple[int, float]:
    """Return height and exact vertical field of view, rad, of a synthetic scene's images.

    They have whole rows of a full sphere, as many above the horizon as below.
    """
    full = (options.width or _WIDTH) // 2
    cut = round(full * (1 - options.vertical_fov / math.pi) / 2)
    height = full - 2 * cut
    if height < 1:
        raise DemoError(f"--vertical-fov {options.vertical_fov:g} leaves no rows of {full}")
    return height, math.pi * height / full


def run_processes(options: argparse.Namespace, folder: Path, check: Callable[[], None]) -> None:
    """Run camera, node and planner until the planner has ended."""
    frames, rate = _length(options)
    print(f"[1/4] camera: {_source_text(options, frames, rate)}")
    print(f"[2/4] node: panosam2{f' with {options.model}' if options.model else ''}")
    print("[3/4] planner: prompts through ~/prompt, reads ~/masks and ~/bearings", flush=True)
    task = {
        "folder": str(folder),
        "frames": frames,
        "boxes": options.box,
        "clicks": options.click,
        "from_ground_truth": options.video is None,
        "start_timeout": _START,
        "vertical_fov": options.vertical_fov,
    }
    own = ["-p", f"vertical_fov:={options.vertical_fov}"]
    own += ["-p", f"model:={options.model}"] if options.model else []
    with Processes(options.out) as processes:
        processes.start("node", "panosam2_ros.ros.node", ["--ros-args", *own])
        processes.start("camera", "panosam2_ros.demo.virtual_camera", camera_arguments(options))
        planner = processes.start("planner", "panosam2_ros.demo.planner", [json.dumps(task)], quiet=False)
        longest = _START + 60.0 + 3.0 * (frames or _MOST_FRAMES) / rate
        wait(processes, planner, longest, check)
        camera = processes.find("camera")
        if camera.process.poll() == EXIT_STATUS:
            print(tail(camera.log, 1), file=sys.stderr)


def wait(processes: Processes, planner: Child, longest: float, check: Callable[[], None]) -> None:
    """Wait until the planner has ended with status 0; raise DemoError for any other end."""
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        check()
        for child in processes.ended():
            status = child.process.returncode
            if child is planner and status == 0:
                return
            if child.name != "camera" or status not in (0, EXIT_STATUS):
                logs = _logs({child.name: child, "node": processes.find("node")})
                raise DemoError(f"the {child.name} ended with status {status}{logs}")
        time.sleep(0.1)
    raise DemoError(
        f"the planner did not end within {longest:.0f} s{_logs({'node': processes.find('node')})}"
    )


def finish(options: argparse.Namespace, run: DemoRun) -> None:
    """Write and print the numbers, the picture and the video."""
    report = run.report() | {"settings": vars(options)}
    target = options.out / "demo.json"
    target.write_text(json.dumps(report, indent=2, default=str) + "\n")
    if not run.stamps:
        raise DemoError(f"the node published no result{tail(options.out / 'node.log')}")
    often = 0.5 if sys.stderr.isatty() else 5.0
    with tqdm(run.stamps, desc="[4/4] video", unit="frame", mininterval=often) as bar:
        write_video(run, options.out / "demo.mp4", bar.update)
    legend = LEGEND + ("" if report["mean_iou"] is None else "; white outlines: the ground truth")
    picture = contact_picture(run, [*summary(report), legend])
    cv2.imwrite(str(options.out / "demo.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    print()
    for line in summary(report) + objects(report) + warnings(report):
        print(line)
    written = [target, options.out / "demo.mp4", options.out / "demo.png"]
    if options.rerun:
        written.append(write_demo(run, options.rerun))
    print(f"written: {', '.join(map(str, written))}")


def summary(report: dict[str, Any]) -> list[str]:
    """Return the totals as lines of text."""
    lines = [
        "frames: {frames_published} published, {frames_received} received, {frames_processed} "
        "processed, {frames_dropped} dropped for newer ones".format(**report)
        + f"; {_number(report['hz'], 1)} Hz, latency {_number(report['latency_ms_p50'])} ms "
        f"(p95 {_number(report['latency_ms_p95'])} ms)"
    ]
    if report["mean_iou"] is None:
        return [*lines, "no ground truth to compare with: look at the picture and the video"]
    return [
        *lines,
        f"against the ground truth: mean IoU {_number(report['mean_iou'], 3)} over {report['pairs']} "
        f"object-frames, on the seam {_number(report['mean_iou_on_seam'], 3)}; bearing error "
        f"{_number(report['bearing_error_deg_median'], 2)} deg "
        f"(p95 {_number(report['bearing_error_deg_p95'], 2)} deg)",
    ]


def objects(report: dict[str, Any]) -> list[str]:
    """Return one line for each prompt."""
    lines = []
    for item in report["objects"]:
        how = item["prompt"] + (" across the seam" if item["prompt_crosses_seam"] else "")
        if not item["success"]:
            lines.append(f"  {how}: REFUSED: {item['message'] or 'no reason given'}")
            continue
        line = f"  id {item['object_id']} '{item['label']}' by {how}"
        if item["mean_iou"] is not None:
            line += (
                f": IoU {item['mean_iou']:.3f}, bearing error "
                f"{_number(item['bearing_error_deg_median'], 2)} deg, {item['pairs']} frames"
            )
        lines.append(line)
    return lines or ["  NO PROMPTS: no frame showed three objects; try another --seed"]


def warnings(report: dict[str, Any]) -> list[str]:
    """Return warnings on the run."""
    share, found = report["received_share"], []
    if share is not None and share < RECEIVED:
        found.append(
            f"WARNING: only {100 * share:.0f} % of the published images were received; "
            + loss_remedy(os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"))
        )
    known, asked = report["mean_iou"] is not None, report["objects"]
    if known and not any(item["prompt_crosses_seam"] for item in asked):
        found.append("note: no object lay across the seam in time, so the box does not cross it")
    return found


def camera_arguments(options: argparse.Namespace) -> list[str]:
    """Return the camera's parameters as arguments."""
    frames, rate = _length(options)
    parameters = {
        "source": options.video or "synthetic",
        "frames": frames,
        "rate": rate if options.video is None else options.rate,  # 0.0: at the times of its frames
        "width": options.width,
        "height": 0,
        "seed": options.seed,
        "objects": options.objects,
        "start_when_subscribed": 2,  # the node and the planner
        "fill_first": True,
        "buffer_mib": _buffer_mib(),
    }
    if options.video is None:
        parameters |= {"height": options.height, "vertical_fov": options.vertical_fov}
    given = [f"{name}:={value}" for name, value in parameters.items()]
    return ["--ros-args", *(word for setting in given for word in ("-p", setting))]


def _length(options: argparse.Namespace) -> tuple[int, float]:
    """Return the number of frames, 0 where it is unknown, and the rate, Hz."""
    if options.video is None:
        return options.frames or FRAMES, options.rate or RATE
    source = open_frames(options.video)
    known = [frames for frames in (options.frames, source.frames) if frames]
    return min(known, default=0), options.rate or source.rate or 10.0


def _source_text(options: argparse.Namespace, frames: int, rate: float) -> str:
    if options.video is None:
        width = options.width or _WIDTH
        scene = f"a synthetic scene (seed {options.seed}, pictures the model never saw)"
        return f"{scene}, {width}x{options.height}, {frames} frames at {rate:g} Hz"
    return f"{options.video}, {frames or 'all'} frames at {rate:g} Hz"


def _buffer_mib() -> int:
    """Return how much memory may hold frames that are rendered beforehand."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return max(64, min(_LONGEST_BUFFER, free // 3))


def _logs(children: dict[str, Child]) -> str:
    texts = [(child.log, tail(child.log)) for child in children.values()]
    return "".join(f"\n--- {log}\n{text}" for log, text in texts if text)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _numbers(count: int) -> Any:
    def numbers(text: str) -> tuple[float, ...]:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"needs {count} numbers separated by commas, got {text!r}")
        return values

    return numbers


if __name__ == "__main__":
    main()
