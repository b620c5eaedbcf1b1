"""Scores of one sequence, gathered frame by frame while a tracker runs.

A *pair* is one object in one frame after the one in which the object was prompted: that frame, and
what came before it, is left out, as in DAVIS. Scores are means over the pairs in which the truth
is visible; a missing mask counts 0 there. What happens in the other pairs is counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.evaluation.metrics import MaskMetrics, PairScores
from panosam2_ros.evaluation.results import EVERY, ObjectResult, SequenceResult, Tally
from panosam2_ros.geometry.bearing import ELLIPSE_95, mask_bearing, squared_deviation
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import LabelImage, MaskArray
from panosam2_ros.geometry.sphere import Floats, angle_between, vector_to_lonlat

HIDDEN_FRAMES = 10  # of a full occlusion, at least, for what follows to be a reappearance
REAPPEARANCE_FRAMES = 20  # that follow it
NEAR_POLE = math.radians(66.5)  # latitude of the truth's centroid
ELSEWHERE_MIN_ANGLE = 0.1  # J_sphere below which a mask is not on its object


@dataclass(frozen=True)
class Report:
    """What a tracker says of one object in one frame, beside its mask."""

    visible: bool
    direction: Floats  # [3] unit vector, camera optical axes
    covariance: Floats | None = None  # [2, 2] rad^2, of it in its tangent plane (east, north)


@dataclass(frozen=True)
class ScoredFrame:
    """Truth and answer of one frame.

    Everything that is None is derived from the masks or, for ``look_alikes``, is not there.
    """

    truth: LabelImage
    predicted: LabelImage | None  # with the truth's ids; None: the tracker gave nothing
    directions: Mapping[int, Floats] | None = None  # true unit vectors, optical axes
    reports: Mapping[int, Report] | None = None  # objects without one are not visible
    look_alikes: LabelImage | None = None  # things that are not tracked, any ids; 0 = none


class SequenceScore:
    """Adds up one sequence; frames come in order, and may be left out where there is no truth."""

    def __init__(
        self,
        name: str,
        grid: Equirect,
        first_frames: Mapping[int, int],  # object -> frame in which it is prompted
        attributes: Collection[str] = (),
    ) -> None:
        self.name, self.attributes = name, frozenset(attributes)
        self._metrics = MaskMetrics(grid)
        self._objects = {i: _ObjectScore(i, frame) for i, frame in sorted(first_frames.items())}
        self._frames, self._newest = 0, -1

    def add(self, index: int, frame: ScoredFrame) -> dict[int, PairScores]:
        """Score frame ``index``; answers the scores of the pairs in which the truth is visible."""
        if index <= self._newest:
            raise ValueError(f"frame {index} of {self.name} came after {self._newest}: keep order")
        self._newest, self._frames = index, self._frames + 1
        predicted = np.zeros_like(frame.truth) if frame.predicted is None else frame.predicted
        scores = {}
        for obj_id, score in self._objects.items():
            if index > score.first_frame:
                pair = _Pair(obj_id, frame, predicted, self._metrics)
                if (found := score.add(pair)) is not None:
                    scores[obj_id] = found
        return scores

    def result(self) -> SequenceResult:
        """What has been gathered so far."""
        objects = tuple(score.result() for score in self._objects.values())
        return SequenceResult(self.name, tuple(sorted(self.attributes)), self._frames, objects)


class _Pair:
    """One object in one frame."""

    def __init__(self, obj_id: int, frame: ScoredFrame, predicted: LabelImage, metrics: MaskMetrics) -> None:
        self.truth: MaskArray = frame.truth == obj_id
        self.predicted: MaskArray = predicted == obj_id
        self.visible, self.answered = bool(self.truth.any()), bool(self.predicted.any())
        self._obj_id, self._frame, self._metrics = obj_id, frame, metrics

    def scores(self) -> PairScores:
        return self._metrics.score(self.truth, self.predicted)

    def direction(self) -> Floats | None:
        """The true one; None where nothing is to be seen."""
        if not self.visible:
            return None
        if self._frame.directions is None:
            return _mask_direction(self.truth, self._metrics.grid)
        if self._obj_id not in self._frame.directions:
            raise ValueError(
                f"object {self._obj_id} is in the truth's labels but has no true direction; give "
                "all directions, or None to take the masks' own"
            )
        return self._frame.directions[self._obj_id]

    def report(self) -> Report | None:
        """None where the object is not reported as visible."""
        if self._frame.reports is None:
            direction = _mask_direction(self.predicted, self._metrics.grid)
            return None if direction is None else Report(True, direction)
        report = self._frame.reports.get(self._obj_id)
        return report if report is not None and report.visible else None

    def on_another(self) -> bool:
        """Whether the mask lies on another object.

        It overlaps one other tracked object or look-alike in a larger solid angle than its own
        object, and at least half of it lies there.
        """
        maps = (self._frame.truth, self._frame.look_alikes)
        touched = [ids[self.predicted] for ids in maps if ids is not None]
        own = touched[0] == self._obj_id
        touched[0][own] = 0
        if not any(ids.any() for ids in touched):
            return False
        areas = np.repeat(self._metrics.solid_angles, np.count_nonzero(self.predicted, axis=1))
        largest = max(float(np.bincount(ids, areas)[1:].max(initial=0.0)) for ids in touched)
        return largest > float(areas[own].sum()) and largest >= 0.5 * float(areas.sum())


def _mask_direction(mask: MaskArray, grid: Equirect) -> Floats | None:
    bearing = mask_bearing(mask, grid)
    return None if bearing is None else bearing.direction


class _ObjectScore:
    """Adds up one object."""

    def __init__(self, obj_id: int, first_frame: int) -> None:
        self._obj_id, self.first_frame = obj_id, first_frame
        self._tallies: dict[str, Tally] = {}
        self._davis: list[tuple[float, float]] = []  # J, F of every pair, also where absent
        self._hidden = self._window = 0  # frames hidden so far; left of a reappearance
        self._on_another = False
        self._errors: list[float] = []  # deg
        self._errors_on_target: list[float] = []  # deg
        self._counts = dict.fromkeys(_COUNTS, 0)

    def add(self, pair: _Pair) -> PairScores | None:
        """The scores of a pair in which the truth is visible, else None."""
        scores = pair.scores()
        if self._davis or pair.visible or pair.answered:  # vos-benchmark starts when it sees it
            self._davis.append((scores.J, scores.F))
        self._switches(pair.on_another())
        direction = pair.direction()
        self._bearing(direction, pair.report(), scores)
        reappeared = self._reappeared(pair.visible)
        if direction is None:
            self._counts["absent"] += 1
            self._counts["false_positives"] += pair.answered
            return None
        self._counts["missed"] += not pair.answered
        self._tally(scores, [EVERY, *_conditions(pair.truth, direction), *reappeared])
        return scores

    def result(self) -> ObjectResult:
        # The last frame is no part of DAVIS's scores; nobody knows before that it is the last.
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

    def _tally(self, scores: PairScores, names: Collection[str]) -> None:
        one = Tally(1, tuple(float(x) for x in scores.values()))
        for name in names:
            self._tallies[name] = self._tallies.get(name, Tally()) + one

    def _reappeared(self, visible: bool) -> list[str]:
        """The condition's name while it holds."""
        if visible and self._hidden >= HIDDEN_FRAMES:
            self._window = REAPPEARANCE_FRAMES
        self._hidden = 0 if visible else self._hidden + 1
        inside, self._window = self._window > 0, max(self._window - 1, 0)
        return ["reappearance"] if inside else []

    def _switches(self, on_another: bool) -> None:
        self._counts["id_switches"] += on_another and not self._on_another
        self._counts["frames_on_another"] += on_another
        self._on_another = on_another

    def _bearing(self, truth: Floats | None, report: Report | None, scores: PairScores) -> None:
        if report is None:
            return
        self._counts["reported_visible"] += 1
        if truth is None:
            self._counts["reported_while_absent"] += 1
            return
        error = math.degrees(float(angle_between(truth, report.direction)))
        self._errors.append(error)
        on_target = scores.J_sphere >= ELSEWHERE_MIN_ANGLE
        self._counts["reported_elsewhere"] += not on_target
        if on_target:
            self._errors_on_target.append(error)
        if report.covariance is not None:
            inside = squared_deviation(report.direction, report.covariance, truth) <= ELLIPSE_95
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


def _conditions(truth: MaskArray, direction: Floats) -> list[str]:
    """What holds of a visible object in this very frame."""
    conditions = []
    if truth[:, 0].any() and truth[:, -1].any():
        conditions.append("on_seam")
    if abs(float(vector_to_lonlat(direction)[1])) > NEAR_POLE:
        conditions.append("near_pole")
    return conditions


def relabelled(labels: NDArray[np.integer], ids: Mapping[int, int]) -> LabelImage:
    """Labels [H, W] with ``ids`` (old -> new) applied; other objects are dropped."""
    table = np.zeros(max(int(labels.max(initial=0)), *ids, 0) + 1, np.uint16)
    for old, new in ids.items():
        table[old] = new
    return np.asarray(table[labels], np.uint16)
