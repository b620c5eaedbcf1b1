"""The services as ROS sees them: coroutines that await the worker, so that nothing blocks."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from std_srvs.srv import Trigger

from panosam2_ros.memory.memory_file import TrackerSnapshot
from panosam2_ros.memory.memory_header import MemoryFileError
from panosam2_ros.msg import PromptResult
from panosam2_ros.ros.conversion.messages import stamp_to_ns
from panosam2_ros.ros.inference.memory_store import MemoryStore
from panosam2_ros.ros.inference.worker import Worker, WorkerBusyError, WorkerStoppedError
from panosam2_ros.ros.services import handlers
from panosam2_ros.ros.services.refusal import CallRefusedError
from panosam2_ros.srv import GetObjects, LoadMemory, PromptObjects, RemoveObjects, SaveMemory

Result = TypeVar("Result")
# ROS's own depth of 10 loses calls of a burst before this process sees them, so that they get no answer
_QUEUE = QoSProfile(depth=64)
_UNCONFIGURED = "the node is not configured: call its lifecycle transition configure first"


def _snapshot(worker: Worker[Any]) -> TrackerSnapshot:
    return worker.tracker.snapshot()


def _restore(snapshot: TrackerSnapshot, worker: Worker[Any]) -> None:
    tracker = worker.tracker
    epoch = max(snapshot.epoch, tracker.epoch) + 1  # ids mean other objects now
    tracker.restore(replace(snapshot, epoch=epoch))


class NodeContext(Protocol):
    """What the services need of the node."""

    @property
    def worker(self) -> Worker[Any] | None: ...
    @property
    def memory_store(self) -> MemoryStore | None: ...
    @property
    def geometry(self) -> handlers.ImageGeometry: ...
    def tracker_changed(self) -> None: ...  # called on the worker's thread
    def save_soon(self) -> None: ...  # what is remembered
    def service_failed(self, error: Exception) -> None: ...


class ServiceServers:
    """Takes calls in, has the worker do them, answers."""

    def __init__(self, node: Node, context: NodeContext) -> None:
        self._node, self._context = node, context
        # A call that waits for its answer must not keep the others out.
        group = ReentrantCallbackGroup()
        for kind, name, callback in (
            (PromptObjects, "~/prompt", self._prompt),
            (RemoveObjects, "~/remove_objects", self._remove),
            (GetObjects, "~/get_objects", self._get),
            (Trigger, "~/reset", self._reset),
            (SaveMemory, "~/save_memory", self._save),
            (LoadMemory, "~/load_memory", self._load),
        ):
            node.create_service(kind, name, callback, qos_profile=_QUEUE, callback_group=group)

    async def prompt(self, request: PromptObjects.Request) -> PromptObjects.Response:
        """Answer as `~/prompt` does; for the node itself."""
        return await self._prompt(request, PromptObjects.Response())

    async def run(self, job: Callable[[Worker[Any]], Result], *, stamp: int) -> Result:
        """Return what a job about the image of ``stamp`` (ns) returns; for the node itself.

        The job says itself where it has changed the tracker. Raise CallRefusedError where it fails.
        """
        return await self._on_worker(job, stamp=stamp, told=True)

    def failed(self, error: Exception) -> None:
        """Report that a call of the node itself raised."""
        self._context.service_failed(error)

    async def _prompt(
        self, request: PromptObjects.Request, _: PromptObjects.Response
    ) -> PromptObjects.Response:
        job = partial(handlers.prompt_objects, request=request, geometry=self._context.geometry)
        try:
            handlers.check_prompt_count(len(request.prompts), self._context.geometry.limits)
            return await self._on_worker(job, stamp=stamp_to_ns(request.stamp), changes=True)
        except CallRefusedError as refusal:
            worker, count = self._context.worker, len(request.prompts)
            epoch = worker.tracker.epoch if worker else 0
            too_many = count > self._context.geometry.limits.prompts
            return handlers.refused_prompts(0 if too_many else count, refusal, epoch)

    async def _remove(
        self, request: RemoveObjects.Request, _: RemoveObjects.Response
    ) -> RemoveObjects.Response:
        job = partial(handlers.remove_objects, request=request)
        return await _answer(RemoveObjects.Response, self._on_worker(job, changes=True))

    async def _get(self, _: GetObjects.Request, __: GetObjects.Response) -> GetObjects.Response:
        job = partial(handlers.get_objects, geometry=self._context.geometry)
        return await _answer(GetObjects.Response, self._on_worker(job))

    async def _reset(self, _: Trigger.Request, __: Trigger.Response) -> Trigger.Response:
        try:
            return await self._on_worker(handlers.reset, changes=True)
        except CallRefusedError as refusal:
            return Trigger.Response(success=False, message=str(refusal))

    async def _save(self, request: SaveMemory.Request, _: SaveMemory.Response) -> SaveMemory.Response:
        return await _answer(SaveMemory.Response, self._saved(request.name))

    async def _saved(self, name: str) -> SaveMemory.Response:
        """Take a snapshot on the worker's thread, and write it on one of the memory store's."""
        snapshot = await self._on_worker(_snapshot)
        await self._on_disk(lambda store: store.save(name, snapshot))
        return SaveMemory.Response(success=True, object_ids=_ids(snapshot))

    async def _load(self, request: LoadMemory.Request, _: LoadMemory.Response) -> LoadMemory.Response:
        return await _answer(LoadMemory.Response, self._loaded(request.name))

    async def _loaded(self, name: str) -> LoadMemory.Response:
        """Read a snapshot on a thread of the memory store, and restore it on the worker's."""
        snapshot = await self._on_disk(lambda store: store.load(name))
        await self._on_worker(partial(_restore, snapshot), changes=True)
        return LoadMemory.Response(success=True, object_ids=_ids(snapshot))

    async def _on_disk(self, start: Callable[[MemoryStore], concurrent.futures.Future[Result]]) -> Result:
        """Return what reading or writing a file gives; raise CallRefusedError where it fails."""
        store = self._context.memory_store
        if store is None:
            raise CallRefusedError(PromptResult.NOT_ACTIVE, _UNCONFIGURED)
        answer: Future = Future()

        def finished(done: concurrent.futures.Future[Result]) -> None:
            stopped = WorkerStoppedError(_UNCONFIGURED) if done.cancelled() else None
            error = stopped or done.exception()
            self._done(answer, None if error else done.result(), error)

        try:
            start(store).add_done_callback(finished)
        except (MemoryFileError, WorkerBusyError) as error:  # a bad name; too many wait
            raise CallRefusedError.of(error) from error
        except RuntimeError as error:  # the store was closed meanwhile
            raise CallRefusedError(PromptResult.NOT_ACTIVE, _UNCONFIGURED) from error
        result: Result
        result, raised = await answer
        if isinstance(raised, OSError):
            message = f"{raised}; make room there or set memory_directory"
            raise CallRefusedError(PromptResult.INTERNAL, message) from raised
        if raised is not None:
            raise self._refusal(raised) from raised
        return result

    async def _on_worker(
        self,
        job: Callable[[Worker[Any]], Result],
        *,
        stamp: int = 0,  # ns, of the image that it is about; 0: the newest
        changes: bool = False,  # what is remembered
        told: bool = False,  # the job calls ``tracker_changed`` itself
    ) -> Result:
        """Return what a job on the worker's thread returns; raise CallRefusedError where it fails."""
        worker = self._context.worker
        if worker is None:
            raise CallRefusedError(PromptResult.NOT_ACTIVE, _UNCONFIGURED)
        answer: Future = Future()
        try:
            run = partial(job, worker) if told else partial(self._run, job, worker)
            worker.submit(run, partial(self._done, answer), stamp=stamp)
        except Exception as error:  # too many wait, or the worker was stopped
            raise CallRefusedError.of(error) from error
        result: Result
        result, raised = await answer
        if raised is not None:
            raise self._refusal(raised) from raised
        if changes:
            self._context.save_soon()
        return result

    def _refusal(self, error: Exception) -> CallRefusedError:
        """Return the refusal that an exception amounts to; report an unexpected one."""
        refusal = CallRefusedError.of(error)
        if refusal.code == PromptResult.INTERNAL:
            self._context.service_failed(error)
        return refusal

    def _run(self, job: Callable[[Worker[Any]], Result], worker: Worker[Any]) -> Result:
        """Do a job; called on the worker's thread."""
        try:
            return job(worker)
        finally:
            self._context.tracker_changed()

    def _done(self, answer: Future, result: Any, error: BaseException | None) -> None:
        """Hand result or exception to the coroutine that waits for it; called on another thread."""
        # not set_exception: rclpy prints one that nobody fetches, as when the node ends meanwhile
        answer.set_result((result, error))
        if self._node.executor is not None:
            self._node.executor.wake()  # else it sleeps on: it does not watch futures


async def _answer(kind: Callable[..., Result], answer: Awaitable[Result]) -> Result:
    """Await an answer; make a refusal one of ``kind`` that holds nothing but code and message."""
    try:
        return await answer
    except CallRefusedError as refusal:
        return kind(success=False, code=refusal.code, message=str(refusal))


def _ids(snapshot: TrackerSnapshot) -> list[int]:
    return [item.obj_id for item in snapshot.objects]
