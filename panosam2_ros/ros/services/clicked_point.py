"""Click to prompt: a point in space is a direction from the camera, and what is seen there an object."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PointStamped, Vector3
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from panosam2_ros.geometry.sphere import normalised
from panosam2_ros.msg import ObjectPrompt
from panosam2_ros.ros.conversion.transforms import FrameError, PointTransformer, Transforms
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.services.servers import ServiceServers
from panosam2_ros.srv import Prompt

_MOST = 4  # clicks that may wait for a transform or for the tracker


class ClickedPoints:
    """Takes `~/clicked_point` and prompts its direction as a new object on the newest image."""

    def __init__(
        self,
        node: Node,
        desk: ServiceServers,
        reporter: Reporter,
        label: Callable[[], str],  # of the objects
        camera_frame: Callable[[], str],  # frame id of the newest image; empty: there was none
        transforms: Transforms,
    ) -> None:
        self._node, self._desk, self._reporter = node, desk, reporter
        self._label, self._camera_frame = label, camera_frame
        self._points, self._waiting = PointTransformer(node, transforms), 0
        # a click that waits for its answer must not keep images out
        group = ReentrantCallbackGroup()
        node.create_subscription(PointStamped, "~/clicked_point", self._clicked, 5, callback_group=group)

    async def _clicked(self, msg: PointStamped) -> None:
        if self._waiting >= _MOST:
            self._refused(f"{self._waiting} clicks are being worked on: click again later")
            return
        self._waiting += 1
        try:
            await self._prompt(msg)
        except Exception as error:  # would end the executor
            self._desk.failed(error)
        finally:
            self._waiting -= 1

    async def _prompt(self, msg: PointStamped) -> None:
        try:
            x, y, z = await self._points.point(msg, self._camera_frame())
        except FrameError as error:
            self._refused(str(error))
            return
        if not np.isfinite((x, y, z)).all() or not (x or y or z):
            self._refused(f"needed is a point beside the camera, got x={x}, y={y}, z={z}")
            return
        x, y, z = (float(c) for c in normalised((x, y, z)))
        way = ObjectPrompt(label=self._label(), directions=[Vector3(x=x, y=y, z=z)], direction_labels=[1])
        answer = await self._desk.prompt(Prompt.Request(prompts=[way]))
        if not answer.success:
            self._refused(answer.results[0].message if answer.results else answer.message)
            return
        found = answer.results[0].bearing
        self._node.get_logger().info(f"clicked point: object {found.object_id}, label {found.label!r}")

    def _refused(self, reason: str) -> None:
        text = f"clicked point refused: {reason}"
        self._reporter.failed(text, text)
