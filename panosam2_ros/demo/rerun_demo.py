"""Write the demo's recording for the Rerun viewer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from panosam2_ros.demo.recording import Seen
from panosam2_ros.demo.report import DemoRun
from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.visualization.rerun_recording import LoggedObject, RerunError, RerunRecording


def write_demo(run: DemoRun, path: Path) -> Path:
    """Write every processed frame whose image the planner received; raise RerunError where there is none."""
    received = set(run.recording.stamps("image"))
    stamps = [stamp for stamp in run.stamps if stamp in received]
    if not stamps:
        raise RerunError(f"{path} is not written: the planner received no image that was processed")
    first = _image(run, stamps[0])
    grid = Equirect(first.shape[1], first.shape[0], run.vertical_fov)
    labels = {seen.obj_id: seen.label for stamp in stamps for seen in _objects(run, stamp)}
    with RerunRecording(path, grid, labels) as recording:
        for index, stamp in enumerate(tqdm(stamps, "rerun", unit="frame")):
            masks = run.labels(stamp)
            shown = np.zeros((grid.height, grid.width), np.uint16) if masks is None else masks
            objects = [_logged(seen) for seen in _objects(run, stamp)]
            recording.write(index, stamp, _image(run, stamp), shown, objects)
            asked = [prompt for prompt in run.prompts if prompt["stamp"] == stamp]
            if asked:
                scale = grid.width / shown.shape[1]
                recording.write_prompts([_prompt(values, grid, scale) for values in asked])
    return path


def _image(run: DemoRun, stamp: int) -> ImageArray:
    """Decode the image of a frame, which is there."""
    bgr = cv2.imdecode(np.frombuffer(run.recording.get("image", stamp), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB), np.uint8)


def _objects(run: DemoRun, stamp: int) -> Sequence[Seen]:
    bearings = run.bearings(stamp)
    return bearings.objects if bearings else ()


def _logged(seen: Seen) -> LoggedObject:
    covariance = np.array(seen.covariance).reshape(2, 2)
    bearing = Bearing(np.array(seen.direction), covariance, *seen.extent, 0.0)
    state = TrackState(seen.state)
    speed = math.nan if seen.angular_speed is None else seen.angular_speed
    return LoggedObject(seen.obj_id, seen.label, state, seen.score, bearing, speed)


def _prompt(values: dict[str, Any], grid: Equirect, scale: float) -> Prompt:
    """Make a prompt in pixels of the grid; ``scale``: those per pixel of the prompted image."""
    if values["kind"] == "box":
        u_min, v_min, u_max, v_max = ((x + 0.5) * scale - 0.5 for x in values["box"])
        return Prompt(label=values["label"], box=(u_min, v_min, u_max, v_max))
    if values["kind"] == "click":
        point = [(x + 0.5) * scale - 0.5 for x in values["click"]]
    else:
        point = [float(x) for x in grid.vector_to_pixel(values["direction"])]
    return Prompt(label=values["label"], points=np.array([point]), point_labels=np.ones(1, np.int64))
