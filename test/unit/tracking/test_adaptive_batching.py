"""Out of memory: the same results from smaller pieces, every piece once, and an end to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from panosam2_ros.io.out_of_memory import is_out_of_memory
from panosam2_ros.model.build import random_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking import prompting, view_pipeline
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.tracker import PanoTracker

WIDTH, HEIGHT = 256, 128
IMAGE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


class Machine:
    """Work that needs memory in proportion to its rows."""

    def __init__(self, room: int) -> None:
        self.room, self.done, self.tried = room, [], 0

    def __call__(self, rows: slice) -> range:
        self.tried += 1
        if rows.stop - rows.start > self.room:
            raise MemoryError("no room")
        self.done += range(rows.start, rows.stop)
        return range(rows.start, rows.stop)


@pytest.mark.parametrize("count, room", [(1, 1), (8, 8), (8, 3), (7, 1), (32, 5)])
def test_every_row_is_done_once_and_in_order(count: int, room: int) -> None:
    machine, batcher = Machine(room), AdaptiveBatcher()
    pieces = batcher.run(machine, count)
    assert [i for piece in pieces for i in piece] == machine.done == list(range(count))
    assert batcher.out_of_memory == machine.tried - len(pieces)
    assert bool(batcher.warning()) == (room < count)


def test_what_was_done_before_memory_ran_out_is_not_done_again() -> None:
    batcher, rooms, done = AdaptiveBatcher(), iter([4, 1, 9, 9, 9]), []

    def work(rows: slice) -> None:
        if rows.stop - rows.start > next(rooms):
            raise MemoryError
        done.append((rows.start, rows.stop))

    batcher.batch_size, batcher._since = 4, float("inf")
    batcher.run(work, 8)
    assert done == [(0, 4), (4, 6), (6, 8)]


@pytest.mark.faults
def test_where_nothing_helps_the_error_passes_and_kept_things_are_let_go_first() -> None:
    batcher, kept = AdaptiveBatcher(), [True]
    batcher.release_caches = lambda: bool(kept and kept.pop())
    machine = Machine(0)
    with pytest.raises(MemoryError):
        batcher.run(machine, 1)
    assert machine.tried == 2 and not kept
    batcher.release_caches = lambda: True  # images that came meanwhile
    with pytest.raises(MemoryError):
        batcher.run(machine, 1)
    assert machine.tried == 4
    with pytest.raises(ZeroDivisionError):
        batcher.run(lambda rows: 1 // 0, 4)
    assert batcher.out_of_memory == 4


def test_after_a_while_more_is_tried_again() -> None:
    batcher, machine = AdaptiveBatcher(patience=0.0), Machine(2)
    batcher.run(machine, 8)
    assert batcher.batch_size == 2
    machine.room = 8
    for count, expected in ((1, 4), (8, 0), (8, 0)):  # the image encoder's piece is no reason to hurry
        batcher.run(machine, count)
        assert batcher.batch_size == expected
    assert batcher.warning() == ""


def test_which_errors_mean_that_memory_ran_out() -> None:
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(
        torch.cuda.OutOfMemoryError("CUDA out of memory")
    )
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(RuntimeError("shapes differ")) and not is_out_of_memory(ValueError("memory"))


def prompts(count: int) -> list[Prompt]:
    masks = np.zeros((count, HEIGHT, WIDTH), bool)
    for i, mask in enumerate(masks):
        mask[40:70, 20 + 30 * i : 50 + 30 * i] = True
    return [Prompt(mask=mask) for mask in masks]


def track(at_once: int) -> tuple[PanoTracker, Any]:
    torch.manual_seed(0)
    tracker = PanoTracker(random_model())
    tracker.batcher.batch_size, tracker.batcher._since = at_once, float("inf")
    tracker.step(IMAGE, 1)
    assert all(outcome.success for outcome in tracker.prompt(IMAGE, 1, prompts(5)))
    for stamp in (2, 3):
        frame = tracker.step(np.roll(IMAGE, 3 * stamp, 1), stamp)
    return tracker, frame


def test_pieces_give_what_the_whole_gives() -> None:
    whole, frame = track(0)
    cut, same = track(2)
    assert (frame.labels == same.labels).mean() > 0.999
    assert [t.obj_id for t in same.tracks] == [1, 2, 3, 4, 5]
    for name, tensor in whole.snapshot().bank.tensors().items():
        torch.testing.assert_close(cut.snapshot().bank.tensors()[name], tensor, rtol=1e-3, atol=1e-3)


def test_a_tracker_that_runs_out_goes_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    real = view_pipeline.propagate

    def cramped(model: Any, bank: Any, features: Any, **options: Any) -> Any:
        if len(bank) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(model, bank, features, **options)

    monkeypatch.setattr(view_pipeline, "propagate", cramped)
    cut, frame = track(0)
    assert cut.batcher.batch_size == 2 and cut.batcher.out_of_memory == 2
    monkeypatch.undo()
    assert (frame.labels == track(0)[1].labels).mean() > 0.999


def test_no_object_is_made_twice_where_prompts_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = prompting.segment_prompts, []

    def cramped(model: Any, bank: Any, *rest: Any, **options: Any) -> Any:
        calls.append(len(bank))
        if len(bank) > 2 or len(calls) == 4:
            raise MemoryError
        return real(model, bank, *rest, **options)

    monkeypatch.setattr(prompting, "segment_prompts", cramped)
    tracker = PanoTracker(random_model())
    tracker.step(IMAGE, 1)
    outcomes = tracker.prompt(IMAGE, 1, prompts(5))
    assert [o.track.obj_id for o in outcomes if o.track] == [1, 2, 3, 4, 5]
    assert calls == [5, 3, 2, 2, 1, 1, 1]


@pytest.mark.faults
def test_what_fails_after_others_took_effect_is_its_own_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = prompting.segment_prompts, []

    def second_fails(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) % 2 == 0:
            raise RuntimeError("a device error")
        return real(*args, **options)

    monkeypatch.setattr(prompting, "segment_prompts", second_fails)
    tracker = PanoTracker(random_model())
    tracker.step(IMAGE, 1)
    click = Prompt(points=np.array([[30.0, 30.0], [34.0, 30.0]]), point_labels=np.array([1, 1]))
    made, failed = tracker.prompt(IMAGE, 1, [*prompts(1), click])
    assert made.success and [t.obj_id for t in tracker.tracks()] == [1]
    assert not failed.success and failed.message == "RuntimeError: a device error"
    calls.append(1)
    with pytest.raises(RuntimeError, match="device"):  # nothing took effect: as one
        tracker.prompt(IMAGE, 1, prompts(1))
