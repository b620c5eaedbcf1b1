"""The services as ROS sees them: coroutines that await the worker, so that nothing blocks."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from std_srvs.srv import Trigger

from panosam2_ros.memory.memory_file import MemoryFileError, TrackerSnapshot
from panosam2_ros.ros.conversion.messages import stamp_to_ns
from panosam2_ros.ros.inference.memory_store import MemoryStore
from panosam2_ros.ros.inference.worker import Worker, WorkerBusyError, WorkerStoppedError
from panosam2_ros.ros.services import handlers
from panosam2_ros.srv import ListObjects, MemoryFile, Prompt, RemoveObjects

Response = TypeVar("Response")
# ROS's own depth of 10 loses calls of a burst before this process sees them, so that they get no answer
_QUEUE = QoSProfile(depth=64)
_UNCONFIGURED = "the node is not configured: call its lifecycle transition configure first"


def _remembered(worker: Worker[Any]) -> TrackerSnapshot | str:
    return worker.tracker.snapshot()


def _recall(memory: TrackerSnapshot, worker: Worker[Any]) -> str:
    tracker = worker.tracker
    tracker.restore(replace(memory, epoch=max(memory.epoch, tracker.epoch) + 1))  # ids mean others now
    return ""


def _reason(success: bool, message: str) -> str:
    """The answer to a call that has no message of its own."""
    return message


class NodeContext(Protocol):
    """What the services need of the node."""

    @property
    def worker(self) -> Worker[Any] | None: ...
    @property
    def keeper(self) -> MemoryStore | None: ...
    @property
    def vertical_fov(self) -> float: ...  # rad
    @property
    def camera_of(self) -> handlers.CameraOf: ...
    def tracker_changed(self) -> None: ...  # called on the worker's thread
    def save_soon(self) -> None: ...  # what is remembered
    def service_failed(self, error: Exception) -> None: ...


class ServiceServers:
    """Takes calls in, has the worker do them, answers."""

    def __init__(self, node: Node, desk: NodeContext) -> None:
        self._node, self._desk = node, desk
        # A call that waits for its answer must not keep the others out.
        group = ReentrantCallbackGroup()
        for kind, name, callback in (
            (Prompt, "~/prompt", self._prompt),
            (RemoveObjects, "~/remove_objects", self._remove),
            (ListObjects, "~/list_objects", self._list),
            (Trigger, "~/reset", self._reset),
            (MemoryFile, "~/save_memory", self._save),
            (MemoryFile, "~/load_memory", self._load),
        ):
            node.create_service(kind, name, callback, qos_profile=_QUEUE, callback_group=group)

    async def prompt(self, request: Prompt.Request) -> Prompt.Response:
        """As `~/prompt` answers; for the node itself."""
        return await self._prompt(request, Prompt.Response())

    def failed(self, error: Exception) -> None:
        """A call of the node itself raised."""
        self._desk.service_failed(error)

    async def _prompt(self, request: Prompt.Request, _: Prompt.Response) -> Prompt.Response:
        job = partial(
            handlers.prompt,
            request=request,
            camera_of=self._desk.camera_of,
            vertical_fov=self._desk.vertical_fov,
        )
        refused = partial(handlers.refused_prompts, len(request.prompts))
        return await self._serve(job, refused, stamp_to_ns(request.stamp), changes=True)

    async def _remove(
        self, request: RemoveObjects.Request, _: RemoveObjects.Response
    ) -> RemoveObjects.Response:
        return await self._serve(
            partial(handlers.remove_objects, request=request), RemoveObjects.Response, changes=True
        )

    async def _list(self, _: ListObjects.Request, __: ListObjects.Response) -> ListObjects.Response:
        # This answer has no room for a reason: an empty list it is.
        return await self._serve(
            partial(handlers.list_objects, camera_of=self._desk.camera_of),
            lambda success, message: ListObjects.Response(),
        )

    async def _reset(self, _: Trigger.Request, __: Trigger.Response) -> Trigger.Response:
        return await self._serve(handlers.reset, Trigger.Response, changes=True)

    async def _save(self, request: MemoryFile.Request, _: MemoryFile.Response) -> MemoryFile.Response:
        """The worker hands over what is remembered, a thread of the keeper's writes it."""
        memory: TrackerSnapshot | str = await self._serve(_remembered, _reason)
        if isinstance(memory, str):
            return MemoryFile.Response(message=memory)
        _saved, reason = await self._with_keeper(lambda keeper: keeper.save(request.name, memory))
        ids = [] if reason else [item.obj_id for item in memory.objects]
        return MemoryFile.Response(success=not reason, message=reason, object_ids=ids)

    async def _load(self, request: MemoryFile.Request, _: MemoryFile.Response) -> MemoryFile.Response:
        """A thread of the keeper's reads, the worker takes in what was remembered."""
        memory, reason = await self._with_keeper(lambda keeper: keeper.load(request.name))
        if reason:
            return MemoryFile.Response(message=reason)
        refusal = await self._serve(partial(_recall, memory), _reason, changes=True)
        ids = [] if refusal else [item.obj_id for item in memory.objects]
        return MemoryFile.Response(success=not refusal, message=refusal, object_ids=ids)

    async def _with_keeper(
        self, start: Callable[[MemoryStore], concurrent.futures.Future[Any]]
    ) -> tuple[Any, str]:
        """What came of reading or writing a file, and why it did not."""
        keeper = self._desk.keeper
        if keeper is None:
            return None, _UNCONFIGURED
        answer: Future = Future()

        def finished(done: concurrent.futures.Future[Any]) -> None:
            error = done.exception()
            self._done(answer, None if error else done.result(), error)

        try:
            start(keeper).add_done_callback(finished)
        except (MemoryFileError, RuntimeError) as refusal:  # a bad name; a keeper that was closed meanwhile
            return None, str(refusal)
        result, error = await answer
        if error is not None and not isinstance(error, (MemoryFileError, OSError)):
            self._desk.service_failed(error)
        return result, "" if error is None else str(error) or repr(error)

    async def _serve(
        self,
        job: Callable[[Worker[Any]], Response],
        refused: Callable[..., Response],  # makes an answer of success and message
        stamp: int = 0,  # ns, of the image that it is about
        changes: bool = False,  # what is remembered
    ) -> Response:
        worker = self._desk.worker
        if worker is None:
            return refused(success=False, message=_UNCONFIGURED)
        answer: Future = Future()
        try:
            worker.submit(partial(self._run, job, worker), partial(self._done, answer), stamp)
        except (WorkerBusyError, WorkerStoppedError) as reason:
            return refused(success=False, message=str(reason))
        response, error = await answer
        if error is None:
            if changes:
                self._desk.save_soon()
            return response
        if not isinstance(error, WorkerStoppedError):
            self._desk.service_failed(error)
        return refused(success=False, message=f"{type(error).__name__}: {error}")

    def _run(self, job: Callable[[Worker[Any]], Response], worker: Worker[Any]) -> Response:
        """On the worker's thread."""
        try:
            return job(worker)
        finally:
            self._desk.tracker_changed()

    def _done(self, answer: Future, response: Any, error: BaseException | None) -> None:
        """On another thread."""
        answer.set_result((response, error))
        if self._node.executor is not None:
            self._node.executor.wake()  # else it sleeps on: it does not watch futures
