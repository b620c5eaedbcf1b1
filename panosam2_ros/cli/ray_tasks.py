"""Tracking of many sources on a Ray cluster, each source a task that Ray begins again where it is killed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from panosam2_ros.cli.local_workers import Advanced
from panosam2_ros.cli.track_jobs import JobResult, SourceJob, run_job
from panosam2_ros.io.printable import printable

_EVERY = 1.0  # s between reports of progress


class RayError(ValueError):
    """A cluster that cannot be used; the message names the remedy."""


class _Board:
    """An actor to which tasks report: how often each was begun, and how far it is."""

    def __init__(self) -> None:
        self._tries: dict[int, int] = {}
        self._frames: dict[int, tuple[int, int]] = {}

    def begin(self, index: int) -> None:
        self._tries[index] = self._tries.get(index, 0) + 1

    def advance(self, index: int, done: int, total: int) -> None:
        self._frames[index] = done, total

    def read(self) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
        return self._tries, self._frames


def track_on_ray(
    jobs: Sequence[SourceJob], address: str, *, workers: int, tries: int, advanced: Advanced
) -> Iterator[tuple[SourceJob, JobResult]]:
    """Yield jobs with their results as they end; ``workers`` at most run at the same time, 0: as many as fit.

    Raises RayError where there is no Ray or no such cluster.
    """
    ray = _connected(address, workers)
    try:
        board = ray.remote(num_cpus=0)(_Board).remote()
        gpus = 1 if _has_gpus(ray) and jobs and jobs[0].options.device != "cpu" else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=tries - 1, retry_exceptions=True)(_task)
        waiting, running = list(reversed(jobs)), dict[Any, SourceJob]()
        while waiting or running:
            while waiting and len(running) < (workers or len(jobs)):
                job = waiting.pop()
                running[task.remote(job, board)] = job
            ended, _ = ray.wait(list(running), timeout=_EVERY)
            counts, frames = ray.get(board.read.remote())
            for job in running.values():
                if job.index in frames:
                    advanced(job, *frames[job.index])
            for reference in ended:
                job = running.pop(reference)
                yield job, replace(_result(ray, reference), tries=counts.get(job.index, 1))
    except ray.exceptions.RayError as error:
        reason = printable(str(error), most=200)
        raise RayError(
            f"the Ray cluster is lost ({reason}); the same command goes on where it was"
        ) from error
    finally:
        ray.shutdown()


def _connected(address: str, workers: int) -> Any:
    """Return the module ``ray``, connected; raise RayError where that fails."""
    try:
        import ray
    except ImportError as error:
        raise RayError(f'--ray needs the package ray: pip install "ray>=2.40" ({error})') from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        options |= {"include_dashboard": False, "num_cpus": workers or None}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a command that tracks reports to nobody
    try:
        ray.init(address=address, **options)
    except Exception as error:  # ConnectionError and others
        raise RayError(
            f"there is no Ray cluster at {address!r} ({printable(str(error), most=200)}): start one with "
            "ray start --head, or give --ray local"
        ) from error
    return ray


def _has_gpus(ray: Any) -> bool:
    return bool(ray.cluster_resources().get("GPU", 0))


def _result(ray: Any, reference: Any) -> JobResult:
    """Return the result of a task that has ended, or why it has none."""
    try:
        result: JobResult = ray.get(reference)
        return result
    except Exception as error:  # RayError: the worker died, or what the task raised, too often
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return JobResult(error=printable(f"{type(error).__name__}: {reason[-1]}", most=300))


def _task(job: SourceJob, board: Any) -> JobResult:
    """Run a job on a worker of the cluster; what it prints goes to its log."""
    board.begin.remote(job.index)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        return run_job(job, _reporting(board, job.index))


def _reporting(board: Any, index: int) -> Callable[[int, int], None]:
    """Return a function that reports progress, not too often."""
    sent = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal sent
        if time.monotonic() - sent > _EVERY or done == total:
            board.advance.remote(index, done, total)
            sent = time.monotonic()

    return progress
