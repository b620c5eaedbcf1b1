"""Save what the tracker remembers to files and load it again, on a thread of its own.

The tracker's thread only hands over a snapshot, which costs it nothing, or takes one in. Nothing here
knows ROS.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from panosam2_ros.io.printable import listed
from panosam2_ros.memory.memory_file import TrackerSnapshot, load_snapshot, memory_path, save_snapshot
from panosam2_ros.memory.memory_header import MAX_OBJ_ID, MemoryFileError
from panosam2_ros.ros.inference.worker import Worker, WorkerBusyError, WorkerStoppedError
from panosam2_ros.tracking.tracker import PanoTracker

SKIPPED_IDS = 256  # left out after a kill: some may have been given since the file was written
REFUSED = ".refused"  # ending of a file that could not be used and must not be written over
_MOST_CALLS = 4  # calls that may wait for the disk
_Result = TypeVar("_Result")
Failed = Callable[[str], None]  # told why a file could not be written or read; any thread


class MemoryStore:
    """The memory files of one tracker.

    ``file``: the one that is restored at the start and saved repeatedly; empty: none.
    """

    def __init__(self, tracker: PanoTracker, directory: str, file: str, failed: Failed) -> None:
        self.directory, self._tracker, self._failed = Path(directory).expanduser(), tracker, failed
        self._network = tracker.network
        self._path = memory_path(self.directory, file) if file else None
        self._pool = ThreadPoolExecutor(1, "memory")
        self._calls: set[Future[Any]] = set()  # that wait for the disk, or are being done
        self._lock = threading.Lock()  # of that and of the two below
        self._saving, self._again = False, False  # again: something changed while it was being saved
        self.restored, self._closed = False, False
        self._last: list[Future[None]] = []  # what is written when it is closed
        self.lately: Callable[[], TrackerSnapshot | None] = lambda: None  # what was remembered lately

    def restore(self, known: TrackerSnapshot | None = None) -> str:
        """Restore the file, or ``known``, before the tracker has a thread; return what happened, for the log.

        A file that cannot be used is put aside, and the tracker starts empty.
        """
        if known is not None:
            self._tracker.restore(self._with_unused_ids(known))
            self.restored = True
            return f"remembering objects {[item.obj_id for item in known.objects]}"
        if self._path is None:
            return ""
        try:
            memory = self._read(self._path)
            self._tracker.restore(self._with_unused_ids(memory))
        except FileNotFoundError:
            return f"no memory at {self._path} yet: starting empty"
        except Exception as error:  # whatever a file does, the node starts
            aside = _free(self._path.with_name(self._path.name + REFUSED))
            try:
                self._path.replace(aside)
                kept = f"the file is kept as {aside}"
            except OSError as also:
                kept = f"nor could it be put aside: {also}"
            self._failed(f"memory not restored: {error}; {kept}; starting empty")
            return ""
        self.restored = True
        ids = [item.obj_id for item in memory.objects]
        return f"remembering objects {listed(ids)} from {self._path}"

    def _with_unused_ids(self, memory: TrackerSnapshot) -> TrackerSnapshot:
        """Return the snapshot with a next id and an epoch that no other object can have had."""
        epoch, next_id = max(memory.epoch, self._tracker.epoch), memory.next_id
        if not memory.final:
            next_id += SKIPPED_IDS
        if next_id > MAX_OBJ_ID:
            epoch, next_id = epoch + 1, max((item.obj_id for item in memory.objects), default=0) + 1
        return replace(memory, epoch=epoch, next_id=next_id)

    def save(self, name: str, memory: TrackerSnapshot) -> Future[None]:
        """Write a file of that name; raise MemoryFileError for a bad name, or WorkerBusyError."""
        path = memory_path(self.directory, name)
        return self._submit(partial(save_snapshot, path, memory, self._network))

    def load(self, name: str) -> Future[TrackerSnapshot]:
        """Read a file of that name; raise MemoryFileError for a bad name, or WorkerBusyError."""
        return self._submit(partial(self._read_named, memory_path(self.directory, name)))

    def _submit(self, job: Callable[[], _Result]) -> Future[_Result]:
        """Do a job for a call; raise WorkerBusyError where as many wait as may wait."""
        with self._lock:
            if len(self._calls) >= _MOST_CALLS:
                raise WorkerBusyError(f"{len(self._calls)} calls wait for the disk already: call again later")
            call = self._pool.submit(job)
            self._calls.add(call)
        call.add_done_callback(self._over)
        return call

    def _over(self, call: Future[Any]) -> None:
        with self._lock:
            self._calls.discard(call)

    def save_soon(self, worker: Worker[Any]) -> None:
        """Save what is remembered now, or once more after the saving that is not over yet; on any thread.

        Where the worker is too busy to be asked, what ``lately`` returns is saved.
        """
        if self._path is None:
            return
        with self._lock:
            self._again = self._saving
            if self._saving:
                return
            self._saving = True
        try:
            worker.submit(self._tracker.snapshot, partial(self._write_later, worker))
        except WorkerBusyError as error:
            self._write_later(worker, None, error)
        except WorkerStoppedError:
            self._saving = False  # the end saves it

    def _saved(self, worker: Worker[Any]) -> None:
        """Note that saving is over, successful or not; called on any thread."""
        with self._lock:
            self._saving = False
        if self._again:
            self.save_soon(worker)

    def _write_later(
        self, worker: Worker[Any], memory: TrackerSnapshot | None, error: Exception | None
    ) -> None:
        """Have a snapshot written; called with it on the worker's thread, or with what was raised."""
        if isinstance(error, WorkerBusyError):
            memory = self.lately()
        if memory is None:
            self._saved(worker)
            if not isinstance(error, WorkerStoppedError):
                self._not_saved(error)
            return

        def write() -> None:
            try:
                self._write(memory)
            finally:  # else nothing would ever be saved again
                self._saved(worker)

        try:
            self._pool.submit(write)
        except RuntimeError as refused:  # closed meanwhile, or no thread can be started
            self._saved(worker)
            self._not_saved(refused)

    def _write(self, memory: TrackerSnapshot) -> None:
        if self._path is None:
            return
        try:
            save_snapshot(self._path, memory, self._network)
        except Exception as error:  # out of memory is a RuntimeError where torch finds it
            self._not_saved(error)

    def _not_saved(self, error: Exception | None) -> None:
        remedy = "; make room there or set memory_directory" if isinstance(error, OSError) else ""
        self._failed(f"memory not saved to {self._path}: {error}{remedy}")

    def _read(self, path: Path) -> TrackerSnapshot:
        return load_snapshot(path, self._tracker.empty_banks(), self._network, self._tracker.max_objects)

    def _read_named(self, path: Path) -> TrackerSnapshot:
        try:
            return self._read(path)
        except FileNotFoundError as error:
            raise MemoryFileError(f"{error}: save it first, or see memory_directory") from error

    def close(self, snapshot: TrackerSnapshot | None, *, timeout: float) -> None:
        """Save a snapshot, None: nothing, after what is being written; wait up to ``timeout`` s for it.

        Calls that wait for the disk are cancelled. A second time, on any thread, what the first one saves is
        waited for, and nothing else is saved.
        """
        with self._lock:
            first, self._closed = not self._closed, True
            waiting = list(self._calls)
            if first:
                self._last = self._submitted_last(snapshot)
        for call in waiting:
            call.cancel()
        _, late = wait(self._last, timeout)
        if late and first:
            self._not_saved(OSError(f"the disk did not take it within {timeout:g} s"))
        self._pool.shutdown(wait=not late)

    def _submitted_last(self, snapshot: TrackerSnapshot | None) -> list[Future[None]]:
        """Have a snapshot written after all else; return what to wait for."""
        pending: list[Future[None]] = []
        try:
            pending.append(self._pool.submit(lambda: None))
            if snapshot is not None and self._path is not None:
                pending.append(self._pool.submit(self._write, snapshot))
        except Exception as error:  # no thread can be started
            self._not_saved(error)
        return pending


def _free(path: Path) -> Path:
    """Return the path, or one beside it that no file has, so that earlier files stay."""
    others = (path.with_name(f"{path.name}.{count}") for count in itertools.count(1))
    return next(p for p in itertools.chain([path], others) if not p.exists())
