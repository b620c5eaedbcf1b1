"""Measures that need no ground truth: roll equivariance and cycle consistency.

A method cannot gain by finding nothing: frames in which it finds the object in one run only count 0, and
those in which it finds it in neither are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from panosam2_ros.datasets.ground_truth_prompts import FramePrompts
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.method import Method, Prediction, rolled_prompt
from panosam2_ros.geometry.image_types import MaskArray

TRUNK_STRIDE = 32  # input pixels; a roll by a multiple of it should only roll the output
_WHOLE = (0.125, 0.375, 0.5)  # of the width, rounded to whole strides
_ARBITRARY = (0.07, 0.29, 0.61)  # of the width, rounded to odd columns
FrameCallback = Callable[[int, Prediction], None]


@dataclass(frozen=True)
class RollRun:
    """Agreement of the outputs for rolled inputs, of one sequence."""

    name: str
    by_columns: Mapping[int, tuple[int, float]]  # columns -> object-frames with a mask, sum of their IoU
    whole: tuple[int, ...]  # columns that are multiples of the trunk's stride
    nothing: int  # object-frames without a mask in either run; over all rolls

    def to_json(self) -> dict[str, Any]:
        """Return a value for json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RollRun:
        """Invert ``to_json``, also after its value was written to a file and read again."""
        columns = {int(k): (int(v[0]), float(v[1])) for k, v in data["by_columns"].items()}
        return cls(data["name"], columns, tuple(data["whole"]), data["nothing"])


@dataclass(frozen=True)
class CycleObject:
    """One object, tracked to the end and back."""

    obj_id: int
    iou: float  # by solid angle: of the last mask, in the first frame again, with the start mask
    found: float  # share of the frames in between that have a mask, 0..1


@dataclass(frozen=True)
class CycleRun:
    """Cycle consistency of one sequence."""

    name: str
    frames: int  # forward
    objects: tuple[CycleObject, ...]
    refused: Mapping[int, str]  # object -> reason why its prompt was refused; these are not in ``objects``

    def to_json(self) -> dict[str, Any]:
        """Return a value for json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CycleRun:
        """Invert ``to_json``, also after its value was written to a file and read again."""
        objects = tuple(CycleObject(**o) for o in data["objects"])
        refused = {int(k): v for k, v in data["refused"].items()}
        return cls(data["name"], data["frames"], objects, refused)


def sphere_iou(a: MaskArray, b: MaskArray, solid_angles: np.ndarray) -> float | None:
    """Return the IoU by solid angle of two masks [H, W]; None where both are empty.

    ``solid_angles``: of the pixels of each row, [H] sr.
    """
    either = float(np.count_nonzero(a | b, axis=1) @ solid_angles)
    both = float(np.count_nonzero(a & b, axis=1) @ solid_angles)
    return both / either if either else None


def rolls(
    width: int,
    input_width: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose columns to roll an image of ``width`` by: whole trunk strides, and arbitrary ones."""
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
    *,
    on_frame: FrameCallback = lambda index, prediction: None,
) -> RollRun:
    """Track the objects in the video and in rolled copies of it, and compare the masks of each frame."""
    width, areas = sequence.grid.width, sequence.grid.pixel_solid_angles()
    plain, turned = make_method(), {k: make_method() for k in (*columns[0], *columns[1])}
    tally = dict.fromkeys(turned, (0, 0.0))
    known: list[int] = []
    nothing = 0
    for index in range(min(prompts), len(sequence)):
        image = sequence.image(index)
        prediction = plain.step(image, index)
        for k, method in turned.items():
            rolled = np.ascontiguousarray(np.roll(image, k, 1))
            back = np.roll(method.step(rolled, index).labels, -k, 1)
            ious = [sphere_iou(prediction.labels == i, back == i, areas) for i in known]
            found = [iou for iou in ious if iou is not None]
            nothing += len(ious) - len(found)
            tally[k] = (tally[k][0] + len(found), tally[k][1] + sum(found))
            if index in prompts:
                own = {i: rolled_prompt(p, k, width) for i, p in prompts[index].items()}
                method.start(rolled, index, own)
        if index in prompts:
            plain.start(image, index, prompts[index])
            known.extend(prompts[index])
        on_frame(index, prediction)
    return RollRun(sequence.name, tally, tuple(columns[0]), nothing)


def cycle_sequence(
    sequence: VideoSequence,
    method: Method,
    prompts: FramePrompts,
    *,
    on_frame: FrameCallback = lambda index, prediction: None,
) -> CycleRun:
    """Track the objects of the first prompted frame to the end and back to it.

    The start mask is the mask prompt or, for boxes and clicks, the mask that the method predicts when it gets
    the first frame again right after the prompt. Stamps grow also while the video is played backward.
    """
    first = min(prompts)
    image = sequence.image(first)
    method.step(image, 0)
    refused = dict(method.start(image, 0, prompts[first]))
    followed = {i: p for i, p in prompts[first].items() if i not in refused}
    prediction = method.step(image, 1)
    on_frame(first, prediction)
    starts = {i: prediction.labels == i if p.mask is None else p.mask for i, p in followed.items()}
    forward = list(range(first, len(sequence)))
    found = dict.fromkeys(followed, 0)
    way = [*forward[1:], *forward[-2::-1]]
    for time, index in enumerate(way, 2):
        prediction = method.step(sequence.image(index), time)
        present = set(np.unique(prediction.labels).tolist())
        found = {i: count + (i in present) for i, count in found.items()}
        if time < 1 + len(forward):
            on_frame(index, prediction)
    areas, shares = sequence.grid.pixel_solid_angles(), {i: n / max(len(way), 1) for i, n in found.items()}
    objects = [
        CycleObject(i, sphere_iou(start, prediction.labels == i, areas) or 0.0, shares[i])
        for i, start in starts.items()
    ]
    return CycleRun(sequence.name, len(forward), tuple(objects), refused)


def roll_equivariance(runs: Sequence[RollRun]) -> tuple[float | None, float | None]:
    """Return the mean IoU over rolls by arbitrary columns, the measure, and by whole trunk strides."""

    def mean(*, whole: bool) -> float | None:
        parts = [t for run in runs for k, t in run.by_columns.items() if (k in run.whole) == whole]
        object_frames = sum(count for count, _ in parts)
        return sum(total for _, total in parts) / object_frames if object_frames else None

    return mean(whole=False), mean(whole=True)
