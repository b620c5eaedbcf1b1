"""Runs of a method on a sequence: the frames that it gets, the predictions that count, and their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from panosam2_ros.datasets.ground_truth_prompts import FramePrompts
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.method import Method, Prediction
from panosam2_ros.evaluation.metrics import MaskScores
from panosam2_ros.evaluation.results import SequenceResult
from panosam2_ros.evaluation.sequence_score import ScoredFrame, SequenceScore
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.tracking.search_budget import Clock


class EveryFrame:
    """A schedule in which the camera waits for the method, and no frame is dropped."""

    def next(self, index: int, seconds: float) -> int:
        """Return the frame after frame ``index``, which took ``seconds``."""
        return index + 1


class RealTime:
    """A schedule in which frames arrive at ``rate`` Hz, and the newest one is next when the method is free.

    The clock is simulated from measured durations, so that reading and scoring frames take no time in it.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0  # s, time at which the method is free

    def next(self, index: int, seconds: float) -> int:
        """Return the frame after frame ``index``, which took ``seconds``."""
        self._free = max(self._free, index / self._rate) + seconds
        arrived = int(self._free * self._rate + 1e-9)
        return max(index + 1, arrived)


@runtime_checkable
class DetailedGroundTruth(Protocol):
    """Ground truth that a sequence may have beside its labels."""

    def directions(self, index: int) -> Mapping[int, Floats] | None:
        """Return the true directions [3] of visible objects in optical axes; None: those of their masks."""
        ...

    def distractors(self, index: int) -> LabelImage | None:
        """Return labels [H, W] of untracked things that look like an object, any ids, 0 = none."""
        ...


FrameSchedule = EveryFrame | RealTime


@dataclass(frozen=True, eq=False)
class PlayedFrame:
    """One frame and the prediction that counts for it."""

    index: int
    prediction: Prediction
    image: ImageArray | None  # None: the frame was dropped


@dataclass
class Timing:
    """Times and counts of a run."""

    step_seconds: float = 0.0
    steps: int = 0
    dropped: int = 0
    refused: dict[int, str] = field(default_factory=dict)  # object -> reason why its prompt was refused


@dataclass(frozen=True)
class SequenceRun:
    """Scores and times of one sequence."""

    result: SequenceResult
    J_sphere: Mapping[int, tuple[int, float]]  # frame -> number of visible objects, sum of their J_sphere
    timing: Timing

    def to_json(self) -> dict[str, Any]:
        """Return a value for json.dumps."""
        return {
            "result": self.result.to_json(),
            "J_sphere": [[i, *both] for i, both in self.J_sphere.items()],
            "timing": asdict(self.timing),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SequenceRun:
        """Invert ``to_json``, also after its value was written to a file and read again."""
        timing = dict(data["timing"])
        timing["refused"] = {int(k): v for k, v in timing["refused"].items()}
        frames = {int(i): (int(count), float(total)) for i, count, total in data["J_sphere"]}
        return cls(SequenceResult.from_json(data["result"]), frames, Timing(**timing))


def play_sequence(
    sequence: VideoSequence,
    method: Method,
    prompts: FramePrompts,
    schedule: FrameSchedule,
    timing: Timing,
    *,
    clock: Clock = time.perf_counter,
) -> Iterator[PlayedFrame]:
    """Yield every frame from the first prompt on, in order, with the prediction that counts for it.

    For a dropped frame that is the newest earlier one: a node publishes nothing for frames that it drops, so
    a planner goes on with the last published result. A prompted frame is never dropped: the node keeps frames
    until prompts have run. Prompting takes time, too. ``timing`` is filled in.
    """
    index = min(prompts)
    while index < len(sequence):
        image = sequence.image(index)
        began = clock()
        prediction = method.step(image, index)
        stepped = ended = clock()
        if index in prompts:
            timing.refused.update(method.start(image, index, prompts[index]))
            ended = clock()
        timing.step_seconds, timing.steps = timing.step_seconds + stepped - began, timing.steps + 1
        following = schedule.next(index, ended - began)
        following = min([following, len(sequence), *(i for i in prompts if i > index)])
        timing.dropped += following - index - 1
        for shown in range(index, following):
            yield PlayedFrame(shown, prediction, image if shown == index else None)
        index = following


def score_sequence(
    sequence: VideoSequence,
    method: Method,
    prompts: FramePrompts,
    schedule: FrameSchedule,
    *,
    on_frame: Callable[[PlayedFrame, Mapping[int, MaskScores]], None] = lambda frame, scores: None,
    clock: Clock = time.perf_counter,
) -> SequenceRun:
    """Run a method on a sequence with ground truth and score it.

    ``on_frame`` gets every frame and its scores.
    """
    first = {obj_id: index for index, objects in prompts.items() for obj_id in objects}
    score = SequenceScore(sequence.name, sequence.grid, first, attributes=sequence.attributes)
    timing, by_frame = Timing(), {}
    for frame in play_sequence(sequence, method, prompts, schedule, timing, clock=clock):
        labels, scores = sequence.labels(frame.index), {}
        if labels is not None:
            scores = score.add(frame.index, _scored_frame(sequence, frame, labels))
            values = [each.J_sphere for each in scores.values()]
            by_frame[frame.index] = (len(values), float(sum(values)))
        on_frame(frame, scores)
    return SequenceRun(score.result(), by_frame, timing)


def _scored_frame(sequence: VideoSequence, frame: PlayedFrame, labels: LabelImage) -> ScoredFrame:
    """Join the prediction of a frame with all ground truth that the sequence has."""
    known = sequence if isinstance(sequence, DetailedGroundTruth) else None
    return ScoredFrame(
        ground_truth=labels,
        predicted=frame.prediction.labels,
        directions=None if known is None else known.directions(frame.index),
        reports=frame.prediction.reports,
        distractors=None if known is None else known.distractors(frame.index),
    )


def mean_J_sphere(runs: list[SequenceRun], frames: range) -> float | None:
    """Return the mean J_sphere over all visible object-frames of ``frames`` (0-based); None without any."""
    found = [both for run in runs for i, both in run.J_sphere.items() if i in frames]
    object_frames = sum(count for count, _ in found)
    return sum(total for _, total in found) / object_frames if object_frames else None
