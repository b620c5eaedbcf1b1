"""Recorded steps: their answers are those of steps that are not, for any number of objects of a bucket."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from panosam2_ros.evaluation.bench_nano import render_frames, start_tracker
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.tracking.step_graphs import (
    BUCKETS,
    MOST_GRAPHS,
    CudaGraphs,
    StepCall,
    StepGraphs,
    StepRecorder,
    bucket_of,
)
from panosam2_ros.tracking.step_inputs import StepInputs, source_of
from panosam2_ros.tracking.tensor_tree import tensors_of
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.tracking.view import NetworkInput, ViewKind
from panosam2_ros.tracking.view_pipeline import ViewPipeline

OBJECTS = 4


class Rerun:
    """Records work as CUDA graphs do, on the CPU: what is replayed reads and writes the same tensors."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        self.recorded += 1
        results = [x.clone() for x in work()]

        def replay() -> None:
            for kept, now in zip(results, work(), strict=True):
                kept.copy_(now)

        return replay, results


class Refusing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def record(self, work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        raise self.error


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    return render_frames(640, OBJECTS, 6)


@pytest.fixture(scope="module")
def tracker(frames: list[Any]) -> PanoTracker:
    return start_tracker(frames[:4])


def pipeline_of(tracker: PanoTracker) -> ViewPipeline:
    pipeline = tracker._pipelines[ViewKind.REGION]
    pipeline.network = replace(pipeline.network, on_device=True)
    return pipeline


def call_of(tracker: PanoTracker, image: Any, rows: list[int]) -> StepCall:
    """The step of some objects in an image, as a tracker whose network is on a device calls it."""
    frame, network = Frame(image, 10**9), pipeline_of(tracker).network
    batch = tracker._live.batches[ViewKind.REGION].select(rows)
    views, device = [item.view for item in batch.objects], tracker.model.device
    inputs = StepInputs.of(frame, views, network, device)
    return StepCall(source_of(frame, views, network, device), batch.bank.appearance, inputs, batch.bank)


def assert_same(found: PropagationResult, expected: PropagationResult) -> None:
    for ours, theirs in zip(tensors_of(found), tensors_of(expected), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert torch.allclose(ours.double(), theirs.double(), atol=1e-3)


def test_buckets_hold_what_they_are_asked_for() -> None:
    assert [bucket_of(count) for count in (1, 2, 3, 5, 9, 32, 33, 70)] == [1, 2, 4, 8, 16, 32, 64, 96]
    assert all(bucket_of(count) == count for count in BUCKETS)


@torch.inference_mode()
def test_one_graph_serves_all_numbers_of_objects_of_its_bucket(
    tracker: PanoTracker, frames: list[Any]
) -> None:
    recorder, step = Rerun(), pipeline_of(tracker)._step
    graphs, kept = StepGraphs(step, recorder), []
    for rows in ([0, 1, 2, 3], [2, 0, 3], [3, 1, 2, 0]):
        for frame in frames[4:]:
            call = call_of(tracker, frame.image, rows)
            kept.append((graphs.run(call), step(call)))
    for found, expected in kept:  # all at the end: what one step answered is not changed by the next
        assert_same(found, expected)
    assert recorder.recorded == 1


@torch.inference_mode()
def test_what_other_objects_look_like_is_known_whatever_their_number(
    tracker: PanoTracker, frames: list[Any]
) -> None:
    recorder, step = Rerun(), pipeline_of(tracker)._step
    graphs = StepGraphs(step, recorder)
    for known in (3, 4):
        call = call_of(tracker, frames[4].image, [0, 1])
        everywhere = replace(call.inputs, numbers=call.inputs.numbers.clone())
        everywhere.numbers[:, 3] = 1.0  # searched elsewhere, where identities are compared
        call = replace(
            call, inputs=everywhere, known=call_of(tracker, frames[4].image, [*range(known)]).known
        )
        assert call.inputs.elsewhere.all()
        assert_same(graphs.run(call), step(call))
    assert recorder.recorded == 1


@torch.inference_mode()
def test_nothing_that_was_known_in_an_earlier_step_is_left(tracker: PanoTracker, frames: list[Any]) -> None:
    before, now = (call_of(tracker, frames[4].image, rows) for rows in ([0, 1, 2, 3], [0, 1, 2]))
    kept = before.padded()
    now.into(kept)
    assert torch.equal(kept.known, now.known[[0, 1, 2, 2]]) and not torch.equal(kept.known, before.known)


@torch.inference_mode()
def test_graphs_are_bounded(tracker: PanoTracker) -> None:
    recorder, call = Rerun(), call_of(tracker, render_frames(640, 1, 1)[0].image, [0])
    graphs = StepGraphs(lambda own: pipeline_of(tracker)._step(call), recorder)
    for width in range(MOST_GRAPHS + 3):  # as if the size of the images changed
        graphs.run(replace(call, source=torch.zeros(1, 3, 4, 8 + width)))
    assert recorder.recorded == MOST_GRAPHS + 3 and len(graphs._graphs) == MOST_GRAPHS
    graphs.run(replace(call, source=torch.zeros(1, 3, 4, 8)))  # was dropped
    assert recorder.recorded == MOST_GRAPHS + 4


@torch.inference_mode()
def test_what_cannot_be_recorded_is_computed_and_said_once(
    tracker: PanoTracker, frames: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    step = pipeline_of(tracker)._step
    graphs, call = (
        StepGraphs(step, Refusing(RuntimeError("not permitted"))),
        call_of(tracker, frames[4].image, [0, 1]),
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert_same(graphs.run(call), step(call))
    assert len(caplog.records) == 1 and "not permitted" in caplog.text


@torch.inference_mode()
def test_a_lack_of_memory_is_for_whoever_can_do_with_fewer_objects(
    tracker: PanoTracker, frames: list[Any]
) -> None:
    refusing: StepRecorder = Refusing(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    graphs = StepGraphs(pipeline_of(tracker)._step, refusing)
    for _ in range(2):  # it is tried again: memory may be there later
        with pytest.raises(torch.cuda.OutOfMemoryError):
            graphs.run(call_of(tracker, frames[4].image, [0]))


def masks(tracker: PanoTracker, frames: list[Any]) -> list[Any]:
    return [tracker.step(frame.image, frame.index * 10**8).labels for frame in frames]


def test_a_tracker_that_samples_on_the_device_sees_what_another_one_sees(
    tracker: PanoTracker, frames: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for on_device in (False, True):
        real = NetworkInput.of
        monkeypatch.setattr(
            NetworkInput, "of", lambda *args, own=real, here=on_device: replace(own(*args), on_device=here)
        )
        other = PanoTracker(tracker.model, tracker.config)
        other.restore(tracker.snapshot())
        found[on_device] = masks(other, frames[4:])
        monkeypatch.undo()
    for ours, theirs in zip(found[True], found[False], strict=True):
        assert (ours != theirs).sum() < 0.02 * max((theirs > 0).sum(), 1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sees_what_the_cpu_sees_with_graphs_and_without(
    tracker: PanoTracker, frames: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replays = 0
    real = CudaGraphs.record

    def counted(self: CudaGraphs, work: Callable[[], list[Tensor]]) -> Any:
        nonlocal replays
        replays += 1
        return real(self, work)

    monkeypatch.setattr(CudaGraphs, "record", counted)
    expected = masks(start_tracker(frames[:4]), frames[4:])
    for graphs in (True, False):
        config = replace(tracker.config, cuda_graphs=graphs)
        there = start_tracker(frames[:4], config=config, device="cuda")
        for ours, theirs in zip(masks(there, frames[4:]), expected, strict=True):
            assert (ours != theirs).sum() < 0.05 * max((theirs > 0).sum(), 1)
    assert replays > 0
