"""Measures that need no truth: roll equivariance and cycle consistency.

A method that gives up passes neither for free: frames in which it finds the object in one run only
count 0, those in which it finds it in none are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from panosam2_ros.datasets.ground_truth_prompts import FramePrompts
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.method import Answer, Method, rolled_prompt
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import LabelImage, MaskArray

TRUNK_STRIDE = 32  # input pixels; rolls by multiples of it should change nothing but the roll
_WHOLE = (0.125, 0.375, 0.5)  # of the width, brought to whole strides
_ARBITRARY = (0.07, 0.29, 0.61)  # of the width, made odd
Watch = Callable[[int, Answer], None]


@dataclass(frozen=True)
class RollRun:
    """How well outputs follow the input's roll, for one sequence."""

    name: str
    by_columns: Mapping[int, tuple[int, float]]  # columns -> pairs in which it was found, sum of IoU
    whole: tuple[int, ...]  # those that are multiples of the trunk's stride
    nothing: int  # pairs of object and frame in which neither run found it; over all rolls

    def to_json(self) -> dict[str, Any]:
        """For json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RollRun:
        """The inverse of ``to_json``, also after a round through a file."""
        columns = {int(k): (int(v[0]), float(v[1])) for k, v in data["by_columns"].items()}
        return cls(data["name"], columns, tuple(data["whole"]), data["nothing"])


@dataclass(frozen=True)
class CycleObject:
    """One object, followed to the end and back."""

    obj_id: int
    iou: float  # of solid angles: the last mask, in the first frame again, with the first one
    found: float  # share of the frames in between in which there was a mask, 0..1


@dataclass(frozen=True)
class CycleRun:
    """Cycle consistency of one sequence."""

    name: str
    frames: int  # forward
    objects: tuple[CycleObject, ...]
    refused: Mapping[int, str]  # object -> why its prompt was; not among ``objects``

    def to_json(self) -> dict[str, Any]:
        """For json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CycleRun:
        """The inverse of ``to_json``, also after a round through a file."""
        objects = tuple(CycleObject(**o) for o in data["objects"])
        refused = {int(k): v for k, v in data["refused"].items()}
        return cls(data["name"], data["frames"], objects, refused)


def sphere_iou(a: MaskArray, b: MaskArray, solid_angles: np.ndarray) -> float | None:
    """IoU of two masks [H, W] by solid angle, rows' pixels [H] sr; None where both are empty."""
    either = float(np.count_nonzero(a | b, axis=1) @ solid_angles)
    both = float(np.count_nonzero(a & b, axis=1) @ solid_angles)
    return both / either if either else None


def rolls(
    width: int,
    input_width: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Columns of an image ``width`` wide to roll it by: whole trunk strides, and arbitrary ones."""
    unit = TRUNK_STRIDE * width // math.gcd(TRUNK_STRIDE * width, input_width)
    count = (width - 1) // unit  # multiples that are no full turn
    whole = {unit * min(max(round(f * width / unit), 1), count) for f in _WHOLE} if count else set()
    arbitrary = {round(f * width) | 1 for f in _ARBITRARY}
    return tuple(sorted(whole)), tuple(sorted(arbitrary - whole))


def roll_sequence(
    sequence: VideoSequence,
    make_method: Callable[[], Method],
    prompts: FramePrompts,
    columns: tuple[Sequence[int], Sequence[int]],  # whole strides, arbitrary
    watch: Watch = lambda index, answer: None,
) -> RollRun:
    """Follow the objects in the video and in rolled copies of it, and compare frame by frame."""
    width, areas = sequence.grid.width, sequence.grid.pixel_solid_angles()
    plain, turned = make_method(), {k: make_method() for k in (*columns[0], *columns[1])}
    tally = dict.fromkeys(turned, (0, 0.0))
    known: list[int] = []
    nothing = 0
    for index in range(min(prompts), len(sequence)):
        image = sequence.image(index)
        answer = plain.step(image, index)
        for k, method in turned.items():
            rolled = np.ascontiguousarray(np.roll(image, k, 1))
            back = np.roll(method.step(rolled, index).labels, -k, 1)
            ious = [sphere_iou(answer.labels == i, back == i, areas) for i in known]
            found = [iou for iou in ious if iou is not None]
            nothing += len(ious) - len(found)
            tally[k] = (tally[k][0] + len(found), tally[k][1] + sum(found))
            if index in prompts:
                own = {i: rolled_prompt(p, k, width) for i, p in prompts[index].items()}
                method.start(rolled, index, own)
        if index in prompts:
            plain.start(image, index, prompts[index])
            known.extend(prompts[index])
        watch(index, answer)
    return RollRun(sequence.name, tally, tuple(columns[0]), nothing)


def cycle_sequence(
    sequence: VideoSequence,
    method: Method,
    prompts: FramePrompts,
    watch: Watch = lambda index, answer: None,
) -> CycleRun:
    """Follow the objects of the first prompted frame to the end and back to it.

    The first mask is the prompt's, or, for boxes and clicks, what the method finds in the first
    frame when it sees that again right after the prompt. Time goes on while the video goes back.
    """
    first = min(prompts)
    image = sequence.image(first)
    method.step(image, 0)
    refused = dict(method.start(image, 0, prompts[first]))
    followed = {i: p for i, p in prompts[first].items() if i not in refused}
    answer = method.step(image, 1)
    watch(first, answer)
    starts = {i: answer.labels == i if p.mask is None else p.mask for i, p in followed.items()}
    forward = list(range(first, len(sequence)))
    found = dict.fromkeys(followed, 0)
    way = [*forward[1:], *forward[-2::-1]]
    for time, index in enumerate(way, 2):
        answer = method.step(sequence.image(index), time)
        present = set(np.unique(answer.labels).tolist())
        found = {i: count + (i in present) for i, count in found.items()}
        if time < 1 + len(forward):
            watch(index, answer)
    objects = [
        _cycle_object(i, start, answer.labels, found[i] / max(len(way), 1), sequence.grid)
        for i, start in starts.items()
    ]
    return CycleRun(sequence.name, len(forward), tuple(objects), refused)


def _cycle_object(
    obj_id: int, start: MaskArray, end: LabelImage, found: float, grid: Equirect
) -> CycleObject:
    iou = sphere_iou(start, end == obj_id, grid.pixel_solid_angles())
    return CycleObject(obj_id, 0.0 if iou is None else iou, found)


def roll_equivariance(runs: Sequence[RollRun]) -> tuple[float | None, float | None]:
    """Mean IoU over rolls by arbitrary columns, which is the measure, and by whole trunk strides."""

    def mean(whole: bool) -> float | None:
        parts = [t for run in runs for k, t in run.by_columns.items() if (k in run.whole) == whole]
        pairs = sum(count for count, _ in parts)
        return sum(total for _, total in parts) / pairs if pairs else None

    return mean(False), mean(True)
