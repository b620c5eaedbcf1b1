"""What a configured node holds and an unconfigured one does not: model, tracker, worker and memory files."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rclpy.node import Node
from rclpy.timer import Timer

from panosam2_ros.ros.diagnostics.status import ModelInfo, TrackerStatus
from panosam2_ros.ros.inference.memory_store import MemoryStore
from panosam2_ros.ros.inference.tracker_factory import build_tracker, worker_limits
from panosam2_ros.ros.inference.worker import Callbacks, Worker
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.tracking.threads import use_threads

_PATIENCE = 30.0  # s for the image or call that is being worked on when the runtime ends


class TrackingRuntime:
    """Begins when the node is configured and ends with ``close``; used on the executor's thread.

    Raises what ``build_tracker`` raises, and OSError.
    """

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        callbacks: Callbacks[Any],
        memory_failed: Callable[[str], None],  # told why a file could not be written or read; on any thread
        *,
        epoch: int,
    ) -> None:
        self._node = node
        tracker = build_tracker(parameters)
        tracker.epoch = epoch
        self.memory_store = MemoryStore(
            tracker, parameters.memory_directory, parameters.memory_file, memory_failed
        )
        if restored := self.memory_store.restore():
            node.get_logger().info(restored)
        threads = partial(use_threads, parameters.num_threads, tracker.model)
        self.worker: Worker[Any] = Worker(tracker, callbacks, worker_limits(parameters), on_start=threads)
        tracker.batcher.release_caches = self.worker.forget_frames
        device = str(tracker.model.device)
        self.model = ModelInfo(device, parameters.model, tracker.model.weights_sha256)
        self.tracked = TrackerStatus.of(tracker)  # replaced as a whole, by the worker's thread
        self._save_timer: Timer | None = None
        if parameters.memory_file and parameters.save_interval > 0:
            self._save_timer = node.create_timer(parameters.save_interval, self.save)
        node.get_logger().info(f"model {parameters.model} on {device}")

    def start(self) -> None:
        """Start the worker."""
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

    def update_status(self) -> None:
        """Note what the diagnostics report of the tracker; called on the worker's thread."""
        self.tracked = TrackerStatus.of(self.worker.tracker)

    def close(self) -> int:
        """End the worker, save, and free what is held; return the epoch of the next runtime."""
        if self._save_timer is not None:
            self._node.destroy_timer(self._save_timer)
            self._save_timer = None
        stopped = self.worker.stop(timeout=_PATIENCE)
        if not stopped:
            self._node.get_logger().error(
                f"inference did not end within {_PATIENCE:.0f} s: its thread is left behind, and what it "
                "remembers is not saved"
            )
        self.memory_store.close(save=stopped)
        return self.worker.tracker.epoch + 1


def free_memory() -> None:
    """Give memory of a runtime that is not referred to any more back to the system and the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
