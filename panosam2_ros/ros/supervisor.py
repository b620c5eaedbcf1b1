"""Load, start, watch, replace and end what a configured node holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from panosam2_ros.ros.diagnostics.findings import Finding
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.inference.worker import Callbacks, Worker
from panosam2_ros.ros.lifecycle_node import SteadyLifecycleNode
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.recovery import Recovery
from panosam2_ros.ros.runtime import LoadedTracker, TrackingRuntime, free_memory, load_tracker

_PATIENCE, _PATIENCE_AT_THE_END = 3.0, 1.0  # s for the image or call that is being worked on
_DISK_PATIENCE = 10.0  # s, before a tracker is built anew


class RuntimeSupervisor:
    """Has the runtime while the node is configured; used on the executor's thread."""

    def __init__(
        self,
        node: SteadyLifecycleNode,
        reporter: Reporter,
        callbacks: Callable[[Parameters], Callbacks[Any]],
        memory_failed: Callable[[str], None],  # told why a file could not be written or read; on any thread
    ) -> None:
        self._node, self._reporter = node, reporter
        self._callbacks, self._memory_failed = callbacks, memory_failed
        self._loaded: LoadedTracker | Exception | None = None  # while the node is being configured
        self._workers_left: list[Worker[Any]] = []  # whose threads had not ended when they were left
        self._recovery = Recovery(reporter)
        self._epoch = 0  # of the next runtime
        self.runtime: TrackingRuntime | None = None  # None while unconfigured
        self._closing: TrackingRuntime | None = None  # which is ended now

    async def load(self, parameters: Parameters) -> None:
        """Load the model on a thread of its own; ``begin`` raises what that raises."""
        load = partial(load_tracker, parameters, self._memory_failed, epoch=self._epoch)
        try:
            self._loaded = await self._node.in_thread(load, "loading")
        except Exception as error:
            self._loaded = error

    def begin(self, parameters: Parameters) -> None:
        """Start inference with the model that was loaded, or load it first; raise what loading raises."""
        loaded, self._loaded = self._loaded, None
        if isinstance(loaded, Exception):
            raise loaded
        if loaded is None:
            loaded = load_tracker(parameters, self._memory_failed, epoch=self._epoch)
        self._recovery = Recovery(self._reporter)
        self._start(parameters, loaded)

    def _start(self, parameters: Parameters, loaded: LoadedTracker) -> None:
        self.runtime = TrackingRuntime(self._node, parameters, loaded, self._callbacks(parameters))
        self.runtime.start()

    def watch(self, parameters: Parameters) -> None:
        """Answer calls that wait too long, and start inference anew where it ended or hangs."""
        runtime = self.runtime
        if runtime is None:
            return
        runtime.worker.expire(parameters.call_timeout)
        why = self._recovery.reason(runtime.worker.progress, parameters)
        if why and self._recovery.begin(runtime.worker, why):
            self._node.soon(partial(self._restart, runtime, parameters))

    async def _restart(self, runtime: TrackingRuntime, parameters: Parameters) -> None:
        """Have another tracker go on from what was remembered last."""
        recovery, known, epoch = self._recovery, runtime.known, runtime.worker.tracker.epoch
        runtime.stop(0.0)

        def load() -> LoadedTracker:
            runtime.memory_store.close(known, timeout=_DISK_PATIENCE)
            return load_tracker(parameters, self._memory_failed, epoch=epoch, known=known)

        try:
            loaded = await self._node.in_thread(load, "recovery")
        except Exception as error:
            recovery.failed(f"the tracker cannot be built anew: {type(error).__name__}: {error}")
            return
        if self.runtime is runtime:  # else it was cleaned up meanwhile
            self._start(parameters, loaded)
            recovery.succeeded()

    def close(self) -> None:
        """End the runtime, save, and free what it held; more than once does no harm."""
        runtime, self.runtime = self.runtime, None
        if runtime is None:
            return
        self._closing = runtime
        self._epoch = runtime.close(_PATIENCE if self._node.context.ok() else _PATIENCE_AT_THE_END)
        self._workers_left = [each for each in (*self._workers_left, runtime.worker) if each.running]
        self._closing = None
        del runtime
        free_memory()

    def save_known(self) -> None:
        """Save what was remembered lately, on any thread; nothing else works after that."""
        if (runtime := self.runtime or self._closing) is not None:
            runtime.memory_store.close(runtime.known, timeout=_DISK_PATIENCE)

    @property
    def hangs(self) -> bool:
        """Whether a thread runs that would keep the process from ending."""
        left = any(worker.running for worker in self._workers_left)
        return bool(left or self._recovery.hanging or self._node.unfinished)

    @property
    def restarts(self) -> int:
        """Times that inference was started anew since the node was configured."""
        return self._recovery.count

    def findings(self) -> dict[str, Finding]:
        """Return what is wrong with inference as a whole, by kind."""
        return self._recovery.findings()
