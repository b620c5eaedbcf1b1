"""Call the node as a planner does: services that answer in time or raise the reason, and bearings."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from builtin_interfaces.msg import Time
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptResult
from panosam2_ros.prompts.prompt import PromptError
from panosam2_ros.ros.conversion.messages import check_box_length
from panosam2_ros.ros.waiting import SpinWhileWaiting, Waiting
from panosam2_ros.srv import GetObjects, LoadMemory, PromptObjects, RemoveObjects, SaveMemory

_PROMPT_TYPE = "panosam2_ros/srv/PromptObjects"
# what PromptResult has no code for
NODE_NOT_FOUND, NO_ANSWER, NO_MESSAGES, OTHER_REFUSAL = (
    "NODE_NOT_FOUND",
    "NO_ANSWER",
    "NO_MESSAGES",
    "REFUSED",
)
_NAMES = {
    getattr(PromptResult, name): name
    for name in dir(PromptResult)
    if name.isupper() and not name.startswith("_") and isinstance(getattr(PromptResult, name), int)
}


class ClientError(RuntimeError):
    """The node did not do what it was asked; the message says why, and the remedy.

    ``code`` is one of PromptResult's constants; None where the node did not answer, and for `~/reset`,
    whose type has no code. ``name`` is the code's name; NODE_NOT_FOUND, NO_ANSWER, NO_MESSAGES or REFUSED
    where there is no code.
    """

    def __init__(self, message: str, code: int | None = None, *, name: str = OTHER_REFUSAL) -> None:
        super().__init__(message)
        self.code = code
        self.name = name if code is None else _NAMES.get(code, str(code))


class Client:
    """Calls the node ``target`` on behalf of ``node``, which it spins while it waits.

    ``timeout``: s for a service to be there, for its answer, and between two bearings. Every call
    raises ClientError where it fails. ``waiting``: another way to wait; with SpinThread a client may be used
    by several threads.
    """

    def __init__(
        self, node: Node, target: str = "panosam2", *, timeout: float = 10.0, waiting: Waiting | None = None
    ) -> None:
        self.node, self.timeout = node, timeout
        self.waiting = waiting or SpinWhileWaiting(node)
        self._target, self._services, self._lock = target, dict[str, Any](), threading.Lock()

    def prompt(self, prompt: ObjectPrompt, *, stamp: Time | None = None) -> ObjectBearing:
        """Prompt one object in the image of that stamp, or in the newest; return its bearing there."""
        return self.prompted(prompt, stamp=stamp).results[0].bearing

    def prompted(self, prompt: ObjectPrompt, *, stamp: Time | None = None) -> PromptObjects.Response:
        """Prompt one object as ``prompt`` does; return the whole answer, with stamp, frame and epoch."""
        try:
            check_box_length(prompt)  # rclpy fails to send more than four numbers, and does not say why
        except PromptError as error:
            raise ClientError(str(error), PromptResult.INVALID) from error
        request = PromptObjects.Request(stamp=stamp or Time(), prompts=[prompt])
        return self.call(PromptObjects, "prompt", request)

    def objects(self) -> GetObjects.Response:
        """Return every known object, as of the newest image."""
        return self.call(GetObjects, "get_objects", GetObjects.Request())

    def remove(self, obj_ids: list[int]) -> None:
        """Forget objects."""
        self.call(RemoveObjects, "remove_objects", RemoveObjects.Request(object_ids=obj_ids))

    def save(self, name: str) -> list[int]:
        """Save what is remembered to the file of that name; return the ids in it."""
        answer = self.call(SaveMemory, "save_memory", SaveMemory.Request(name=name))
        return list(answer.object_ids)

    def load(self, name: str) -> list[int]:
        """Forget everything and load the file of that name; return the ids in it."""
        answer = self.call(LoadMemory, "load_memory", LoadMemory.Request(name=name))
        return list(answer.object_ids)

    def reset(self) -> str:
        """Forget everything; return what the node says of the new epoch."""
        return str(self.call(Trigger, "reset", Trigger.Request()).message)

    def parameter(self, name: str) -> Any:
        """Return the value of one of the node's parameters."""
        return self.parameters(name)[name]

    def parameters(self, *names: str) -> dict[str, Any]:
        """Return the values of some of the node's parameters."""
        request = GetParameters.Request(names=list(names))
        values = self.call(GetParameters, "get_parameters", request).values
        return {name: parameter_value_to_python(v) for name, v in zip(names, values, strict=True)}

    def image_frame(self) -> str:
        """Return the frame_id of the node's images, in which a prompt's directions are."""
        if not self.parameter("target_frame"):
            return str(self.objects().objects.header.frame_id)  # answers are in the images' frame then
        return str(next(self._newest(Image, "masks")).header.frame_id)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Return what the node's service ``name`` answers; raise ClientError for a refusal."""
        service = self._service(kind, name)
        if not service.wait_for_service(self.timeout):
            raise ClientError(self._missing(name), name=NODE_NOT_FOUND)
        future = service.call_async(request)
        if not self.waiting.until(future.done, self.timeout):
            service.remove_pending_request(future)
            raise ClientError(
                f"{self.resolved(name)} did not answer within {self.timeout:g} s: see /diagnostics, or wait "
                "longer (timeout)",
                name=NO_ANSWER,
            )
        answer = future.result()
        if not getattr(answer, "success", True):
            reason = answer.message or f"{self.resolved(name)} refused and gave no reason"
            raise ClientError(reason, _code(answer))
        return answer

    def _service(self, kind: Any, name: str) -> Any:
        """Return the client of a service; it is kept, since a new one must be discovered first."""
        with self._lock:
            if name not in self._services:
                self._services[name] = self.node.create_client(kind, f"{self._target}/{name}")
            return self._services[name]

    def bearings(self) -> Iterator[ObjectBearingArray]:
        """Yield the newest message whenever there is one."""
        return self._newest(ObjectBearingArray, "bearings")

    def _newest(self, kind: Any, name: str) -> Iterator[Any]:
        """Yield the newest message of one of the node's topics whenever there is one."""
        arrived: deque[Any] = deque(maxlen=1)
        with self.subscribed(kind, name, arrived.append):
            while True:
                if not self.waiting.until(lambda: arrived, self.timeout):
                    raise self.silent(name)
                yield arrived.pop()

    @contextmanager
    def subscribed(self, kind: Any, name: str, keep: Callable[[Any], None]) -> Iterator[None]:
        """Hand every message of one of the node's topics over while the block lasts."""

        def callback(message: Any) -> None:  # rclpy asks for a signature, which methods of C lack
            keep(message)

        subscription = self.node.create_subscription(kind, f"{self._target}/{name}", callback, 1)
        try:
            yield
        finally:
            self.node.destroy_subscription(subscription)

    def silent(self, name: str) -> ClientError:
        """Return the error that nothing came on one of the node's topics."""
        return ClientError(
            f"nothing came on {self.resolved(name)} for {self.timeout:g} s: is the node active, and "
            "does its camera send images? /diagnostics says",
            name=NO_MESSAGES,
        )

    def resolved(self, name: str = "") -> str:
        """Return the resolved name of a service or topic of the node; of the node for an empty one."""
        return str(self.node.resolve_service_name(f"{self._target}/{name}".rstrip("/")))

    def _missing(self, name: str) -> str:
        """Describe that there is no such service, and which nodes there are."""
        others = self._elsewhere()
        named = {
            f"{namespace.rstrip('/')}/{node}"
            for node, namespace in self.node.get_node_names_and_namespaces()
            if node != self.node.get_name()
        }
        nodes = sorted(named.union(others))  # names of nodes may be discovered later than their services
        text = f"no service {self.resolved(name)} within {self.timeout:g} s; "
        text += f"nodes found: {', '.join(nodes) or 'none: same ROS_DOMAIN_ID?'}"
        if others:
            text += f"; a panosam2 node is at {', '.join(others)}: give --namespace and --node"
        return text

    def _elsewhere(self) -> list[str]:
        """Return the names of all panosam2 nodes that are found."""
        services = self.node.get_service_names_and_types()
        return sorted(name.removesuffix("/prompt") for name, kinds in services if _PROMPT_TYPE in kinds)


def _code(answer: Any) -> int | None:
    """Return the code of a refusal; of prompts, that of the first one that is refused."""
    if isinstance(answer, PromptObjects.Response):
        codes = [int(result.code) for result in answer.results if result.code != PromptResult.OK]
        return codes[0] if codes else PromptResult.INVALID  # the request held no prompts
    return getattr(answer, "code", None)
