"""What a configured node holds and an unconfigured one does not: model, tracker, worker and memory files."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rclpy.node import Node
from rclpy.timer import Timer

from panosam2_ros.io.out_of_memory import raise_lack_of_memory
from panosam2_ros.memory.memory_file import TrackerSnapshot
from panosam2_ros.ros.diagnostics.status import ModelInfo, TrackerStatus
from panosam2_ros.ros.inference.memory_store import MemoryStore
from panosam2_ros.ros.inference.tracker_factory import build_tracker, worker_limits
from panosam2_ros.ros.inference.worker import Callbacks, Worker
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.tracking.threads import use_threads
from panosam2_ros.tracking.tracker import PanoTracker

_SNAPSHOT_EVERY = 1.0  # s; what is saved, and gone on from, where the thread ends or hangs
_DISK_PATIENCE = 8.0  # s for the files at the end: the launch files wait 10 s before they kill


@dataclass(frozen=True, eq=False)
class LoadedTracker:
    """A tracker that no thread runs yet, and its memory files."""

    tracker: PanoTracker
    memory_store: MemoryStore
    restored: str  # what was restored, for the log; may be empty


def load_tracker(
    parameters: Parameters,
    memory_failed: Callable[[str], None],  # told why a file could not be written or read; on any thread
    *,
    epoch: int,
    known: TrackerSnapshot | None = None,  # gone on from; None: from the memory file, where one is set
) -> LoadedTracker:
    """Load a model and what is remembered, on any thread; this takes seconds.

    Raises what ``build_tracker`` raises, OSError, and LackOfMemoryError.
    """
    try:
        Path(parameters.memory_directory).expanduser()
    except RuntimeError as error:
        place = repr(parameters.memory_directory)
        raise ValueError(f"memory_directory is {place}, and {error} Set HOME, or a path without ~") from error
    try:
        tracker = build_tracker(parameters)
    except Exception as error:
        raise_lack_of_memory(error)
        raise
    tracker.epoch = epoch
    store = MemoryStore(tracker, parameters.memory_directory, parameters.memory_file, memory_failed)
    return LoadedTracker(tracker, store, store.restore(known))


class TrackingRuntime:
    """Begins when the node is configured and ends with ``close``; used on the executor's thread."""

    def __init__(
        self, node: Node, parameters: Parameters, loaded: LoadedTracker, callbacks: Callbacks[Any]
    ) -> None:
        self._node, tracker = node, loaded.tracker
        self.memory_store = loaded.memory_store
        if loaded.restored:
            node.get_logger().info(loaded.restored)
        threads = partial(use_threads, parameters.num_threads, tracker.model)
        self.worker: Worker[Any] = Worker(tracker, callbacks, worker_limits(parameters), on_start=threads)
        tracker.batcher.release_caches = self.worker.forget_frames
        device = str(tracker.model.device)
        self.model = ModelInfo(device, parameters.model, tracker.model.weights_sha256)
        self.tracked = TrackerStatus.of(tracker)  # replaced as a whole, by the worker's thread
        self.known: TrackerSnapshot | None = None  # what was remembered lately; replaced likewise
        self._known_at = time.monotonic()
        self.memory_store.lately = lambda: self.known
        self._save_timer: Timer | None = None
        if parameters.memory_file and parameters.save_interval > 0:
            self._save_timer = node.create_timer(parameters.save_interval, self.save)
        node.get_logger().info(f"model {parameters.model} on {device}")

    def start(self) -> None:
        """Start the worker."""
        self.known = self.worker.tracker.snapshot()
        self.worker.start()
        if self.memory_store.restored:
            self.save()  # the file that was restored is not final any more

    def save(self) -> None:
        """Save what is remembered, where a memory file is set."""
        self.memory_store.save_soon(self.worker)

    def changed(self) -> None:
        """Save what is remembered, unless it is saved only at the end."""
        if self._save_timer is not None:
            self.save()

    def update_status(self, *, changed: bool = False) -> None:
        """Note what diagnostics and an unexpected end need of the tracker; called on the worker's thread.

        ``changed``: by a call, so that what is remembered is noted at once.
        """
        self.tracked = TrackerStatus.of(self.worker.tracker)
        if changed or time.monotonic() - self._known_at > _SNAPSHOT_EVERY:
            with contextlib.suppress(Exception):  # for want of memory, say: the one before stays
                self.known, self._known_at = self.worker.tracker.snapshot(), time.monotonic()

    def stop(self, patience: float) -> bool:
        """End the worker, within ``patience`` s; return False where its thread is left behind."""
        if self._save_timer is not None:
            self._node.destroy_timer(self._save_timer)
            self._save_timer = None
        return self.worker.stop(timeout=patience)

    def close(self, patience: float) -> int:
        """End the worker, save, and free what is held; return the epoch of the next runtime."""
        stopped = self.stop(patience)
        if not stopped:
            self._node.get_logger().warning(
                f"inference was not over within {patience:g} s: its thread is left behind, and what was "
                f"remembered {time.monotonic() - self._known_at:.1f} s ago is saved"
            )
        sound = stopped and self.worker.progress.ended is None
        self.memory_store.close(self._last() if sound else self.known, timeout=_DISK_PATIENCE)
        return self.worker.tracker.epoch + 1

    def _last(self) -> TrackerSnapshot | None:
        """Return what is remembered at the end, when no thread runs the tracker any more."""
        try:
            return replace(self.worker.tracker.snapshot(), final=True)
        except Exception as error:  # for want of memory, say
            self._node.get_logger().error(
                f"what is remembered cannot be taken: {error}; saving the last known"
            )
            return self.known


def free_memory() -> None:
    """Give memory of a runtime that is not referred to any more back to the system and the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
