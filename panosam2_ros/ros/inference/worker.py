"""Run the tracker on the one thread that owns it. Nothing here knows ROS.

Images and jobs are handed over and never waited for: a newer image replaces one that waits, jobs
run between images, and results go to callbacks on this thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.ros.inference.frame_buffer import (
    FrameBuffer,
    M,
    NoImageError,
    NoSuchFrameError,
    ReceivedImage,
    not_held,
)
from panosam2_ros.ros.inference.late_replay import LateReplay
from panosam2_ros.ros.inference.progress import ProgressMonitor, WorkerProgress
from panosam2_ros.ros.inference.worker_call import WorkerCall
from panosam2_ros.ros.inference.worker_state import WorkerCounts, WorkerLimits, WorkerQueue

if TYPE_CHECKING:
    from panosam2_ros.tracking.track import TrackedFrame
    from panosam2_ros.tracking.tracker import PanoTracker


class WorkerBusyError(RuntimeError):
    """As many jobs wait as may wait."""


class WorkerLateError(WorkerBusyError):
    """The thread did not come to the job in time; the job is not done."""


class WorkerHangsError(RuntimeError):
    """The job is not over in time; it may still take effect."""


class WorkerStoppedError(RuntimeError):
    """The thread was stopped, or ended, before it came to the job."""


_RETRY_AFTER = 0.5  # s, after a replay that failed


@dataclass(frozen=True)
class Callbacks(Generic[M]):
    """What the worker calls on its thread."""

    decode: Callable[[M], ImageArray]  # message -> RGB [H, W, 3]; raises for what it cannot read
    on_frame: Callable[[ReceivedImage[M], TrackedFrame], None]
    on_error: Callable[[ReceivedImage[M], Exception], None]
    wants_labels: Callable[[], bool] = lambda: True  # whether anybody looks at label images now


class Worker(Generic[M]):
    """Runs a tracker on a thread of its own; ``start`` and ``stop`` are called once each."""

    def __init__(
        self,
        tracker: PanoTracker,
        callbacks: Callbacks[M],
        limits: WorkerLimits,
        *,
        on_start: Callable[[], None] = lambda: None,  # called first on the thread
    ) -> None:
        self.tracker = tracker  # touched by jobs and by this thread only
        self._callbacks, self._on_start, self._job_limit = callbacks, on_start, limits.jobs
        self._late = LateReplay(tracker, limits.replay_every, self.frame_at, callbacks.on_error)
        self._history: FrameBuffer[M] = FrameBuffer(limits.history_seconds, limits.history_mib)
        self._change = threading.Condition()  # guards everything below
        self._jobs: deque[WorkerCall] = deque()
        self._running: WorkerCall | None = None
        self._waiting: ReceivedImage[M] | None = None
        self._newest: tuple[ReceivedImage[M], ImageArray] | None = None
        self._counts = WorkerCounts()
        self._progress = ProgressMonitor()
        self._stopping = False
        self._abandoned = False  # whoever stopped it did not wait to the end
        self._image_turn = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float | None) -> bool:
        """Finish what runs, refuse what waits; return False where it still runs after ``timeout`` s."""
        self._refuse_all(WorkerStoppedError("the tracker was stopped before it came to this call"))
        self._thread.join(timeout)
        with self._change:
            self._abandoned = self.running
            late = self._running
        if late is not None and self.running:
            late.answer(None, WorkerStoppedError("the tracker was stopped while it worked on this call"))
        return not self.running

    def _refuse_all(self, reason: WorkerStoppedError) -> None:
        """Take nothing any more, and refuse what waits."""
        with self._change:
            self._stopping = True
            refused, self._waiting = list(self._jobs), None
            self._jobs.clear()
            self._change.notify()
        for job in refused:
            job.answer(None, reason)

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def progress(self) -> WorkerProgress:
        """Whether results come, now."""
        with self._change:
            return self._progress.now()

    def expire(self, timeout: float) -> None:
        """Answer the calls that are older than ``timeout`` s; one that runs may still take effect."""
        with self._change:
            late = [job for job in self._jobs if job.age > timeout]
            self._jobs = deque(job for job in self._jobs if job not in late)
            running = self._running
        reason = (
            f"the tracker did not come to this call within {timeout:g} s (call_timeout): call again later"
        )
        for job in late:
            job.answer(None, WorkerLateError(reason))
        if running is not None and running.age > timeout:
            reason = f"the tracker has not finished this call within {timeout:g} s (call_timeout)"
            running.answer(None, WorkerHangsError(f"{reason}; it may still take effect: see get_objects"))

    @property
    def counts(self) -> WorkerCounts:
        """Counts since the start."""
        with self._change:
            return self._counts

    @property
    def queue(self) -> WorkerQueue:
        """What waits and what is kept now."""
        with self._change:
            kept = self._history
            waits = int(self._waiting is not None)
            return WorkerQueue(len(self._jobs), waits, len(kept.stamps()), kept.held_mib)

    def forget_frames(self) -> bool:
        """Drop the images that are kept; return whether there were any."""
        with self._change:
            any_kept = self._history.held_mib > 0
            self._history.clear()
            return any_kept

    @property
    def newest(self) -> ReceivedImage[M] | None:
        """The newest processed image; None before the first."""
        with self._change:
            return self._newest[0] if self._newest else None

    def set_history(self, seconds: float, mib: float) -> None:
        """Change how many images are kept, from the next image on."""
        with self._change:
            self._history.seconds, self._history.mib = seconds, mib

    def offer(self, frame: ReceivedImage[M]) -> None:
        """Hand an image over, and drop one that still waits."""
        with self._change:
            dropped = self._waiting is not None
            self._waiting = frame
            self._history.add(frame)
            self._progress.offered()
            self._count(received=1, dropped=int(dropped))
            self._change.notify()

    def submit(
        self,
        run: Callable[[], Any],
        done: Callable[[Any, Exception | None], None],  # result, or what was raised
        *,
        stamp: int = 0,  # ns, of the image that it is about; 0: the newest
    ) -> None:
        """Run a job between images; raise WorkerBusyError or WorkerStoppedError where it cannot be taken."""
        with self._change:
            if self._stopping:
                ended = (
                    "ended and is started again: call again later" if self._progress.ended else "was stopped"
                )
                raise WorkerStoppedError(f"the tracker {ended}")
            if len(self._jobs) >= self._job_limit:
                self._count(refused=1)
                raise WorkerBusyError(
                    f"{len(self._jobs)} calls wait for the tracker already: call again later"
                )
            self._jobs.append(WorkerCall(run, done, stamp))
            self._change.notify()

    def frame_at(self, stamp: int) -> tuple[ReceivedImage[M], ImageArray]:
        """Return message and RGB image [H, W, 3] of exactly this stamp; 0: the newest processed one.

        For jobs. Raise NoImageError before the first image, NoSuchFrameError, or what ``decode`` raises.
        """
        with self._change:
            newest = self._newest
        if newest and stamp in (0, newest[0].stamp):
            return newest
        held = self.received_at(stamp)
        return held, self._callbacks.decode(held.message)

    def received_at(self, stamp: int) -> ReceivedImage[M]:
        """Return the image of exactly this stamp as it was received, as ``frame_at`` without decoding it."""
        with self._change:
            newest, held = self._newest, self._history.find(stamp)
            stamps = self._history.stamps()
        if newest and stamp in (0, newest[0].stamp):
            return newest[0]
        if stamp == 0:
            raise NoImageError("no image has been processed yet: call again when one has come")
        if held is None:
            raise (NoSuchFrameError if newest or stamps else NoImageError)(not_held(stamp, stamps))
        return held

    def _run(self) -> None:
        try:
            self._on_start()
            self._loop()
        except BaseException as error:  # SystemExit too, say: a thread that ends in silence helps nobody
            with self._change:
                self._progress.ended = error
            self._refuse_all(WorkerStoppedError(f"inference ended by {type(error).__name__}: {error}"))

    def _loop(self) -> None:
        while True:
            with self._change:
                while not (self._stopping or self._jobs or self._waiting or self.tracker.replaying):
                    self._change.wait()
                if self._stopping:
                    return
                job, frame = self._take()
                self._running = job
                self._progress.began()
            if job is not None:
                self._work(job)
            elif frame is not None:
                self._process(frame)
            if self.tracker.replaying:  # between images: none waits for more than one step of this
                self._try_replay()
            else:
                self._late.reset()
            with self._change:
                self._running = None
                self._progress.finished(image=frame is not None, waiting=self._waiting is not None)
            del job, frame  # an image of many megabytes must not stay alive while waiting

    def _try_replay(self) -> None:
        """Do a step of the replay; where that fails, for want of memory for example, try again soon."""
        with self._change:
            until = self._newest[0].stamp if self._newest else 0
            kept = [stamp for stamp in self._history.stamps() if stamp <= until]
            received = self._counts.received
        try:
            self._late.step(kept, received)
        except Exception as error:
            if self._newest is not None:
                self._callbacks.on_error(self._newest[0], error)
            with self._change:
                if not (self._stopping or self._jobs or self._waiting):
                    self._change.wait(_RETRY_AFTER)

    def _take(self) -> tuple[WorkerCall | None, ReceivedImage[M] | None]:
        """Take a job or an image, interleaved; an image that a job is about always comes first."""
        frame = self._waiting
        if self._jobs and frame is not None:
            first = self._jobs[0].stamp
            about = first == frame.stamp or (first == 0 and self._newest is None)
            self._image_turn = about or not self._image_turn
        if self._jobs and (frame is None or not self._image_turn):
            return self._jobs.popleft(), None
        self._waiting = None
        return None, frame

    def _work(self, job: WorkerCall) -> None:
        try:
            result, error = job.run(), None
        except Exception as raised:  # whatever it is, the caller learns of it and the thread lives
            result, error = None, raised
        except BaseException as raised:
            job.answer(None, WorkerStoppedError(f"inference ended by {type(raised).__name__}: {raised}"))
            raise
        job.answer(result, error)

    def _process(self, frame: ReceivedImage[M]) -> None:
        try:
            image = self._callbacks.decode(frame.message)
        except Exception as error:  # one bad frame must not end the stream
            with self._change:
                self._count(unreadable=1)
            self._callbacks.on_error(frame, error)
            return
        try:
            tracked = self.tracker.step(image, frame.stamp, labels=self._callbacks.wants_labels())
            if self._abandoned:  # another tracker has taken over
                return
            with self._change:
                self._newest = (frame, image)
                self._count(processed=1)
            self._callbacks.on_frame(frame, tracked)
        except Exception as error:  # nor must one on which inference fails
            with self._change:
                if self._newest is None or self._newest[0] is not frame:
                    self._count(failed=1)
            self._callbacks.on_error(frame, error)

    def _count(self, **more: int) -> None:
        changed = {name: getattr(self._counts, name) + n for name, n in more.items()}
        self._counts = replace(self._counts, **changed)
