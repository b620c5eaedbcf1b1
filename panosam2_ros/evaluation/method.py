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

from panosam2_ros.data.sequence import Image, Labels, Mask, VideoSequence
from panosam2_ros.data.truth_prompts import deepest_pixel
from panosam2_ros.evaluation.sequence_score import Report, relabelled
from panosam2_ros.geometry.equirect import mask_box
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import FOREGROUND
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig

log = logging.getLogger(__name__)

PROMPT_KINDS = ("mask", "box", "click")
MAX_OBJECTS = 255  # of a sequence; what a palette PNG can hold
_HALF_PIXEL = 0.49  # stays inside the image, whose edge is no part of it
FramePrompts = Mapping[int, Mapping[int, Prompt]]  # frame -> object -> how it is pointed at


@dataclass(frozen=True)
class Answer:
    """What a method says of one frame."""

    labels: Labels  # [H, W] the truth's object ids, 0 = none
    reports: Mapping[int, Report] | None = None  # None: derived from the masks


class Method(Protocol):
    """A tracker, or what it is compared with; one instance follows one sequence."""

    def step(self, image: Image, index: int) -> Answer:
        """Find every known object in frame ``index``; indices grow but may leave some out."""
        ...

    def start(self, image: Image, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Begin to follow objects in the frame last stepped; answers why some were refused."""
        ...


class TrackerMethod:
    """The tracker that the node runs."""

    def __init__(self, model: PanoSAM2, rate: float) -> None:
        """``rate``, Hz: frame ``index`` was taken at ``index / rate`` seconds."""
        self._tracker = PanoTracker(model, TrackerConfig(max_objects=MAX_OBJECTS))
        self._rate = rate
        self._ids: dict[int, int] = {}  # the tracker's -> the truth's

    def step(self, image: Image, index: int) -> Answer:
        frame = self._tracker.step(image, self._stamp(index))
        reports = {
            self._ids[track.obj_id]: Report(
                track.state is TrackState.VISIBLE, track.bearing.direction, track.bearing.covariance
            )
            for track in frame.tracks
        }
        return Answer(relabelled(frame.labels, self._ids), reports)

    def start(self, image: Image, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
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


def truth_prompts(sequence: VideoSequence, kind: str) -> FramePrompts:
    """Every object pointed at in its first frame: its mask, its box or one click."""
    prompts: dict[int, dict[int, Prompt]] = {}
    for obj_id, index in sorted(sequence.first_frames.items()):
        prompt = mask_prompt(sequence.prompt_mask(obj_id), kind)
        prompts.setdefault(index, {})[obj_id] = prompt
    return dict(sorted(prompts.items()))


def mask_prompt(mask: Mask, kind: str) -> Prompt:
    """A true mask as a prompt of a kind: itself, its box, or its deepest pixel."""
    if kind == "mask":
        return Prompt(mask=mask)
    if kind == "click":
        u, v = deepest_pixel(mask)
        return Prompt(points=np.array([[u, v]], float), point_labels=np.array([FOREGROUND]))
    if kind != "box":
        raise ValueError(f"prompts are {', '.join(PROMPT_KINDS)}, got {kind!r}")
    box = mask_box(mask)
    if box is None:
        raise ValueError("an empty mask has no box")
    u_min, v_min, u_max, v_max = (float(x) for x in box)
    if u_min == u_max:  # one column, one row: boxes need an area
        u_min, u_max = u_min - _HALF_PIXEL, u_max + _HALF_PIXEL
    if v_min == v_max:
        v_min, v_max = v_min - _HALF_PIXEL, v_max + _HALF_PIXEL
    return Prompt(box=(u_min, v_min, u_max, v_max))


def with_given(labels: Labels, prompts: Mapping[int, Prompt]) -> Labels:
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
