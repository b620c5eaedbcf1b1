"""Methods to evaluate: they get frames and prompts, and predict label images.

The frame in which an object starts is tracked first and prompted then, as on a robot, where a planner prompts
in an image that the node has processed already.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from panosam2_ros.evaluation.sequence_score import BearingReport, relabel
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.tracker import PanoTracker

log = logging.getLogger(__name__)

MAX_OBJECTS = 255  # of a sequence, as many as a palette PNG can hold


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction of a method for one frame."""

    labels: LabelImage  # [H, W] object ids of the ground truth, 0 = none
    reports: Mapping[int, BearingReport] | None = None  # None: derived from the masks


class Method(Protocol):
    """A tracker or a baseline; one instance tracks one sequence."""

    def step(self, image: ImageArray, index: int) -> Prediction:
        """Track all known objects in frame ``index``; indices grow and may leave frames out."""
        ...

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Prompt objects in the frame last tracked; return the reasons of refused prompts by object."""
        ...


class TrackerMethod:
    """The tracker of the node."""

    def __init__(self, model: PanoSAM2, rate: float, config: TrackerConfig | None = None) -> None:
        """Make a tracker; ``rate``: of the frames, Hz."""
        self._tracker = PanoTracker(model, config or TrackerConfig(max_objects=MAX_OBJECTS))
        self._rate = rate
        self._ids: dict[int, int] = {}  # the tracker's id -> id of the ground truth

    def step(self, image: ImageArray, index: int) -> Prediction:
        """Track all known objects in frame ``index``."""
        frame = self._tracker.step(image, self._stamp(index))
        reports = {
            self._ids[track.obj_id]: BearingReport(
                track.state is TrackState.VISIBLE, track.bearing.direction, track.bearing.covariance
            )
            for track in frame.tracks
        }
        return Prediction(relabel(frame.labels, self._ids), reports)

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Prompt objects in the frame last tracked; return the reasons of refused prompts by object."""
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
        """Return the stamp of a frame, ns."""
        return round(index / self._rate * 1e9)


def with_prompted_masks(labels: LabelImage, prompts: Mapping[int, Prompt]) -> LabelImage:
    """Return labels [H, W] with the mask prompts of the same frame painted over them."""
    painted = labels.copy()
    for obj_id, prompt in prompts.items():
        if prompt.mask is not None:
            painted[prompt.mask] = obj_id
    return painted


def rolled_prompt(prompt: Prompt, columns: int, width: int) -> Prompt:
    """Return the prompt for an image [H, ``width``] that is rolled right by whole columns."""
    rolled = replace(prompt)
    if prompt.mask is not None:
        rolled = replace(rolled, mask=np.roll(prompt.mask, columns, 1))
    if prompt.box is not None:
        u_min, v_min, u_max, v_max = prompt.box
        ends = [wrap_column(u + columns, width) for u in (u_min, u_max)]
        rolled = replace(rolled, box=(ends[0], v_min, ends[1], v_max))
    if len(prompt.points):
        points: Floats = prompt.points.astype(float).copy()
        points[:, 0] = [wrap_column(u + columns, width) for u in points[:, 0]]
        rolled = replace(rolled, points=points)
    return rolled


def wrap_column(u: float, width: int) -> float:
    """Wrap a column into -0.5..width - 0.5."""
    return float((u + 0.5) % width - 0.5)
