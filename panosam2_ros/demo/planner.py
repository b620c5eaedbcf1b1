"""Node `planner`: does with panosam2 what a task planner does, and records all that it receives.

Waits for the node's prompt service and for an image with objects to prompt, prompts once, then reads
`~/masks` and `~/bearings` until the camera has finished. The demo runs it as a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from tqdm import tqdm

from panosam2_ros.demo.asked_prompt import AskedPrompt, describe_prompt, prompt_message
from panosam2_ros.demo.recorder import Recorder, mono16
from panosam2_ros.demo.recording import Bearings, Seen
from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, PromptResult
from panosam2_ros.ros.conversion.messages import camera_frame, ns_to_stamp, stamp_to_ns
from panosam2_ros.ros.dds import keep_buffers
from panosam2_ros.ros.spin import ros_running
from panosam2_ros.simulation.simulated_prompts import PlannedPrompt, plan_prompts
from panosam2_ros.srv import PromptObjects

_QUIET = 2.5  # s without a new result after the camera's last frame: the run is over
_SEAM_SHARE = 1 / 4  # of the run, in which the planner waits for an object on the seam


@dataclass(frozen=True)
class PlannerTask:
    """What the planner has to do."""

    folder: str  # for the recording
    frames: int = 0  # that the camera will publish; 0: unknown
    boxes: tuple[tuple[float, ...], ...] = ()  # u_min, v_min, u_max, v_max
    clicks: tuple[tuple[float, ...], ...] = ()  # u, v
    from_ground_truth: bool = True  # derive the prompts from the camera's ground truth instead
    start_timeout: float = 120.0  # s until images come
    silence_timeout: float = 30.0  # s without any message in mid-run
    vertical_fov: float = math.pi  # rad, of the images


@dataclass
class _Progress:
    camera: dict[str, str] = field(default_factory=dict)  # newest diagnostics
    node: dict[str, str] = field(default_factory=dict)
    images: int = 0
    results: int = 0
    newest: float = field(default_factory=time.monotonic)  # of any message


class Planner(Node):
    """A node that subscribes, prompts and records; the caller spins it through ``run``."""

    def __init__(self, task: PlannerTask) -> None:
        super().__init__("planner")
        self._task, self._progress = task, _Progress()
        self._frame_of: dict[str, CameraFrame] = {}
        self._ground_truth: dict[int, dict[str, Any]] = {}  # by stamp, until the prompts are sent
        self._ground_truth_frames = 0
        self._asked: list[AskedPrompt] = []
        self._answer: Any = None
        self._sent = 0.0
        self._recorder = Recorder(Path(task.folder))
        self._client = self.create_client(PromptObjects, "/panosam2/prompt")
        self._images: Subscription[Image] | None = None
        subscribe = self.create_subscription
        self._needed: list[Subscription[Any]] = [
            subscribe(Image, "/panosam2/masks", self._on_masks, 20),
            subscribe(ObjectBearingArray, "/panosam2/bearings", self._on_bearings, 20),
        ]
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 20)
        if task.from_ground_truth:
            camera = "/virtual_camera"
            self._needed += [
                subscribe(Image, f"{camera}/true_masks", self._on_true_masks, 20),
                subscribe(ObjectBearingArray, f"{camera}/true_bearings", self._on_true_bearings, 20),
            ]

    def run(self) -> None:
        """Run until the camera has finished and the last result is in; raise RuntimeError where it stalls."""
        total = self._task.frames or None
        often = 0.5 if sys.stderr.isatty() else 5.0
        with tqdm(total=total, unit="frame", mininterval=often) as bar:
            while not self._over():
                rclpy.spin_once(self, timeout_sec=0.1)
                self._subscribe_to_images()
                self._look_at_answer(bar)
                bar.set_description(self._activity(), refresh=False)
                bar.update(self._progress.results - bar.n)
        summary = {
            "prompts": [asked.summary() for asked in self._asked],
            "camera": self._progress.camera,
            "node": self._progress.node,
            "images": self._progress.images,
            "vertical_fov": self._task.vertical_fov,
        }
        self._recorder.close(summary)

    def _subscribe_to_images(self) -> None:
        """Subscribe to images once all else is connected: the demo's camera starts at this subscriber."""
        if self._images is not None or not self._client.service_is_ready():
            return
        if all(subscription.get_publisher_count() for subscription in self._needed):
            lossy = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._images = self.create_subscription(Image, "image", self._on_image, lossy)

    def _activity(self) -> str:
        progress = self._progress
        if progress.images:
            return f"tracking, {progress.node.get('rate_hz', '-')} Hz"
        ready, total = (progress.camera.get(f"frames_{key}", "-") for key in ("ready", "total"))
        return f"camera renders ahead {ready}/{total}, node {progress.node.get('state', 'starting')}"

    def _over(self) -> bool:
        progress, quiet = self._progress, time.monotonic() - self._progress.newest
        if progress.camera.get("finished") == "True":
            return quiet > _QUIET
        limit = self._task.silence_timeout if progress.images else self._task.start_timeout
        if quiet > limit:
            what = "any message arrived" if progress.images else "the first image arrived"
            raise RuntimeError(f"{limit:.0f} s passed before {what}")
        return False

    def _on_image(self, message: Image) -> None:
        self._heard()
        self._progress.images += 1
        stamp = stamp_to_ns(message.header.stamp)
        self._recorder.put("image", stamp, message)
        if not self._task.from_ground_truth and not self._asked:
            plans = [PlannedPrompt("box", f"box {i}", box=b) for i, b in _from_1(self._task.boxes)]
            plans += [PlannedPrompt("click", f"click {i}", click=c) for i, c in _from_1(self._task.clicks)]
            self._ask(stamp, message.header.frame_id, plans)

    def _on_masks(self, message: Image) -> None:
        self._recorder.put("masks", stamp_to_ns(message.header.stamp), message)

    def _on_true_masks(self, message: Image) -> None:
        stamp = stamp_to_ns(message.header.stamp)
        self._recorder.put("true_masks", stamp, message)
        self._consider(stamp, masks=message)

    def _on_true_bearings(self, message: ObjectBearingArray) -> None:
        stamp = stamp_to_ns(message.header.stamp)
        self._recorder.put("true_bearings", stamp, self._bearings(message))
        self._consider(stamp, bearings=message)

    def _on_bearings(self, message: ObjectBearingArray) -> None:
        bearings = self._bearings(message)
        self._heard()
        self._progress.results += 1
        self._recorder.put("bearings", stamp_to_ns(message.header.stamp), bearings)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if status.name.startswith("virtual_camera"):
                self._progress.camera = values
            elif "panosam2" in status.name:
                self._progress.node |= values
                # an active node only lacks images: the camera may render ahead for longer than its time-out
                starting = not self._progress.images and values.get("state") != "active"
                if status.level == DiagnosticStatus.ERROR and starting:
                    raise RuntimeError(f"the node reports: {status.message}")

    def _heard(self) -> None:
        self._progress.newest = time.monotonic()

    def _axes(self, frame_id: str) -> CameraFrame:
        return self._frame_of.setdefault(frame_id, camera_frame("auto", frame_id, 0.0, 0.0, 0.0))

    def _bearings(self, message: ObjectBearingArray) -> Bearings:
        received, axes = time.time_ns(), self._axes(message.header.frame_id)
        return Bearings(received, tuple(_seen(item, axes) for item in message.objects))

    def _consider(self, stamp: int, **parts: Any) -> None:
        """Prompt on the first frame that has an object on the seam and two others in sight."""
        if self._asked:
            return
        truth = self._ground_truth.setdefault(stamp, {})
        truth.update(parts)
        if len(truth) < 2:
            return
        del self._ground_truth[stamp]
        self._ground_truth_frames += 1
        labels = mono16(truth["masks"])
        names = {item.object_id: item.label for item in truth["bearings"].objects}
        grid = Equirect(labels.shape[1], labels.shape[0], self._task.vertical_fov)
        waited = self._ground_truth_frames > max(self._task.frames * _SEAM_SHARE, 10)
        plans = plan_prompts(labels, names, grid, need_seam=not waited)
        if plans:
            self._ask(stamp, truth["masks"].header.frame_id, plans)

    def _ask(self, stamp: int, frame_id: str, plans: Sequence[PlannedPrompt]) -> None:
        request = PromptObjects.Request(stamp=ns_to_stamp(stamp))
        request.prompts = [prompt_message(plan, self._axes(frame_id)) for plan in plans]
        self._asked = [AskedPrompt(plan, stamp) for plan in plans]
        self._sent = time.monotonic()
        self._answer = self._client.call_async(request)

    def _look_at_answer(self, bar: tqdm[Any]) -> None:
        if self._answer is None or not self._answer.done():
            return
        answer, self._answer = self._answer.result(), None
        took = 1e3 * (time.monotonic() - self._sent)
        for i, asked in enumerate(self._asked):
            asked.answer_ms = took
            asked.message = answer.message
            if i < len(answer.results):
                result = answer.results[i]
                asked.success = result.code == PromptResult.OK
                asked.obj_id = result.bearing.object_id
                asked.message = result.message
            bar.write(f"planner: {describe_prompt(asked)}", file=sys.stdout)
        sys.stdout.flush()


def _from_1(values: Sequence[tuple[float, ...]]) -> Iterator[tuple[int, tuple[float, ...]]]:
    return enumerate(values, start=1)


def _seen(item: ObjectBearing, axes: CameraFrame) -> Seen:
    direction = axes.from_frame([item.direction.x, item.direction.y, item.direction.z])
    x, y, z = (float(c) for c in direction)
    turning = item.angular_velocity
    speed = math.hypot(turning.x, turning.y, turning.z)
    return Seen(
        item.object_id,
        item.label,
        item.state == ObjectBearing.STATE_VISIBLE,
        item.state,
        item.score,
        (x, y, z),
        covariance=tuple(float(value) for value in item.direction_covariance),
        extent=(item.extent_horizontal, item.extent_vertical),
        angular_speed=None if math.isnan(speed) else speed,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the planner; its one argument is the task as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", type=json.loads, help="the fields of PlannerTask as JSON")
    task = parser.parse_args(arguments).task
    for name in ("boxes", "clicks"):
        task[name] = tuple(tuple(values) for values in task.get(name, ()))
    keep_buffers()
    cv2.setNumThreads(1)  # the node needs the cores more
    finished = False
    try:
        with ros_running([]):
            planner = Planner(PlannerTask(**task))
            try:
                planner.run()
                finished = True
            finally:
                planner.destroy_node()
    except RuntimeError as error:
        sys.exit(f"planner: {error}")
    if not finished:
        sys.exit(130)  # the demo says that it was interrupted


if __name__ == "__main__":
    main()
