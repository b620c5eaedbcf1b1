"""A camera and a planner in one, beside a node in a process of its own: real DDS between them."""

from __future__ import annotations

import array
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from helpers.message_packages import environment_with
from helpers.process import Process, wait_for
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector
from panosam2_ros.msg import ObjectBearingArray, ObjectPrompt, PromptDirection, PromptPoint, PromptResult
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns, vector_msg
from panosam2_ros.srv import PromptObjects

WIDTH, HEIGHT = 256, 128
GRID = Equirect(WIDTH, HEIGHT)
FRAME = "camera_optical_frame"
SEAM = lonlat_to_vector(math.pi, 0.1)  # where the object of these tests is: across the seam
RADIUS = 0.35  # rad


def cap(centre: Floats, radius: float = RADIUS) -> NDArray[np.bool_]:
    lon, lat = np.meshgrid(GRID.column_longitudes(), GRID.row_latitudes())
    return np.asarray(lonlat_to_vector(lon, lat) @ centre > math.cos(radius))


def scene() -> NDArray[np.uint8]:
    """Draw a red ball across the seam, before sky and ground."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2], image[HEIGHT // 2 :] = (120, 160, 220), (90, 110, 60)
    image += np.random.default_rng(0).integers(0, 12, image.shape, np.uint8)
    image[cap(SEAM)] = (210, 30, 30)
    return image


SCENE = scene()
CODE_NAMES = {
    getattr(PromptResult, name): name
    for name in (
        "OK", "INVALID", "UNKNOWN_OBJECT", "NOTHING_FOUND", "LIMIT_REACHED", "NO_IMAGE", "STAMP_NOT_HELD",
        "BUSY", "NOT_ACTIVE", "INTERNAL",
    )
}  # fmt: skip


def image_msg(stamp: int, pixels: NDArray[np.uint8] = SCENE, encoding: str = "rgb8") -> Image:
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.step = pixels[0].size
    msg.data = array.array("B", pixels.tobytes())
    msg.header.stamp, msg.header.frame_id = ns_to_stamp(stamp), FRAME
    return msg


class Station(Node):
    """Camera and planner in one; every call spins until it has what it came for."""

    def __init__(self, namespace: str = "") -> None:
        super().__init__("station", namespace=namespace)
        self.camera = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self.jpeg = self.create_publisher(CompressedImage, "image/compressed", 5)  # reliable
        self.masks: dict[int, Image] = {}
        self.bearings: dict[int, ObjectBearingArray] = {}
        self.status: DiagnosticStatus | None = None
        self.create_subscription(Image, "panosam2/masks", self._on_masks, 5)
        self.create_subscription(ObjectBearingArray, "panosam2/bearings", self._on_bearings, 5)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 5)
        self.stamp = 1_700_000_000_123_456_789

    def _on_masks(self, msg: Image) -> None:
        self.masks[stamp_to_ns(msg.header.stamp)] = msg

    def _on_bearings(self, msg: ObjectBearingArray) -> None:
        self.bearings[stamp_to_ns(msg.header.stamp)] = msg

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        if "panosam2" in msg.status[0].name:
            self.status = msg.status[0]

    def spin_until(self, condition: Callable[[], Any], timeout: float = 10.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"nothing came within {timeout} s"
            rclpy.spin_once(self, timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.02)

    def call(self, kind: Any, name: str, request: Any = None, tries: int = 1) -> Any:
        """Return a service's answer; ``tries``: of what changes nothing, as answers can be lost at first."""
        client = self.create_client(kind, f"panosam2/{name}")
        assert client.wait_for_service(60), f"no service {name}"
        for left in reversed(range(tries)):
            future = client.call_async(request or kind.Request())
            end = time.monotonic() + (5 if left else 20)
            while not future.done() and time.monotonic() < end:
                rclpy.spin_once(self, timeout_sec=0.05)
            if future.done():
                break
        assert future.done(), f"no answer from {name}"
        self.destroy_client(client)
        return future.result()

    def show(self, **how: Any) -> int:
        """Publish an image, again with a later stamp where it was lost; return the stamp that has results."""
        for _ in range(10):
            self.stamp += 100_000_000
            stamp = self.stamp
            self.camera.publish(image_msg(stamp, **how))
            end = time.monotonic() + 2.0
            while time.monotonic() < end:
                rclpy.spin_once(self, timeout_sec=0.02)
                if stamp in self.bearings and stamp in self.masks:
                    return stamp
        raise AssertionError("no results for any of ten images")

    def prompt(self, *prompts: ObjectPrompt, stamp: int = 0, tries: int = 1) -> PromptObjects.Response:
        request = PromptObjects.Request(stamp=ns_to_stamp(stamp), prompts=list(prompts))
        return self.call(PromptObjects, "prompt", request, tries)

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> int:
        return int(self.call(GetState, "get_state", tries=3).current_state.id)

    def set(self, **values: Any) -> list[Any]:
        parameters = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        request = SetParameters.Request(parameters=parameters)
        return list(self.call(SetParameters, "set_parameters", request).results)

    def value(self, key: str) -> str:
        """Return a value of the newest diagnostics."""
        values = {} if self.status is None else {v.key: v.value for v in self.status.values}
        return str(values.get(key, ""))

    def until_status(self, level: bytes, text: str) -> None:
        self.spin_until(lambda: self.status and self.status.level == level and text in self.status.message)


def stations(kind: Any = Station) -> Iterator[Any]:
    """Yield a station of that kind, with rclpy running, for a fixture."""
    rclpy.init()
    node = kind()
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def forgetful(process: Process, station: Station) -> Station:
    """Return the station, beside a node that has seen an image and knows no object; for a fixture."""
    station.call(Trigger, "reset")
    station.show()
    return station


def start(
    weights: str,
    log: Path,
    namespace: str = "",
    fault: str = "",  # of faulty_node.py; empty: the node as it is
    remap: tuple[str, ...] = (),  # FROM:=TO
    packages: tuple[str, ...] = (),  # of messages, see message_packages.py
    **parameters: Any,
) -> Process:
    """Start the node in a process of its own, with small settings."""
    settings = {"model": weights, "num_threads": 1, "diagnostics_period": 0.2, **parameters}
    arguments = [a for k, v in settings.items() for a in ("-p", f"{k}:={v}")]
    if namespace:
        arguments += ["-r", f"__ns:={namespace}"]
    arguments += [a for rule in remap for a in ("-r", rule)]
    if fault:
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        return Process("helpers.faulty_node", fault, "--ros-args", *arguments, log=log, PYTHONPATH=path)
    found = environment_with(*packages) if packages else {}
    return Process("panosam2_ros.ros.node", "--ros-args", *arguments, log=log, **found)


def until_active(process: Process) -> None:
    """Wait until the node has subscribed."""
    wait_for(lambda: "waiting for images" in process.output, 90, "the node to be active")


def ball_prompt(**more: Any) -> ObjectPrompt:
    """Return a prompt of the ball by its mask, which is taken as it is, whatever the weights."""
    return ObjectPrompt(mask=mask_msg(cap(SEAM)), **more)


def mask_msg(mask: NDArray[np.bool_]) -> Image:
    return image_msg(0, mask.astype(np.uint8) * 255, "mono8")


def point(u: float, v: float, label: int = PromptPoint.FOREGROUND) -> PromptPoint:
    """Make a point, on the object by default; of floats, since rclpy would send an int as 0.0."""
    return PromptPoint(u=float(u), v=float(v), label=label)


def direction(vector: Floats, label: int = PromptDirection.FOREGROUND) -> PromptDirection:
    return PromptDirection(direction=vector_msg(vector), label=label)


def codes(answer: PromptObjects.Response) -> list[str]:
    """Return the names of the codes of the results."""
    return [CODE_NAMES[result.code] for result in answer.results]
