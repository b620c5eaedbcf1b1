"""The services' coroutines: what every refusal and every exception becomes, without DDS."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from std_srvs.srv import Trigger

from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.memory.memory_header import MemoryFileError
from panosam2_ros.msg import ObjectPrompt, PromptResult
from panosam2_ros.prompts.limits import PromptLimits
from panosam2_ros.ros.inference.frame_buffer import NoImageError, NoSuchFrameError
from panosam2_ros.ros.inference.worker import WorkerBusyError, WorkerStoppedError
from panosam2_ros.ros.services.refusal import CallRefusedError
from panosam2_ros.ros.services.servers import ServiceServers
from panosam2_ros.srv import GetObjects, LoadMemory, PromptObjects, RemoveObjects, SaveMemory

SNAPSHOT = SimpleNamespace(objects=[SimpleNamespace(obj_id=2), SimpleNamespace(obj_id=5)])
CALLS = (PromptObjects, RemoveObjects, GetObjects, SaveMemory, LoadMemory, Trigger)


class FakeNode:
    """Keeps the callback of every service."""

    executor = None

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {}

    def create_service(self, kind: Any, name: str, callback: Any, **_: Any) -> None:
        self.callbacks[name] = callback


class FakeWorker:
    """Does no job but raises, at once or as what the job raised."""

    def __init__(self, *, at_submit: Exception | None = None, in_job: Exception | None = None) -> None:
        self._at_submit, self._in_job = at_submit, in_job
        self.tracker = SimpleNamespace(epoch=6)

    def submit(self, run: Any, done: Callable[[Any, Exception | None], None], *, stamp: int) -> None:
        if self._at_submit is not None:
            raise self._at_submit
        done(None if self._in_job else SNAPSHOT, self._in_job)


class FakeStore:
    """Files that are there at once, or an exception in their place."""

    def __init__(self, *, at_start: Exception | None = None, on_disk: Exception | None = None) -> None:
        self._at_start, self._on_disk = at_start, on_disk

    def save(self, name: str, snapshot: Any) -> concurrent.futures.Future[Any]:
        return self.load(name)

    def load(self, name: str) -> concurrent.futures.Future[Any]:
        if self._at_start is not None:
            raise self._at_start
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        if self._on_disk is None:
            done.set_result(SNAPSHOT)
        else:
            done.set_exception(self._on_disk)
        return done


class Context:
    """The node, as far as the services see it."""

    geometry = SimpleNamespace(limits=PromptLimits(prompts=3))

    def __init__(self, worker: Any = None, store: Any = None) -> None:
        self.worker, self.memory_store = worker, store
        self.saved, self.reported = 0, []

    def tracker_changed(self) -> None: ...

    def save_soon(self) -> None:
        self.saved += 1

    def service_failed(self, error: Exception) -> None:
        self.reported.append(error)


def call(context: Any, kind: Any) -> Any:
    """The answer to a call of that type."""
    node: Any = FakeNode()
    ServiceServers(node, context)
    names = {
        PromptObjects: "prompt", RemoveObjects: "remove_objects", GetObjects: "get_objects",
        SaveMemory: "save_memory", LoadMemory: "load_memory", Trigger: "reset",
    }  # fmt: skip
    request = kind.Request()
    if kind is PromptObjects:
        request.prompts = [ObjectPrompt(), ObjectPrompt()]
    running = node.callbacks[f"~/{names[kind]}"](request, kind.Response())
    with pytest.raises(StopIteration) as end:
        running.send(None)
    return end.value.value


@pytest.mark.faults
@pytest.mark.parametrize("worker", [FakeWorker(), None])
def test_a_request_of_too_many_prompts_has_no_results(worker: Any) -> None:
    """They are counted before the tracker hears of them, and no answer is as long as such a request."""
    node: Any = FakeNode()
    ServiceServers(node, Context(worker))
    request = PromptObjects.Request(prompts=[ObjectPrompt() for _ in range(4)])
    with pytest.raises(StopIteration) as end:
        node.callbacks["~/prompt"](request, None).send(None)
    answer = end.value.value
    assert not answer.success and answer.results == [] and "at most 3 prompts" in answer.message


def codes(answer: Any) -> set[int]:
    """Of the answer, or of its results; none of ``~/reset``, whose type has no code."""
    if isinstance(answer, PromptObjects.Response):
        assert len(answer.results) == 2 and {r.message for r in answer.results} == {answer.message}
        return {int(result.code) for result in answer.results}
    return {int(answer.code)} if hasattr(answer, "code") else set()


BUSY, NOT_ACTIVE = PromptResult.BUSY, PromptResult.NOT_ACTIVE
INVALID, INTERNAL = PromptResult.INVALID, PromptResult.INTERNAL


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(
    ("worker", "code", "reason", "reported"),
    [
        (None, NOT_ACTIVE, "not configured", 0),
        ({"at_submit": WorkerBusyError("16 wait")}, BUSY, "16 wait", 0),
        ({"at_submit": WorkerStoppedError("stopped")}, NOT_ACTIVE, "stopped", 0),
        ({"in_job": WorkerStoppedError("stopped")}, NOT_ACTIVE, "stopped", 0),
        ({"in_job": CallRefusedError(INVALID, "no")}, INVALID, "no", 0),
        ({"in_job": ZeroDivisionError("by 0")}, INTERNAL, "ZeroDivisionError: by 0", 1),
    ],
)
def test_every_service_answers_every_refusal(
    worker: dict[str, Exception] | None, code: int, reason: str, reported: int, kind: Any
) -> None:
    context = Context() if worker is None else Context(FakeWorker(**worker), FakeStore())
    answer = call(context, kind)
    assert not answer.success and reason in answer.message
    assert codes(answer) <= {code} and (codes(answer) or kind is Trigger)
    assert context.saved == 0 and len(context.reported) == reported
    if kind is PromptObjects:
        assert answer.epoch == (0 if worker is None else 6)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoImageError("x"), PromptResult.NO_IMAGE),
        (NoSuchFrameError("x"), PromptResult.STAMP_NOT_HELD),
        (ImageError("x"), PromptResult.STAMP_NOT_HELD),
        (MemoryFileError("x"), INVALID),
        (MemoryError("x"), INTERNAL),
    ],
)
def test_exceptions_have_codes(error: Exception, code: int) -> None:
    assert CallRefusedError.of(error).code == code
    assert codes(call(Context(FakeWorker(in_job=error)), PromptObjects)) == {code}


@pytest.mark.parametrize("kind", [SaveMemory, LoadMemory])
@pytest.mark.parametrize(
    ("store", "code", "reason", "reported"),
    [
        ({"at_start": MemoryFileError("no path")}, INVALID, "no path", 0),
        ({"at_start": RuntimeError("shutdown")}, NOT_ACTIVE, "not configured", 0),
        ({"on_disk": MemoryFileError("damaged")}, INVALID, "damaged", 0),
        ({"on_disk": PermissionError("denied")}, INTERNAL, "denied; make room there or set memory_dir", 0),
        ({"at_start": WorkerBusyError("4 wait")}, BUSY, "4 wait", 0),
        ({"on_disk": KeyError("surprise")}, INTERNAL, "KeyError: 'surprise'", 1),
    ],
)
def test_memory_files_have_codes(
    store: dict[str, Exception], code: int, reason: str, reported: int, kind: Any
) -> None:
    context = Context(FakeWorker(), FakeStore(**store))
    answer = call(context, kind)
    assert not answer.success and codes(answer) == {code} and reason in answer.message
    assert list(answer.object_ids) == [] and len(context.reported) == reported


@pytest.mark.parametrize("kind", [SaveMemory, LoadMemory])
def test_calls_are_answered_that_are_cancelled_while_they_wait_for_the_disk(kind: Any) -> None:
    cancelled: concurrent.futures.Future[Any] = concurrent.futures.Future()
    cancelled.cancel()
    cancelled.set_running_or_notify_cancel()
    store = SimpleNamespace(save=lambda *_: cancelled, load=lambda *_: cancelled)
    answer = call(Context(FakeWorker(), store), kind)
    assert not answer.success and codes(answer) == {NOT_ACTIVE} and "not configured" in answer.message


@pytest.mark.parametrize("kind", [SaveMemory, LoadMemory])
def test_memory_files_name_their_objects(kind: Any) -> None:
    context = Context(FakeWorker(), FakeStore())
    answer = call(context, kind)
    assert answer.success and answer.code == PromptResult.OK and answer.message == ""
    assert list(answer.object_ids) == [2, 5]
    assert context.saved == (kind is LoadMemory)
