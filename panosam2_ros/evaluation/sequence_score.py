"""Scores of one sequence, gathered frame by frame while a tracker runs.

An *object-frame* is one object in one frame after the frame in which the object was prompted: that frame, and
earlier ones, are left out, as in DAVIS. Scores are means over the object-frames in which the object is
visible; a missing mask counts 0 there. The other object-frames are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.evaluation.metrics import MaskMetrics, MaskScores
from panosam2_ros.evaluation.results import EVERY, ObjectResult, SequenceResult, Tally
from panosam2_ros.geometry.bearing import ELLIPSE_95, mask_bearing, squared_deviation
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import LabelImage, MaskArray
from panosam2_ros.geometry.sphere import Floats, angle_between, vector_to_lonlat

HIDDEN_FRAMES = 10  # of a full occlusion, at least, before a reappearance
REAPPEARANCE_FRAMES = 20  # frames that count as a reappearance
NEAR_POLE = math.radians(66.5)  # latitude of the true mask's centroid
ON_TARGET_MIN_J = 0.1  # J_sphere from which on a mask is on its object


@dataclass(frozen=True, eq=False)
class BearingReport:
    """Bearing that a tracker reports of one object in one frame."""

    visible: bool
    direction: Floats  # [3] unit vector, camera optical axes
    covariance: Floats | None = None  # [2, 2] rad^2, of the direction in its tangent plane (east, north)


@dataclass(frozen=True, eq=False)
class ScoredFrame:
    """Ground truth and prediction of one frame.

    Values that are None are derived from the masks; without ``distractors`` the frame has none.
    """

    ground_truth: LabelImage
    predicted: LabelImage | None  # with the ids of the ground truth; None: no mask at all
    directions: Mapping[int, Floats] | None = None  # true unit vectors, optical axes
    reports: Mapping[int, BearingReport] | None = None  # objects without a report are not visible
    distractors: LabelImage | None = None  # untracked things that look like an object, any ids; 0 = none


class SequenceScore:
    """Adds up the scores of one sequence; frames come in order, those without ground truth are left out."""

    def __init__(
        self,
        name: str,
        grid: Equirect,
        first_frames: Mapping[int, int],  # object -> frame in which it is prompted
        *,
        attributes: Collection[str] = (),
    ) -> None:
        self.name, self.attributes = name, frozenset(attributes)
        self._metrics = MaskMetrics(grid)
        self._objects = {i: _ObjectScore(i, frame) for i, frame in sorted(first_frames.items())}
        self._frames, self._newest = 0, -1

    def add(self, index: int, frame: ScoredFrame) -> dict[int, MaskScores]:
        """Score frame ``index``; return the scores of the visible objects by id."""
        if index <= self._newest:
            raise ValueError(f"frame {index} of {self.name} came after {self._newest}: add frames in order")
        self._newest, self._frames = index, self._frames + 1
        predicted = np.zeros_like(frame.ground_truth) if frame.predicted is None else frame.predicted
        scores = {}
        for obj_id, score in self._objects.items():
            if index > score.first_frame:
                object_frame = _ObjectFrame(obj_id, frame, predicted, self._metrics)
                if (found := score.add(object_frame)) is not None:
                    scores[obj_id] = found
        return scores

    def result(self) -> SequenceResult:
        """Return the result of the frames added so far."""
        objects = tuple(score.result() for score in self._objects.values())
        return SequenceResult(self.name, tuple(sorted(self.attributes)), self._frames, objects)


class _ObjectFrame:
    """One object in one frame, with its ground truth and prediction."""

    def __init__(self, obj_id: int, frame: ScoredFrame, predicted: LabelImage, metrics: MaskMetrics) -> None:
        self.ground_truth: MaskArray = frame.ground_truth == obj_id
        self.predicted: MaskArray = predicted == obj_id
        self.visible, self.has_mask = bool(self.ground_truth.any()), bool(self.predicted.any())
        self._obj_id, self._frame, self._metrics = obj_id, frame, metrics

    def scores(self) -> MaskScores:
        """Return the measures of the mask."""
        return self._metrics.score(self.ground_truth, self.predicted)

    def direction(self) -> Floats | None:
        """Return the true direction [3]; None where the object is not visible."""
        if not self.visible:
            return None
        if self._frame.directions is None:
            return _mask_direction(self.ground_truth, self._metrics.grid)
        if self._obj_id not in self._frame.directions:
            raise ValueError(
                f"object {self._obj_id} is in the true labels but has no true direction: give "
                "all directions, or None for those of the masks"
            )
        return self._frame.directions[self._obj_id]

    def report(self) -> BearingReport | None:
        """Return the reported bearing; None where the object is not reported as visible."""
        if self._frame.reports is None:
            direction = _mask_direction(self.predicted, self._metrics.grid)
            return None if direction is None else BearingReport(True, direction)
        report = self._frame.reports.get(self._obj_id)
        return report if report is not None and report.visible else None

    def on_another(self) -> bool:
        """Return whether the mask lies on another object.

        It does where it overlaps one other tracked object or distractor in a larger solid angle than its own
        object, and at least half of it lies there.
        """
        maps = (self._frame.ground_truth, self._frame.distractors)
        touched = [ids[self.predicted] for ids in maps if ids is not None]
        own = touched[0] == self._obj_id
        touched[0][own] = 0
        if not any(ids.any() for ids in touched):
            return False
        areas = np.repeat(self._metrics.solid_angles, np.count_nonzero(self.predicted, axis=1))
        largest = max(float(np.bincount(ids, areas)[1:].max(initial=0.0)) for ids in touched)
        return largest > float(areas[own].sum()) and largest >= 0.5 * float(areas.sum())


def _mask_direction(mask: MaskArray, grid: Equirect) -> Floats | None:
    """Return the direction [3] of a mask's centroid; None for an empty mask."""
    bearing = mask_bearing(mask, grid)
    return None if bearing is None else bearing.direction


class _ObjectScore:
    """Adds up the scores of one object."""

    def __init__(self, obj_id: int, first_frame: int) -> None:
        self._obj_id, self.first_frame = obj_id, first_frame
        self._tallies: dict[str, Tally] = {}
        self._davis: list[tuple[float, float]] = []  # J, F of every object-frame, also where it is absent
        self._hidden = self._reappearance_left = 0  # frames hidden so far; frames left of a reappearance
        self._on_another = False
        self._errors: list[float] = []  # deg
        self._errors_on_target: list[float] = []  # deg
        self._counts = dict.fromkeys(_COUNTS, 0)

    def add(self, frame: _ObjectFrame) -> MaskScores | None:
        """Score an object-frame; return the measures where the object is visible, else None."""
        scores = frame.scores()
        if self._davis or frame.visible or frame.has_mask:  # vos-benchmark starts with the first mask
            self._davis.append((scores.J, scores.F))
        self._count_switches(on_another=frame.on_another())
        direction = frame.direction()
        self._score_bearing(direction, frame.report(), scores)
        reappeared = self._reappeared(visible=frame.visible)
        if direction is None:
            self._counts["absent"] += 1
            self._counts["false_positives"] += frame.has_mask
            return None
        self._counts["missed"] += not frame.has_mask
        names = [EVERY, *_conditions(frame.ground_truth, direction), *reappeared]
        self._add_to_tallies(scores, names)
        return scores

    def result(self) -> ObjectResult:
        """Return the result of the object-frames added so far."""
        # DAVIS leaves out the last frame, which is known to be the last one only here.
        davis = np.array(self._davis[:-1] if self._tallies else []).reshape(-1, 2)
        return ObjectResult(
            obj_id=self._obj_id,
            tallies=dict(self._tallies),
            davis_frames=len(davis),
            davis_sums=(float(davis[:, 0].sum()), float(davis[:, 1].sum())),
            bearing_errors_deg=tuple(self._errors),
            bearing_errors_on_target_deg=tuple(self._errors_on_target),
            **self._counts,
        )

    def _add_to_tallies(self, scores: MaskScores, names: Collection[str]) -> None:
        """Add measures to tallies by name."""
        one = Tally(1, tuple(float(x) for x in scores.values()))
        for name in names:
            self._tallies[name] = self._tallies.get(name, Tally()) + one

    def _reappeared(self, *, visible: bool) -> list[str]:
        """Count a frame of the occlusion or the reappearance; return the condition's name while it holds."""
        if visible and self._hidden >= HIDDEN_FRAMES:
            self._reappearance_left = REAPPEARANCE_FRAMES
        self._hidden = 0 if visible else self._hidden + 1
        inside, self._reappearance_left = self._reappearance_left > 0, max(self._reappearance_left - 1, 0)
        return ["reappearance"] if inside else []

    def _count_switches(self, *, on_another: bool) -> None:
        """Count frames on another object, and moves onto one."""
        self._counts["id_switches"] += on_another and not self._on_another
        self._counts["frames_on_another"] += on_another
        self._on_another = on_another

    def _score_bearing(self, true: Floats | None, report: BearingReport | None, scores: MaskScores) -> None:
        """Compare a reported bearing with the true direction."""
        if report is None:
            return
        self._counts["reported_visible"] += 1
        if true is None:
            self._counts["reported_while_absent"] += 1
            return
        error = math.degrees(float(angle_between(true, report.direction)))
        self._errors.append(error)
        on_target = scores.J_sphere >= ON_TARGET_MIN_J
        self._counts["reported_elsewhere"] += not on_target
        if on_target:
            self._errors_on_target.append(error)
        if report.covariance is not None:
            inside = squared_deviation(report.direction, report.covariance, true) <= ELLIPSE_95
            self._counts["ellipses"] += 1
            self._counts["ellipses_on_target"] += on_target
            self._counts["covered"] += inside
            self._counts["covered_on_target"] += inside and on_target


_COUNTS = (
    "absent",
    "false_positives",
    "missed",
    "reported_visible",
    "reported_while_absent",
    "reported_elsewhere",
    "ellipses",
    "ellipses_on_target",
    "covered",
    "covered_on_target",
    "id_switches",
    "frames_on_another",
)


def _conditions(mask: MaskArray, direction: Floats) -> list[str]:
    """Return the conditions that hold for a visible object with this true mask and direction."""
    conditions = []
    if mask[:, 0].any() and mask[:, -1].any():
        conditions.append("on_seam")
    if abs(float(vector_to_lonlat(direction)[1])) > NEAR_POLE:
        conditions.append("near_pole")
    return conditions


def relabel(labels: NDArray[np.integer], ids: Mapping[int, int]) -> LabelImage:
    """Return labels [H, W] with new ids, ``ids``: old -> new; other objects are removed."""
    table = np.zeros(max(int(labels.max(initial=0)), *ids, 0) + 1, np.uint16)
    for old, new in ids.items():
        table[old] = new
    return np.asarray(table[labels], np.uint16)
