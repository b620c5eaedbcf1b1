"""Drives a method through a sequence: which frames it sees, what counts as its answer, how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from panosam2_ros.datasets.ground_truth_prompts import FramePrompts
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.method import Answer, Method
from panosam2_ros.evaluation.metrics import PairScores
from panosam2_ros.evaluation.results import SequenceResult
from panosam2_ros.evaluation.sequence_score import ScoredFrame, SequenceScore
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats

Clock = Callable[[], float]  # seconds


class EveryFrame:
    """The camera waits: nothing is dropped."""

    def next(self, index: int, seconds: float) -> int:
        """The frame to see after frame ``index``, which took ``seconds``."""
        return index + 1


class RealTime:
    """Frames arrive at ``rate`` Hz; of those that arrive while the method is busy the newest is next.

    The clock is simulated from measured durations, so reading and scoring frames costs nothing.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0  # s, when the method will have finished what it has

    def next(self, index: int, seconds: float) -> int:
        """The frame to see after frame ``index``, which took ``seconds``."""
        self._free = max(self._free, index / self._rate) + seconds
        arrived = int(self._free * self._rate + 1e-9)
        return max(index + 1, arrived)


@runtime_checkable
class DetailedGroundTruth(Protocol):
    """What a sequence may know beside its labels, to be scored with."""

    def directions(self, index: int) -> Mapping[int, Floats] | None:
        """True directions [3] of all visible objects, optical axes; None: those of their masks."""
        ...

    def distractors(self, index: int) -> LabelImage | None:
        """[H, W] untracked things that look like an object, any ids, 0 = none."""
        ...


Pace = EveryFrame | RealTime


@dataclass(frozen=True)
class Shown:
    """One frame and the answer that counts for it."""

    index: int
    answer: Answer
    image: ImageArray | None  # None: the frame was dropped


@dataclass
class Timing:
    """What a run took."""

    step_seconds: float = 0.0
    steps: int = 0
    dropped: int = 0
    refused: dict[int, str] = field(default_factory=dict)  # object -> why its prompt was


@dataclass(frozen=True)
class SequenceRun:
    """One sequence, driven and scored."""

    result: SequenceResult
    J_sphere: Mapping[int, tuple[int, float]]  # frame -> pairs with visible truth, their sum
    timing: Timing

    def to_json(self) -> dict[str, Any]:
        """For json.dumps."""
        return {
            "result": self.result.to_json(),
            "J_sphere": [[i, *both] for i, both in self.J_sphere.items()],
            "timing": asdict(self.timing),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SequenceRun:
        """The inverse of ``to_json``, also after a round through a file."""
        timing = dict(data["timing"])
        timing["refused"] = {int(k): v for k, v in timing["refused"].items()}
        frames = {int(i): (int(pairs), float(total)) for i, pairs, total in data["J_sphere"]}
        return cls(SequenceResult.from_json(data["result"]), frames, Timing(**timing))


def play_sequence(
    sequence: VideoSequence,
    method: Method,
    prompts: FramePrompts,
    pace: Pace,
    timing: Timing,
    clock: Clock = time.perf_counter,
) -> Iterator[Shown]:
    """Every frame from the first prompt on, in order, with the answer that counts for it.

    For a dropped frame that is the newest earlier one: a node publishes nothing for frames that
    it drops, so what a planner holds then is the last published answer. A frame that is pointed
    into is never dropped: the node keeps frames until prompts have run. Prompting keeps it busy.
    """
    index = min(prompts)
    while index < len(sequence):
        image = sequence.image(index)
        began = clock()
        answer = method.step(image, index)
        stepped = ended = clock()
        if index in prompts:
            timing.refused.update(method.start(image, index, prompts[index]))
            ended = clock()
        timing.step_seconds, timing.steps = timing.step_seconds + stepped - began, timing.steps + 1
        following = pace.next(index, ended - began)
        following = min([following, len(sequence), *(i for i in prompts if i > index)])
        timing.dropped += following - index - 1
        for shown in range(index, following):
            yield Shown(shown, answer, image if shown == index else None)
        index = following


def score_sequence(
    sequence: VideoSequence,
    method: Method,
    prompts: FramePrompts,
    pace: Pace,
    watch: Callable[[Shown, Mapping[int, PairScores]], None] = lambda shown, scores: None,
    clock: Clock = time.perf_counter,
) -> SequenceRun:
    """Drive a method through a sequence with truth; ``watch`` sees every frame and its scores."""
    first = {obj_id: index for index, objects in prompts.items() for obj_id in objects}
    score = SequenceScore(sequence.name, sequence.grid, first, sequence.attributes)
    timing, by_frame = Timing(), {}
    for shown in play_sequence(sequence, method, prompts, pace, timing, clock):
        truth, scores = sequence.labels(shown.index), {}
        if truth is not None:
            scores = score.add(shown.index, _frame(sequence, shown, truth))
            values = [pair.J_sphere for pair in scores.values()]
            by_frame[shown.index] = (len(values), float(sum(values)))
        watch(shown, scores)
    return SequenceRun(score.result(), by_frame, timing)


def _frame(sequence: VideoSequence, shown: Shown, truth: LabelImage) -> ScoredFrame:
    known = sequence if isinstance(sequence, DetailedGroundTruth) else None
    return ScoredFrame(
        truth,
        shown.answer.labels,
        None if known is None else known.directions(shown.index),
        shown.answer.reports,
        None if known is None else known.distractors(shown.index),
    )


def mean_J_sphere(runs: list[SequenceRun], frames: range) -> float | None:
    """Mean over all pairs of object and frame in ``frames`` (0-based) with visible truth."""
    found = [both for run in runs for i, both in run.J_sphere.items() if i in frames]
    pairs = sum(count for count, _ in found)
    return sum(total for _, total in found) / pairs if pairs else None
