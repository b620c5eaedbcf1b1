"""Call the node as a planner does: services that answer in time or raise the reason, and bearings."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptResult
from panosam2_ros.prompts.prompt import PromptError
from panosam2_ros.ros.conversion.messages import check_box_length
from panosam2_ros.srv import GetObjects, LoadMemory, PromptObjects, RemoveObjects, SaveMemory

_PROMPT_TYPE = "panosam2_ros/srv/PromptObjects"


class ClientError(RuntimeError):
    """The node did not do what it was asked; the message says why, and the remedy.

    ``code`` is one of PromptResult's constants; None where the node did not answer, and for `~/reset`,
    whose type has no code.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """Calls the node ``target`` on behalf of ``node``, which it spins while it waits.

    ``timeout``: s for a service to be there, for its answer, and between two bearings. Every call
    raises ClientError where it fails.
    """

    def __init__(self, node: Node, target: str = "panosam2", *, timeout: float = 10.0) -> None:
        self._node, self._target, self._timeout = node, target, timeout

    def prompt(self, prompt: ObjectPrompt, *, stamp: Time | None = None) -> ObjectBearing:
        """Prompt one object in the image of that stamp, or in the newest; return its bearing there."""
        try:
            check_box_length(prompt)  # rclpy fails to send more than four numbers, and does not say why
        except PromptError as error:
            raise ClientError(str(error), PromptResult.INVALID) from error
        request = PromptObjects.Request(stamp=stamp or Time(), prompts=[prompt])
        answer = self.call(PromptObjects, "prompt", request)
        return answer.results[0].bearing

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
        answer = self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name]))
        return parameter_value_to_python(answer.values[0])

    def image_frame(self) -> str:
        """Return the frame_id of the node's images, in which a prompt's directions are."""
        if not self.parameter("target_frame"):
            return str(self.objects().objects.header.frame_id)  # answers are in the images' frame then
        return str(next(self._newest(Image, "masks")).header.frame_id)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Return what the node's service ``name`` answers; raise ClientError for a refusal."""
        service = self._node.create_client(kind, f"{self._target}/{name}")
        try:
            if not service.wait_for_service(self._timeout):
                raise ClientError(self._missing(name))
            future = service.call_async(request)
            rclpy.spin_until_future_complete(self._node, future, timeout_sec=self._timeout)
        finally:
            self._node.destroy_client(service)
        if not future.done():
            raise ClientError(
                f"{self._name(name)} did not answer within {self._timeout:g} s: see /diagnostics, or wait "
                "longer (timeout)"
            )
        answer = future.result()
        if not getattr(answer, "success", True):
            reason = answer.message or f"{self._name(name)} refused and gave no reason"
            raise ClientError(reason, _code(answer))
        return answer

    def bearings(self) -> Iterator[ObjectBearingArray]:
        """Yield the newest message whenever there is one."""
        return self._newest(ObjectBearingArray, "bearings")

    def _newest(self, kind: Any, name: str) -> Iterator[Any]:
        """Yield the newest message of one of the node's topics whenever there is one."""
        arrived: deque[Any] = deque(maxlen=1)

        def keep(message: Any) -> None:  # rclpy asks for a signature, which append lacks
            arrived.append(message)

        subscription = self._node.create_subscription(kind, f"{self._target}/{name}", keep, 1)
        try:
            while True:
                self._spin_until(arrived, name)
                yield arrived.pop()
        finally:
            self._node.destroy_subscription(subscription)

    def _spin_until(self, arrived: deque[Any], name: str) -> None:
        end = time.monotonic() + self._timeout
        while not arrived:
            if time.monotonic() > end:
                raise ClientError(
                    f"nothing came on {self._name(name)} for {self._timeout:g} s: is the node active, and "
                    "does its camera send images? /diagnostics says"
                )
            rclpy.spin_once(self._node, timeout_sec=0.1)

    def _name(self, name: str) -> str:
        """Return the resolved name of a service or topic of the node; of the node for an empty one."""
        return self._node.resolve_service_name(f"{self._target}/{name}".rstrip("/"))

    def _missing(self, name: str) -> str:
        """Describe that there is no such service, and which nodes there are."""
        nodes = sorted(
            f"{namespace.rstrip('/')}/{node}"
            for node, namespace in self._node.get_node_names_and_namespaces()
            if node != self._node.get_name()
        )
        text = f"no service {self._name(name)} within {self._timeout:g} s; "
        text += f"nodes found: {', '.join(nodes) or 'none: same ROS_DOMAIN_ID?'}"
        if others := self._elsewhere():
            text += f"; a panosam2 node is at {', '.join(others)}: give --namespace and --node"
        return text

    def _elsewhere(self) -> list[str]:
        """Return the names of all panosam2 nodes that are found."""
        services = self._node.get_service_names_and_types()
        return sorted(name.removesuffix("/prompt") for name, kinds in services if _PROMPT_TYPE in kinds)


def _code(answer: Any) -> int | None:
    """Return the code of a refusal; of prompts, that of the first one that is refused."""
    if isinstance(answer, PromptObjects.Response):
        codes = [int(result.code) for result in answer.results if result.code != PromptResult.OK]
        return codes[0] if codes else PromptResult.INVALID  # the request held no prompts
    return getattr(answer, "code", None)
