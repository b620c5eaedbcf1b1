"""Prompt a direction by a click: a point in space is a direction from the camera."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from panosam2_ros.geometry.sphere import normalised
from panosam2_ros.msg import ObjectPrompt, PromptDirection
from panosam2_ros.ros.conversion.image_limits import MAX_FRAME_ID
from panosam2_ros.ros.conversion.messages import vector_msg
from panosam2_ros.ros.conversion.transforms import FrameError, PointTransformer, Transforms
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.services.servers import ServiceServers
from panosam2_ros.srv import PromptObjects

_MAX_WAITING = 4  # clicks that may wait for a transform or for the tracker


class ClickedPoints:
    """Takes `~/clicked_point` and prompts its direction as a new object on the newest image."""

    def __init__(
        self,
        node: Node,
        servers: ServiceServers,
        reporter: Reporter,
        transforms: Transforms,
        *,
        label: Callable[[], str],  # of the objects
        camera_frame: Callable[[], str | None],  # frame id of the newest image; None: there was none
    ) -> None:
        self._node, self._servers, self._reporter = node, servers, reporter
        self._label, self._camera_frame = label, camera_frame
        self._points, self._waiting = PointTransformer(node, transforms), 0
        # a click that waits for its answer must not keep images out
        group = ReentrantCallbackGroup()
        node.create_subscription(PointStamped, "~/clicked_point", self._clicked, 5, callback_group=group)

    async def _clicked(self, msg: PointStamped) -> None:
        if self._waiting >= _MAX_WAITING:
            self._refused(f"{self._waiting} clicks are being worked on: click again later")
            return
        if len(msg.header.frame_id) > MAX_FRAME_ID:
            text = f"a frame_id has at most {MAX_FRAME_ID} characters, got {len(msg.header.frame_id)}"
            self._refused(text)
            return
        self._waiting += 1
        try:
            await self._prompt(msg)
        except Exception as error:  # would end the executor
            self._servers.failed(error)
        finally:
            self._waiting -= 1

    async def _prompt(self, msg: PointStamped) -> None:
        try:
            point = await self._points.point(msg, self._camera_frame())
        except FrameError as error:
            self._refused(str(error))
            return
        if not np.isfinite(point).all() or not point.any():
            x, y, z = point.tolist()
            self._refused(f"a click needs a point away from the camera, got x={x}, y={y}, z={z}")
            return
        way = PromptDirection(direction=vector_msg(normalised(point)), label=PromptDirection.FOREGROUND)
        prompt = ObjectPrompt(label=self._label(), directions=[way])
        answer = await self._servers.prompt(PromptObjects.Request(prompts=[prompt]))
        (result,) = answer.results
        if not answer.success:
            self._refused(result.message)
            return
        found = result.bearing
        self._node.get_logger().info(f"clicked point: object {found.object_id}, label {found.label!r}")

    def _refused(self, reason: str) -> None:
        self._reporter.failed(f"clicked point refused: {reason}", "click")
