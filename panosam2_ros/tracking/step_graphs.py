"""Steps that are recorded once and replayed: CUDA graphs, one for each bucket of objects.

On a GPU a step is some two thousand short operations, and launching them from Python takes longer than
computing them. A graph launches all at once. Its shapes are fixed, so that steps of N objects are replayed
with the next larger of 1, 2, 4, 8, 16, 32 rows; what the others hold is computed and not read.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from panosam2_ros.io.out_of_memory import is_out_of_memory
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.tracking.step_inputs import StepInputs
from panosam2_ros.tracking.tensor_tree import tensors_of, with_tensors

BUCKETS = (1, 2, 4, 8, 16, 32)  # objects
MOST_GRAPHS = 8  # that are kept: each has memory of its own
T = TypeVar("T")
log = logging.getLogger(__name__)


def bucket_of(count: int) -> int:
    """Return with how many rows a step of ``count`` objects is replayed."""
    larger = [size for size in BUCKETS if size >= count]
    return larger[0] if larger else -(-count // BUCKETS[-1]) * BUCKETS[-1]


class StepRecorder(Protocol):
    """Records work on tensors that stay where they are."""

    def record(self, work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        """Return what repeats the work, and the tensors in which its results are then."""
        ...


class CudaGraphs:
    """Records CUDA graphs; all of them share one pool of memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        """Run the work twice, as PyTorch asks for, and capture it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads, which copy images, may use the device meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            results = work()
        self._pool = graph.pool()
        return graph.replay, results


@dataclass(frozen=True, eq=False)
class StepCall:
    """What a step of N objects is computed from."""

    source: Tensor  # of the frame, as ``source_of``
    known: Tensor  # [M, C] what all objects look like
    inputs: StepInputs  # [N]
    bank: MemoryBank  # [N]

    def padded(self) -> StepCall:
        """Return the call with a bucket of rows; those that are added are the last one again."""
        rows = bucket_of(len(self.bank))
        known = _padded(self.known, bucket_of(len(self.known)))
        return StepCall(self.source.clone(), known, _padded(self.inputs, rows), _padded(self.bank, rows))

    def into(self, other: StepCall) -> None:
        """Copy the tensors to the first rows of a padded call's."""
        own = replace(self, known=_padded(self.known, len(other.known)))  # what is known is read by all rows
        for given, kept in zip(tensors_of(own), tensors_of(other), strict=True):
            kept[: len(given)].copy_(given)

    @property
    def shape(self) -> tuple[int, ...]:
        """What calls have in common that one graph serves."""
        return bucket_of(len(self.bank)), bucket_of(len(self.known)), *self.source.shape


def _padded(value: T, rows: int) -> T:
    """Return the value with ``rows`` rows: the last row of each of its tensors [N, ...] is repeated."""
    tensors = tensors_of(value)
    return with_tensors(value, (torch.cat([x, x[-1:].expand(rows - len(x), *x.shape[1:])]) for x in tensors))


Step = Callable[[StepCall], PropagationResult]


@dataclass(frozen=True, eq=False)
class _Graph:
    """A recorded step."""

    call: StepCall  # whose tensors it reads
    replay: Callable[[], None]
    tensors: list[Tensor]  # which it writes
    result: PropagationResult  # of the call that was recorded


class StepGraphs:
    """Replays steps; computes them where they cannot be recorded."""

    def __init__(self, step: Step, recorder: StepRecorder) -> None:
        """Take a step without side effects, whose operations do not depend on values."""
        self._step, self._recorder = step, recorder
        self._graphs: OrderedDict[tuple[int, ...], _Graph] = OrderedDict()
        self._refused = False

    def run(self, call: StepCall) -> PropagationResult:
        """Return the result of a step."""
        graph = None if self._refused else self._graph(call)
        if graph is None:
            return self._step(call)
        call.into(graph.call)
        graph.replay()
        # the graph writes to the same places in the next step
        return with_tensors(graph.result, (x[: len(call.bank)].clone() for x in graph.tensors))

    def _graph(self, call: StepCall) -> _Graph | None:
        """Return the graph of calls of this shape; None where it cannot be recorded."""
        if call.shape not in self._graphs:
            try:
                self._graphs[call.shape] = self._recorded(call.padded())
            except RuntimeError as error:
                self._graphs.clear()
                if is_out_of_memory(error):
                    raise
                self._refused = True
                log.warning("steps are computed without CUDA graphs, which takes longer: %s", error)
                return None
        self._graphs.move_to_end(call.shape)
        while len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)
        return self._graphs[call.shape]

    def _recorded(self, call: StepCall) -> _Graph:
        results: list[PropagationResult] = []

        def work() -> list[Tensor]:
            results[:] = [self._step(call)]
            return tensors_of(results[0])

        replay, tensors = self._recorder.record(work)
        return _Graph(call, replay, tensors, results[0])
