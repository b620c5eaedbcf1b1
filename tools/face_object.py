"""Run examples/face_object.py against the real node and a camera that turns with it; print figures as JSON.

    python -m tools.face_object --scenes 10

Each scene is rendered from its seed. The camera starts with an object 150 degrees to the left or right; the
object is prompted by a box of its ground truth, and the example turns the camera. A scene succeeds where the
object is within 5 degrees of straight ahead within 15 s of the first image that shows it turning, and stays
there for 8 s, by the ground truth of every image. All times are those of images.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tqdm import tqdm

from panosam2_ros.demo.playback import PlaybackConfig, make_scene
from panosam2_ros.demo.processes import Processes, process_environment, tail
from panosam2_ros.demo.recorder import mono16
from panosam2_ros.geometry.equirect import mask_box
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptResult
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns
from panosam2_ros.simulation.scene import ObjectTruth
from panosam2_ros.srv import PromptObjects

OFF, AHEAD = 150.0, 5.0  # deg: at the start, and what counts as ahead
HOLD, SETTLE = 8.0, 15.0  # s: it must stay ahead, and until then it must be
STEEPEST = math.radians(45)  # of elevation, of an object to face
SIZE = (1024, 512)
# upright, and turned by nothing but the commands; objects move by up to 3.4 degrees per second
SCENE = PlaybackConfig(camera_tilt=0.0, camera_speed=0.0, object_speed=0.06, occlusion=0.0, rate=6.0)


@dataclass(frozen=True)
class Task:
    """A scene, and the object in it to face."""

    config: PlaybackConfig
    object_id: int
    start_yaw: float  # rad, of the camera


@dataclass(frozen=True)
class SceneResult:
    """How a scene ended; times in s from the first command's image."""

    seed: int
    object_id: int
    start_deg: float  # azimuth
    settled_s: float | None  # from then on it was ahead for HOLD
    largest_after_deg: float | None  # deviation in those HOLD seconds
    overshoot_deg: float  # beyond straight ahead, at most
    images: int
    success: bool
    bearing_error_deg: float | None = None  # of the node's azimuth, median over images in which it sees it
    reason: str = ""


def choose_task(config: PlaybackConfig) -> Task | None:
    """Choose the object of a scene that is level enough to face for the whole time; None: there is none."""
    scene = make_scene(config, *SIZE, config.rate)
    frames = [scene.truth(i).objects for i in range(0, int(40 * config.rate), int(4 * config.rate))]
    for truth in sorted(frames[0], key=lambda t: -t.solid_angle):
        path = [next(t for t in objects if t.obj_id == truth.obj_id) for objects in frames]
        if all(abs(math.asin(t.centre[1])) < STEEPEST and t.visible_fraction > 0.7 for t in path):
            side = 1 if config.seed % 2 else -1
            return Task(config, truth.obj_id, side * math.radians(OFF) - _longitude(truth))
    return None


def _longitude(truth: ObjectTruth) -> float:
    x, _, z = truth.direction
    return math.atan2(x, z)


class Judge(Node):
    """Takes the ground truth, prompts the object, and measures."""

    def __init__(self) -> None:
        super().__init__("judge")
        self.truth: dict[int, ObjectBearingArray] = {}
        self.masks: dict[int, Image] = {}
        self._begin = 0  # ns; what is older belongs to the scene before
        self.told: dict[int, ObjectBearingArray] = {}  # what the node says, by stamp
        self.create_subscription(ObjectBearingArray, "virtual_camera/true_bearings", self._on_truth, 50)
        self.create_subscription(ObjectBearingArray, "panosam2/bearings", self._on_told, 50)
        self.create_subscription(Image, "virtual_camera/true_masks", self._on_masks, 5)

    def begin(self) -> None:
        """Forget what came, and ignore images from before now."""
        self._begin = time.time_ns()
        self.truth.clear()
        self.masks.clear()
        self.told.clear()

    def _on_told(self, message: ObjectBearingArray) -> None:
        self.told[stamp_to_ns(message.header.stamp)] = message

    def bearing_errors(self, true_id: int, known: int) -> list[float]:
        """Return how far, deg, the node's azimuth of an object was from the true one, image by image."""
        true = {round(t * 1e9): azimuth for t, azimuth in self.azimuths(true_id)}
        errors = []
        for stamp, message in self.told.items():
            near = [azimuth for t, azimuth in true.items() if abs(t - stamp) < 1000]  # s are rounded
            errors += [
                abs(math.remainder(math.degrees(item.azimuth) - near[0], 360))
                for item in message.objects
                if item.object_id == known and near and item.state == ObjectBearing.STATE_VISIBLE
            ]
        return errors

    def _on_truth(self, message: ObjectBearingArray) -> None:
        if (stamp := stamp_to_ns(message.header.stamp)) >= self._begin:
            self.truth[stamp] = message

    def _on_masks(self, message: Image) -> None:
        if (stamp := stamp_to_ns(message.header.stamp)) >= self._begin:
            self.masks[stamp] = message
        while len(self.masks) > 20:
            del self.masks[min(self.masks)]

    def spin_until(self, condition: Callable[[], Any], timeout: float, what: str) -> None:
        """Spin until a condition holds; raise RuntimeError where it does not in time."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{what}: not within {timeout:g} s")
            rclpy.spin_once(self, timeout_sec=0.05)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Return a service's answer."""
        client = self.create_client(kind, f"panosam2/{name}")
        self.spin_until(client.service_is_ready, 120.0, f"service {name}")
        answer = client.call_async(request)
        self.spin_until(answer.done, 60.0, f"answer of {name}")
        self.destroy_client(client)
        return answer.result()

    def newer_stamp(self) -> int:
        """Wait for the ground truth of an image newer than all before; return its stamp, ns."""
        last = max(self.masks, default=0)
        self.spin_until(lambda: max(self.masks, default=0) > last, 60.0, "an image with its truth")
        return max(self.masks)

    def prompt(self, true_id: int) -> int:
        """Prompt an object by the box of its ground truth; return the node's id of it."""
        for _ in range(10):
            stamp = self.newer_stamp()
            box = mask_box(np.asarray(mono16(self.masks[stamp]) == true_id))
            if box is None:
                continue
            prompt = ObjectPrompt(box=[float(c) for c in box], label="it")
            self.newer_stamp()  # the node has the image of that stamp, too
            request = PromptObjects.Request(stamp=ns_to_stamp(stamp), prompts=[prompt])
            result = self.call(PromptObjects, "prompt", request).results[0]
            if result.code == PromptResult.OK:
                return int(result.bearing.object_id)
        raise RuntimeError(f"the prompt was refused ten times: {result.message}")

    def azimuths(self, true_id: int) -> list[tuple[float, float]]:
        """Return the stamps, s, and the object's true azimuths, deg, of all images."""
        found = []
        for stamp, message in sorted(self.truth.items()):
            (item,) = [i for i in message.objects if i.object_id == true_id]
            azimuth = math.atan2(-item.direction.x, item.direction.z)
            found.append((stamp * 1e-9, math.degrees(azimuth)))
        return found


def measure(task: Task, track: Sequence[tuple[float, float]]) -> SceneResult:
    """Return the result of a scene from the true azimuths, deg, of its images after the first command."""
    began, start = track[0]
    outside = [t for t, azimuth in track if abs(azimuth) > AHEAD]
    inside = [(t, a) for t, a in track if not outside or t > outside[-1]]
    held = bool(inside) and inside[-1][0] - inside[0][0] >= HOLD
    settled = inside[0][0] - began if held else None
    # the way is -150..0: beyond straight ahead the sign changes; half a turn off it is no overshoot
    beyond = [-math.copysign(1.0, start) * a for _, a in track if abs(a) < 90]
    success = settled is not None and settled <= SETTLE
    return SceneResult(
        seed=task.config.seed,
        object_id=task.object_id,
        start_deg=round(start, 1),
        settled_s=None if settled is None else round(settled, 1),
        largest_after_deg=round(max(abs(a) for _, a in inside), 2) if held else None,
        overshoot_deg=round(max([0.0, *beyond]), 1),
        images=len(track),
        success=success,
        reason="" if success else "it was not ahead in time, or did not stay there",
    )


def run_scene(judge: Judge, task: Task, folder: Path) -> SceneResult:
    """Run camera and example for one scene, beside a node that runs."""
    own = {
        "source": "synthetic", "width": SIZE[0], "height": SIZE[1], "follow_cmd_vel": True,
        "start_yaw": task.start_yaw, "start_when_subscribed": 1,
    }  # fmt: skip
    for name in ("rate", "seed", "objects", "distractors", "object_speed", "camera_speed", "camera_tilt"):
        own[name] = getattr(task.config, name)
    own["occlusion"] = task.config.occlusion
    given = [word for name, value in own.items() for word in ("-p", f"{name}:={value}")]
    judge.call(Trigger, "reset", Trigger.Request())
    judge.begin()
    with Processes(folder) as processes:
        processes.start("camera", "panosam2_ros.demo.virtual_camera", ["--ros-args", *given])
        known = judge.prompt(task.object_id)
        arguments = ["--ros-args", "-p", f"object_id:={known}"]
        example = processes.start("face_object", "examples.face_object", arguments)

        def began() -> bool:
            track = judge.azimuths(task.object_id)
            return abs(abs(track[-1][1]) - abs(track[0][1])) > 8.0

        judge.spin_until(began, 60.0, f"the first turn{tail(example.log)}")
        first = max(judge.truth)
        enough = (SETTLE + HOLD) * 1e9

        def over() -> bool:
            track = _since(judge.azimuths(task.object_id), first * 1e-9)
            return bool(max(judge.truth) - first > enough or measure(task, track).success)

        judge.spin_until(over, 3 * (SETTLE + HOLD), "the end of the scene")
        track = judge.azimuths(task.object_id)
    errors = judge.bearing_errors(task.object_id, known)
    result = measure(task, _since(track, first * 1e-9))
    error = round(float(np.median(errors)), 2) if errors else None
    return replace(result, start_deg=round(track[0][1], 1), bearing_error_deg=error)


def _since(track: Sequence[tuple[float, float]], begin: float) -> list[tuple[float, float]]:
    return [(t, a) for t, a in track if t >= begin]


def run_scenes(
    count: int, folder: Path, *, model: str = "", config: PlaybackConfig = SCENE
) -> list[SceneResult]:
    """Run that many scenes, with seeds from ``config.seed`` on; one without an object to face is left out."""
    tasks: list[Task] = []
    seed = config.seed
    while len(tasks) < count:
        task = choose_task(replace(config, seed=seed))
        tasks += [task] if task else []
        seed += 1
    chosen = ["--ros-args", *(["-p", f"model:={model}"] if model else [])]
    results = []
    with Processes(folder) as processes:
        processes.start("node", "panosam2_ros.ros.node", chosen)
        judge = Judge()
        try:
            for task in tqdm(tasks, unit="scene", disable=not sys.stderr.isatty()):
                try:
                    results.append(run_scene(judge, task, folder))
                except RuntimeError as error:
                    failed = SceneResult(task.config.seed, task.object_id, OFF, None, None, 0.0, 0, False)
                    results.append(replace(failed, reason=str(error)))
        finally:
            judge.destroy_node()
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the scenes and print the figures; exit with 1 where fewer than nine in ten succeed."""
    parser = argparse.ArgumentParser(prog="tools.face_object", description=__doc__)
    parser.add_argument("--scenes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=SCENE.seed, help="of the first scene")
    speed = SCENE.object_speed
    parser.add_argument("--object-speed", type=float, default=speed, help=f"rad/s at most; default {speed:g}")
    parser.add_argument("--model", default="", help="name or weights file; default: the node's own")
    parser.add_argument("--out", type=Path, help="folder for the logs; default: a temporary one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="face_object_") as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(process_environment(folder))
        rclpy.init()
        config = replace(SCENE, seed=options.seed, object_speed=options.object_speed)
        results = run_scenes(options.scenes, folder, model=options.model, config=config)
        rclpy.shutdown()
    good = [result for result in results if result.success]
    report = {
        "scenes": len(results),
        "succeeded": len(good),
        "settled_s_median": float(np.median([r.settled_s for r in good])) if good else None,
        "largest_after_deg": max((r.largest_after_deg or 0.0 for r in good), default=None),
        "results": [asdict(result) for result in results],
    }
    print(json.dumps(report, indent=2))
    sys.exit(0 if len(good) >= 0.9 * len(results) else 1)


if __name__ == "__main__":
    main()
