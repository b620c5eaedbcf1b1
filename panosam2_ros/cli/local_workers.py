"""Tracking of many sources in processes of this machine, each source in one of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tqdm import tqdm

from panosam2_ros.cli.track_jobs import JobResult, SourceJob, run_job
from panosam2_ros.io.printable import printable

Advanced = Callable[[SourceJob, int, int], None]  # frames that are tracked, of how many; 0: unknown
_EVERY = 0.5  # s between reports of progress
_ENDED = (EOFError, OSError)


@dataclass(eq=False)
class _Worker:
    job: SourceJob
    slot: int
    tries: int
    process: BaseProcess
    connection: Connection
    result: JobResult | None = None


def track_locally(
    jobs: Sequence[SourceJob], *, workers: int, tries: int, advanced: Advanced
) -> Iterator[tuple[SourceJob, JobResult]]:
    """Yield jobs with their results as they end; at most ``workers`` run at the same time.

    A job whose process fails or is killed is begun again, ``tries`` times in all. Where the iteration ends
    early, all processes are ended.
    """
    context = multiprocessing.get_context("spawn")
    waiting = deque((job, 1) for job in jobs)
    running: list[_Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                slot = next(s for s in range(workers) if s not in {w.slot for w in running})
                running.append(_begun(context, *waiting.popleft(), slot, workers))
            wait([w.connection for w in running] + [w.process.sentinel for w in running], 1.0)
            for worker in [w for w in running if not _listen(w, advanced)]:
                running.remove(worker)
                if worker.result is None and worker.tries < tries:
                    waiting.appendleft((worker.job, worker.tries + 1))
                    continue
                result = worker.result or JobResult(error=_reason(worker))
                yield worker.job, replace(result, tries=worker.tries)
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.join(10)


def _begun(
    context: multiprocessing.context.SpawnContext, job: SourceJob, tries: int, slot: int, workers: int
) -> _Worker:
    """Begin a job in a process of its own."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, theirs, slot, workers), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Worker(job, slot, tries, process, ours)


def _listen(worker: _Worker, advanced: Advanced) -> bool:
    """Take what a worker has sent; return whether it still runs."""
    running = worker.process.is_alive()  # before the pipe is read to its end
    try:
        while worker.connection.poll():
            message = worker.connection.recv()
            if isinstance(message, JobResult):
                worker.result = message
            else:
                advanced(worker.job, *message)
    except Exception:  # the end, or what a process that was killed had begun to send
        worker.process.join(10)
        running = worker.process.is_alive()
    if not running:
        worker.process.join()
        worker.connection.close()
    return running


def _reason(worker: _Worker) -> str:
    """Return why a worker has ended without a result."""
    code = worker.process.exitcode or 0
    with contextlib.suppress(ValueError):
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name}, {worker.tries} times"
    last = ""
    with contextlib.suppress(OSError):
        lines = worker.job.log.read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
    return printable(f"its process ended with status {code}, {worker.tries} times{last}", most=300)


def _work(job: SourceJob, connection: Connection, slot: int, workers: int) -> None:
    """Run a job; what it prints goes to its log."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all: the parent says what is to be said
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a process that is killed leaves behind
    job = replace(job, options=copy(job.options))
    _share(job, slot, workers)
    sent = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal sent
        if time.monotonic() - sent > _EVERY or done == total:
            connection.send((done, total))  # fails where the parent was killed: this ends, too
            sent = time.monotonic()

    try:
        connection.send(run_job(job, progress))
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _share(job: SourceJob, slot: int, workers: int) -> None:
    """Give a worker its share of the CPUs and GPUs."""
    import cv2
    import torch

    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    devices = torch.cuda.device_count() if job.options.device in ("auto", "cuda") else 0
    if devices > 1:
        job.options.device = f"cuda:{slot % devices}"
