"""The worker with a tracker that only takes notes."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from helpers.process import wait_for
from panosam2_ros.ros.inference.frame_buffer import (
    FrameBuffer,
    NoImageError,
    NoSuchFrameError,
    ReceivedImage,
)
from panosam2_ros.ros.inference.worker import (
    Callbacks,
    Worker,
    WorkerBusyError,
    WorkerHangsError,
    WorkerLateError,
    WorkerStoppedError,
)
from panosam2_ros.ros.inference.worker_state import WorkerCounts, WorkerLimits

SECOND = 10**9


class FakeTracker:
    """Steps only when allowed to; notes what it was given and on which thread."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.labels: list[bool] = []  # whether a label image was asked for
        self.replay_stamp: int | None = None  # stamp that an object has come to
        self.replayed: list[int] = []
        self.merged: list[bool] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.raise_at = -1
        self.merge_failures = 0  # times that merging fails

    @property
    def replaying(self) -> int:
        return int(self.replay_stamp is not None)

    def replay(self, image: Any, stamp: int) -> None:
        if stamp == self.raise_at:
            raise RuntimeError("out of memory")
        self.replayed.append(stamp)
        self.replay_stamp = stamp if self.steps and stamp < self.steps[-1] else None

    def skip_replay(self, stamp: int) -> None:
        self.replay_stamp = stamp

    def merge_replayed(self, everything: bool = False) -> None:
        self.merged.append(everything)
        if self.merge_failures:
            self.merge_failures -= 1
            raise RuntimeError("out of memory again")
        self.replay_stamp = None

    def step(self, image: Any, stamp: int, *, labels: bool) -> str:
        assert self.gate.wait(10)
        self.labels.append(labels)
        self.threads.add(threading.get_ident())
        if stamp == self.raise_at:
            raise RuntimeError("out of memory")
        assert image.shape == (2, 4, 3)
        self.steps.append(stamp)
        return f"tracked {stamp}"


class Bench:
    """A running worker and everything that came of it."""

    def __init__(self, **limits: Any) -> None:
        self.tracker = FakeTracker()
        self.frames: list[tuple[int, str]] = []
        self.errors: list[str] = []
        self.decoded, self.looking = 0, True
        callbacks: Callbacks[str] = Callbacks(
            self._decode,
            lambda frame, tracked: self.frames.append((frame.stamp, str(tracked))),
            lambda frame, error: self.errors.append(f"{frame.stamp}: {error}"),
            lambda: self.looking,
        )
        self.worker: Worker[str] = Worker(self.tracker, callbacks, WorkerLimits(**limits))  # type: ignore[arg-type]
        self.worker.start()

    def _decode(self, message: str) -> Any:
        self.decoded += 1
        if message == "bad":
            raise ValueError("bad image")
        return np.zeros((2, 4, 3), np.uint8)

    def offer(self, stamp: int, message: str = "good") -> None:
        self.worker.offer(ReceivedImage(stamp, message, 1000))

    def settle(self) -> WorkerCounts:
        def idle() -> bool:
            c = self.worker.counts
            return c.received == c.processed + c.dropped + c.failed + c.unreadable

        wait_for(idle)
        return self.worker.counts

    def do(self, job: Callable[[], Any], stamp: int = 0) -> Any:
        answers: list[tuple[Any, Exception | None]] = []
        self.worker.submit(job, lambda *answer: answers.append(answer), stamp=stamp)
        wait_for(lambda: answers)
        result, error = answers[0]
        if error is not None:
            raise error
        return result


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.tracker.gate.set()
    assert bench.worker.stop(10)


def test_frames_go_through_in_order_on_one_other_thread(bench: Bench) -> None:
    for stamp in (1, 2, 3):
        bench.offer(stamp)
        bench.settle()
    bench.do(lambda: bench.tracker.threads.add(threading.get_ident()))
    wait_for(lambda: len(bench.frames) == 3)
    assert bench.frames == [(1, "tracked 1"), (2, "tracked 2"), (3, "tracked 3")]
    assert len(bench.tracker.threads) == 1 and threading.get_ident() not in bench.tracker.threads


def test_label_images_are_asked_for_while_somebody_looks(bench: Bench) -> None:
    for stamp, looking in enumerate((True, False, True)):
        bench.looking = looking
        bench.offer(stamp)
        bench.settle()
    assert bench.tracker.labels == [True, False, True]


def test_the_newest_image_wins_and_drops_are_counted(bench: Bench) -> None:
    bench.tracker.gate.clear()
    bench.offer(1)
    wait_for(lambda: bench.decoded == 1)
    for stamp in (2, 3, 4, 5):
        bench.offer(stamp)
    bench.tracker.gate.set()
    counts = bench.settle()
    assert bench.tracker.steps == [1, 5]
    assert counts == WorkerCounts(received=5, processed=2, dropped=3)
    assert bench.decoded == 2  # nothing is decoded for nothing


def test_bad_images_and_failing_inference_do_not_end_it(bench: Bench) -> None:
    bench.offer(1, "bad")
    bench.settle()
    bench.tracker.raise_at = 2
    bench.offer(2)
    bench.settle()
    bench.offer(3)
    counts = bench.settle()
    assert bench.errors == ["1: bad image", "2: out of memory"]
    assert bench.tracker.steps == [3] and (counts.unreadable, counts.failed, counts.processed) == (1, 1, 1)
    assert bench.worker.newest is not None and bench.worker.newest.stamp == 3


def test_jobs_run_between_images_and_errors_come_back(bench: Bench) -> None:
    bench.offer(1)
    assert bench.do(lambda: 41 + 1) == 42
    with pytest.raises(ZeroDivisionError):
        bench.do(lambda: 1 // 0)
    assert bench.do(lambda: "alive") == "alive"


def test_an_image_that_a_job_is_about_comes_first(bench: Bench) -> None:
    bench.tracker.gate.clear()
    bench.offer(1)
    wait_for(lambda: bench.decoded == 1)
    bench.offer(2)
    order: list[list[int]] = []
    for stamp in (2, 1):
        bench.worker.submit(lambda: order.append(list(bench.tracker.steps)), lambda *_: None, stamp=stamp)
    bench.tracker.gate.set()
    wait_for(lambda: len(order) == 2)
    assert order == [[1, 2], [1, 2]]


def test_a_job_about_the_newest_waits_for_the_first_image(bench: Bench) -> None:
    for stamp, reason in ((0, "no image has been processed yet"), (5, "nor any other")):
        with pytest.raises(NoImageError, match=reason):
            bench.do(lambda stamp=stamp: bench.worker.frame_at(stamp))
    bench.tracker.gate.clear()
    blocked = threading.Event()
    bench.worker.submit(lambda: blocked.wait(10), lambda *_: None)
    bench.offer(7)
    answers: list[Any] = []
    bench.worker.submit(lambda: bench.worker.frame_at(0)[0].stamp, lambda *a: answers.append(a))
    bench.tracker.gate.set()
    blocked.set()
    wait_for(lambda: answers)
    assert answers == [(7, None)]


def test_images_are_not_starved_by_jobs(bench: Bench) -> None:
    hold = threading.Event()
    bench.worker.submit(lambda: hold.wait(10), lambda *_: None)
    seen: list[int] = []
    for _ in range(8):
        bench.worker.submit(lambda: seen.append(len(bench.tracker.steps)), lambda *_: None)
    bench.offer(1)
    hold.set()
    wait_for(lambda: len(seen) == 8)
    assert seen[-1] == 1 and sum(seen) >= 6


def test_frames_at_a_stamp(bench: Bench) -> None:
    bench.worker.set_history(2.0, 64.0)
    for i in range(1, 6):
        bench.offer(i * SECOND)
        bench.settle()
    at = bench.worker.frame_at
    assert bench.do(lambda: at(0))[0].stamp == 5 * SECOND
    decoded = bench.decoded
    assert bench.do(lambda: at(5 * SECOND))[0].stamp == 5 * SECOND
    assert bench.decoded == decoded  # the newest is kept as it was decoded
    frame, image = bench.do(lambda: at(4 * SECOND))
    assert frame.stamp == 4 * SECOND and image.shape == (2, 4, 3)
    with pytest.raises(NoSuchFrameError, match=r"has expired; held are 3 from 3\.0+ to 5\.0+"):
        bench.do(lambda: at(1 * SECOND))
    with pytest.raises(NoSuchFrameError, match="has not come yet"):
        bench.do(lambda: at(9 * SECOND))
    with pytest.raises(NoSuchFrameError, match=r"exactly the stamp 4\.4.*nearest is 4\.0"):
        bench.do(lambda: at(4 * SECOND + 400_000_000))


def test_history_can_be_switched_off(bench: Bench) -> None:
    bench.worker.set_history(0.0, 0.0)
    for i in (1, 2):
        bench.offer(i * SECOND)
        bench.settle()
    assert bench.do(lambda: bench.worker.frame_at(2 * SECOND))[0].stamp == 2 * SECOND
    with pytest.raises(NoSuchFrameError, match="nor any other") as refusal:
        bench.do(lambda: bench.worker.frame_at(1 * SECOND))
    assert not isinstance(refusal.value, NoImageError)  # there was one, which is not kept


def test_too_many_jobs_are_refused() -> None:
    bench = Bench(jobs=2)
    hold = threading.Event()
    started = threading.Event()
    bench.worker.submit(lambda: (started.set(), hold.wait(10)), lambda *_: None)
    assert started.wait(10)
    bench.worker.submit(lambda: None, lambda *_: None)
    bench.worker.submit(lambda: None, lambda *_: None)
    with pytest.raises(WorkerBusyError, match="2 calls wait"):
        bench.worker.submit(lambda: None, lambda *_: None)
    hold.set()
    assert bench.worker.stop(10)


def test_stop_refuses_what_waits_and_ends_what_runs() -> None:
    bench = Bench()
    hold, started = threading.Event(), threading.Event()
    answers: list[Any] = []
    bench.worker.submit(lambda: (started.set(), hold.wait(10)), lambda *a: answers.append("ran"))
    assert started.wait(10)
    bench.worker.submit(lambda: None, lambda _, error: answers.append(type(error)))
    bench.offer(1)
    assert not bench.worker.stop(0.05)
    hold.set()
    assert bench.worker.stop(10)
    assert answers == [WorkerStoppedError, "ran"] and bench.tracker.steps == []
    with pytest.raises(WorkerStoppedError):
        bench.worker.submit(lambda: None, lambda *_: None)


def test_history_is_bounded_in_time_and_bytes() -> None:
    history: FrameBuffer[str] = FrameBuffer(seconds=1.0, mib=10.0)
    for i in range(100):
        history.add(ReceivedImage(i * 100_000_000, "", 1 << 20))
    assert len(history.stamps()) == 10  # MiB
    history.mib = 1000.0
    for i in range(100, 200):
        history.add(ReceivedImage(i * 100_000_000, "", 1 << 20))
    assert len(history.stamps()) == 11  # 1 s, both ends
    assert history.find(199 * 100_000_000) is not None and history.find(5) is None


@pytest.mark.faults
def test_images_of_one_stamp_are_kept_once() -> None:
    """Though they have no pixels and never expire; the newest is found."""
    history: FrameBuffer[str] = FrameBuffer(seconds=1.0, mib=10.0)
    for i in range(10_000):
        history.add(ReceivedImage(7, str(i), 0))
    found = history.find(7)
    assert history.stamps() == [7] and found is not None and found.message == "9999"


def test_stamps_that_jump_back_leave_nothing_old() -> None:
    history: FrameBuffer[str] = FrameBuffer(seconds=1.0, mib=10.0)
    for stamp in (100 * SECOND, 101 * SECOND, 3 * SECOND):
        history.add(ReceivedImage(stamp, "", 1))
    assert history.stamps() == [3 * SECOND]


def test_it_idles_without_work(bench: Bench) -> None:
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


def late_bench(stamps: int = 10, **limits: Any) -> Bench:
    """Stamps 1.. have been processed; nothing is behind yet."""
    bench = Bench(**limits)
    for stamp in range(1, stamps + 1):
        bench.offer(stamp)
        bench.settle()
    return bench


def prompted_at(bench: Bench, stamp: int) -> None:
    bench.do(lambda: setattr(bench.tracker, "replay_stamp", stamp))
    wait_for(lambda: bench.tracker.replay_stamp is None)
    assert bench.worker.stop(10)


def test_late_objects_go_through_every_kth_kept_image_up_to_the_newest() -> None:
    bench = late_bench(replay_every=3)
    prompted_at(bench, 2)
    assert bench.tracker.replayed == [5, 8, 10] and not bench.tracker.merged


def test_live_images_come_between_the_steps_of_catching_up() -> None:
    bench = late_bench(replay_every=1)
    bench.tracker.gate.clear()
    bench.offer(11)  # is being processed, slowly
    bench.worker.submit(lambda: setattr(bench.tracker, "replay_stamp", 7), lambda *_: None, stamp=7)
    time.sleep(0.1)
    bench.offer(12)
    bench.tracker.gate.set()
    wait_for(lambda: bench.tracker.replay_stamp is None and bench.tracker.steps[-1] == 12)
    assert bench.worker.stop(10)
    assert bench.tracker.steps == list(range(1, 13)) and bench.tracker.replayed[-1] >= 11
    assert bench.frames[-1] == (12, "tracked 12")


def test_images_that_cannot_be_had_any_more_are_left_out() -> None:
    bench = Bench(replay_every=2)
    for stamp in range(1, 9):
        bench.offer(stamp, "bad" if stamp == 4 else "good")
        bench.settle()
    prompted_at(bench, 2)
    assert bench.tracker.replayed == [6, 8]
    expired = late_bench(history_seconds=0.0)
    prompted_at(expired, 2)
    assert expired.tracker.replayed == [10]  # the only one that is kept


def test_an_error_while_catching_up_is_reported_and_ends_it() -> None:
    bench = late_bench(replay_every=1)
    bench.tracker.raise_at = 5
    prompted_at(bench, 3)
    assert bench.tracker.replayed == [4] and bench.tracker.merged == [True]
    assert bench.errors == ["5: out of memory"]


@pytest.mark.faults
@pytest.mark.parametrize("each", [1, 3, 8])
def test_late_objects_come_to_the_newest_though_images_come_faster_than_steps(each: int) -> None:
    bench = late_bench(40, replay_every=1)
    replay, stamps = bench.tracker.replay, iter(range(41, 2000))

    def slowly(image: Any, stamp: int) -> None:
        replay(image, stamp)
        for _ in range(each):  # meanwhile; the worker takes the newest
            bench.offer(next(stamps))

    bench.tracker.replay = slowly  # type: ignore[method-assign]
    bench.do(lambda: setattr(bench.tracker, "replay_stamp", 2))
    wait_for(lambda: bench.tracker.replay_stamp is None, 5, "the late one to join")
    assert bench.worker.stop(10)
    assert 2 < len(bench.tracker.replayed) < 60


@pytest.mark.faults
def test_the_thread_lives_where_not_even_settling_succeeds() -> None:
    bench = late_bench(replay_every=1)
    bench.tracker.raise_at, bench.tracker.merge_failures = 5, 2
    bench.do(lambda: setattr(bench.tracker, "replay_stamp", 3))
    wait_for(lambda: bench.tracker.replay_stamp is None)
    bench.offer(11)
    assert bench.settle().processed == 11 and bench.worker.stop(10)
    assert len(bench.tracker.merged) == 3 and "10: out of memory again" in bench.errors


@pytest.mark.parametrize("where", ["step", "job"])
def test_what_ends_the_thread_is_kept_and_every_call_is_answered(where: str) -> None:
    bench = Bench()
    answers: list[Any] = []
    if where == "step":

        def ends(*_: Any, **__: Any) -> str:
            sys.exit("over")

        bench.tracker.step = ends  # type: ignore[method-assign]
        bench.offer(1)
    else:
        bench.worker.submit(lambda: sys.exit("over"), lambda _, error: answers.append(error))
    wait_for(lambda: not bench.worker.running)
    assert isinstance(bench.worker.progress.ended, SystemExit)
    assert [type(a) for a in answers] == [WorkerStoppedError][: len(answers)] and (answers or where == "step")
    with pytest.raises(WorkerStoppedError, match="call again later"):
        bench.worker.submit(lambda: None, lambda *_: None)


def test_calls_are_answered_when_their_time_is_over_and_once_only() -> None:
    bench = Bench()
    hold, started = threading.Event(), threading.Event()
    answers: list[Any] = []
    bench.worker.submit(lambda: (started.set(), hold.wait(10)), lambda *a: answers.append(a))
    assert started.wait(10)
    for _ in range(2):
        bench.worker.submit(lambda: answers.append("done"), lambda *a: answers.append(a))
    bench.worker.expire(60.0)
    assert answers == []
    bench.worker.expire(0.0)
    assert [type(error) for _, error in answers] == [WorkerLateError, WorkerLateError, WorkerHangsError]
    hold.set()
    assert bench.worker.stop(10)
    assert len(answers) == 3  # what runs is not answered again, and what was refused is not done


def test_progress_measures_images_and_calls_that_wait(bench: Bench) -> None:
    assert bench.worker.progress.stalled == 0 and bench.worker.progress.result_age == math.inf
    bench.offer(1)
    bench.settle()
    wait_for(lambda: bench.worker.progress.stalled == 0)
    assert bench.worker.progress.result_age < math.inf
    bench.tracker.gate.clear()
    bench.offer(2)
    wait_for(lambda: bench.decoded == 2)
    first = bench.worker.progress
    time.sleep(0.01)
    bench.offer(3)  # another image does not start the time anew
    second = bench.worker.progress
    assert second.stalled > first.stalled > 0 and second.result_age > first.result_age


def test_results_of_a_thread_that_was_left_behind_are_dropped() -> None:
    bench = Bench()
    bench.tracker.gate.clear()
    bench.offer(1)
    wait_for(lambda: bench.decoded == 1)
    assert not bench.worker.stop(0.0)
    bench.tracker.gate.set()
    assert bench.worker.stop(10)
    assert bench.tracker.steps == [1] and bench.frames == []
