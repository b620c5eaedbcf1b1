"""The node as a planner sees it: services that answer in time or say why not, bearings as they come."""

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

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt
from panosam2_ros.srv import ListObjects, MemoryFile, Prompt, RemoveObjects

_PROMPT = "panosam2_ros/srv/Prompt"


class ClientError(RuntimeError):
    """The node did not do what it was asked; says why, and the remedy."""


class Client:
    """Calls the node ``target`` on behalf of ``node``, which it spins while it waits.

    ``timeout``: s for a service to be there, for its answer, and between two bearings. Every call
    raises ClientError where it came to nothing.
    """

    def __init__(self, node: Node, target: str = "panosam2", timeout: float = 10.0) -> None:
        self._node, self._target, self._timeout = node, target, timeout

    def prompt(self, prompt: ObjectPrompt, stamp: Time | None = None) -> ObjectBearing:
        """Point at one object in the image of that stamp, or in the newest; where it is there."""
        request = Prompt.Request(stamp=stamp or Time(), prompts=[prompt])
        answer = self.call(Prompt, "prompt", request)
        return answer.results[0].bearing

    def objects(self) -> ListObjects.Response:
        """Every known object, as of the newest image."""
        answer = self.call(ListObjects, "list_objects", ListObjects.Request())
        if not answer.max_objects:
            raise ClientError(f"{self._name('')} is not configured, or busy: call again, or see /diagnostics")
        return answer

    def remove(self, obj_ids: list[int]) -> None:
        """Forget objects."""
        self.call(RemoveObjects, "remove_objects", RemoveObjects.Request(object_ids=obj_ids))

    def memory(self, verb: str, name: str) -> list[int]:
        """``save`` or ``load`` the memory file of that name; the objects in it."""
        answer = self.call(MemoryFile, f"{verb}_memory", MemoryFile.Request(name=name))
        return list(answer.object_ids)

    def parameter(self, name: str) -> Any:
        """The value of one of the node's parameters."""
        answer = self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name]))
        return parameter_value_to_python(answer.values[0])

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """What the node's service ``name`` answers; a refusal raises its reason."""
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
            raise ClientError(answer.message or f"{self._name(name)} refused and gave no reason")
        return answer

    def bearings(self) -> Iterator[ObjectBearingArray]:
        """The newest message whenever there is one."""
        arrived: deque[ObjectBearingArray] = deque(maxlen=1)

        def keep(message: ObjectBearingArray) -> None:  # rclpy asks for a signature, which append lacks
            arrived.append(message)

        topic = f"{self._target}/bearings"
        subscription = self._node.create_subscription(ObjectBearingArray, topic, keep, 1)
        try:
            while True:
                self._spin_until(arrived)
                yield arrived.pop()
        finally:
            self._node.destroy_subscription(subscription)

    def _spin_until(self, arrived: deque[ObjectBearingArray]) -> None:
        end = time.monotonic() + self._timeout
        while not arrived:
            if time.monotonic() > end:
                raise ClientError(
                    f"nothing came on {self._name('bearings')} for {self._timeout:g} s: is the node active, "
                    "and does its camera send images? /diagnostics says"
                )
            rclpy.spin_once(self._node, timeout_sec=0.1)

    def _name(self, name: str) -> str:
        """Of a service or topic of the node, resolved; of the node for an empty one."""
        return self._node.resolve_service_name(f"{self._target}/{name}".rstrip("/"))

    def _missing(self, name: str) -> str:
        """That there is no such service, and what there is."""
        nodes = sorted(
            f"{namespace.rstrip('/')}/{node}"
            for node, namespace in self._node.get_node_names_and_namespaces()
            if node != self._node.get_name()
        )
        text = f"no service {self._name(name)} within {self._timeout:g} s; "
        text += f"nodes found: {', '.join(nodes) or 'none: same ROS_DOMAIN_ID?'}"
        if others := self._elsewhere():
            text += f"; a node like that is at {', '.join(others)}: give --namespace and --node"
        return text

    def _elsewhere(self) -> list[str]:
        """Nodes of our kind."""
        services = self._node.get_service_names_and_types()
        return sorted(name.removesuffix("/prompt") for name, kinds in services if _PROMPT in kinds)
