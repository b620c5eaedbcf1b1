"""Decide when inference is started anew, with another tracker, because its thread ended or hangs."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from panosam2_ros.ros.diagnostics.findings import ERROR, Finding
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.inference.progress import WorkerProgress
from panosam2_ros.ros.inference.worker import Worker
from panosam2_ros.ros.parameters import Parameters

_MOST, _WITHIN = 3, 60.0  # times that inference is started anew within so many s
_MOST_LEFT = 2  # threads that hang: each holds a model
_TIMES_USUAL = 10  # a thread hangs where an image takes this many times as long as usual


class Recovery:
    """Watches the inference of one configured node; used on the executor's thread."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._times: deque[float] = deque(maxlen=_MOST)  # s
        self._left: list[Worker[Any]] = []  # whose threads hang
        self._problem, self._given_up = "", False
        self.count = 0  # times that inference was started anew
        self.pending = False

    def reason(self, progress: WorkerProgress, limits: Parameters) -> str:
        """Return why inference has to be started anew; empty where it works."""
        if self.pending or self._given_up:
            return ""
        if progress.ended is not None:
            return f"inference ended by {type(progress.ended).__name__}: {progress.ended}"
        limit = max(limits.restart_after, _TIMES_USUAL * progress.usual)
        if limits.restart_after and progress.stalled > limit:
            return f"inference has given no result for {progress.stalled:.0f} s: it hangs"
        return ""

    def begin(self, worker: Worker[Any], why: str) -> bool:
        """Report why, and return whether to start anew; not where that has not helped."""
        error, now = worker.progress.ended, time.monotonic()
        self._left = [each for each in self._left if each.running]
        often = len(self._times) == _MOST and now - self._times[0] < _WITHIN
        self._given_up = often or len(self._left) >= _MOST_LEFT
        if self._given_up:
            self.failed(f"{why}; starting anew has not helped {self.count} times")
            return False
        self._problem = f"{why}; its tracker is being built anew from what was remembered last"
        self._reporter.failed(self._problem, "recovery", error)
        self._times.append(now)
        if error is None:
            self._left.append(worker)
        self.count, self.pending = self.count + 1, True
        return True

    def succeeded(self) -> None:
        """Note that a new tracker has taken over."""
        self._problem, self.pending = "", False

    def failed(self, reason: str) -> None:
        """Note that the node cannot recover, and say so until it is cleaned up."""
        self._given_up, self.pending = True, False
        self._problem = (
            f"{reason}: nothing is tracked any more; deactivate the node, clean it up and configure it, or "
            "start the process anew"
        )
        self._reporter.failed(self._problem, "recovery")

    @property
    def hanging(self) -> bool:
        """Whether a thread that was left behind still runs."""
        return any(worker.running for worker in self._left)

    def findings(self) -> dict[str, Finding]:
        """Return what is wrong, by kind."""
        return {"recovery": Finding(ERROR, self._problem)} if self._problem else {}
