"""What is evaluated: anything that is shown frames, is pointed at objects, and answers labels.

The frame in which an object starts is stepped first and prompted then, as on a robot: a planner
points into an image that the node has seen already.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from panosam2_ros.evaluation.sequence_score import Report, relabelled
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig

log = logging.getLogger(__name__)

MAX_OBJECTS = 255  # of a sequence; what a palette PNG can hold


@dataclass(frozen=True)
class Answer:
    """What a method says of one frame."""

    labels: LabelImage  # [H, W] the truth's object ids, 0 = none
    reports: Mapping[int, Report] | None = None  # None: derived from the masks


class Method(Protocol):
    """A tracker, or what it is compared with; one instance follows one sequence."""

    def step(self, image: ImageArray, index: int) -> Answer:
        """Find every known object in frame ``index``; indices grow but may leave some out."""
        ...

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Begin to follow objects in the frame last stepped; answers why some were refused."""
        ...


class TrackerMethod:
    """The tracker that the node runs."""

    def __init__(self, model: PanoSAM2, rate: float) -> None:
        """``rate``, Hz: frame ``index`` was taken at ``index / rate`` seconds."""
        self._tracker = PanoTracker(model, TrackerConfig(max_objects=MAX_OBJECTS))
        self._rate = rate
        self._ids: dict[int, int] = {}  # the tracker's -> the truth's

    def step(self, image: ImageArray, index: int) -> Answer:
        frame = self._tracker.step(image, self._stamp(index))
        reports = {
            self._ids[track.obj_id]: Report(
                track.state is TrackState.VISIBLE, track.bearing.direction, track.bearing.covariance
            )
            for track in frame.tracks
        }
        return Answer(relabelled(frame.labels, self._ids), reports)

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        outcomes = self._tracker.prompt(image, self._stamp(index), list(prompts.values()))
        refused: dict[int, str] = {}
        for obj_id, outcome in zip(prompts, outcomes, strict=True):
            if outcome.track is None:
                log.warning("object %d in frame %d: %s", obj_id, index, outcome.message)
                refused[obj_id] = outcome.message
            else:
                self._ids[outcome.track.obj_id] = obj_id
        return refused

    def _stamp(self, index: int) -> int:
        return round(index / self._rate * 1e9)


def with_given(labels: LabelImage, prompts: Mapping[int, Prompt]) -> LabelImage:
    """Labels [H, W] with the masks that were given in this very frame."""
    painted = labels.copy()
    for obj_id, prompt in prompts.items():
        if prompt.mask is not None:
            painted[prompt.mask] = obj_id
    return painted


def rolled_prompt(prompt: Prompt, columns: int, width: int) -> Prompt:
    """The prompt for the image [H, ``width``] rolled right by whole columns."""
    turned = replace(prompt)
    if prompt.mask is not None:
        turned = replace(turned, mask=np.roll(prompt.mask, columns, 1))
    if prompt.box is not None:
        u_min, v_min, u_max, v_max = prompt.box
        ends = [wrapped(u + columns, width) for u in (u_min, u_max)]
        turned = replace(turned, box=(ends[0], v_min, ends[1], v_max))
    if len(prompt.points):
        points: Floats = prompt.points.astype(float).copy()
        points[:, 0] = [wrapped(u + columns, width) for u in points[:, 0]]
        turned = replace(turned, points=points)
    return turned


def wrapped(u: float, width: int) -> float:
    """A column index brought into -0.5..width - 0.5."""
    return float((u + 0.5) % width - 0.5)
