"""Points from other frames than the camera's: by tf2 where that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time

from panosam2_ros.equirect import Floats

try:
    import tf2_ros
except ImportError:  # not among the PyPI wheels of ROS 2
    tf2_ros = None

_PERIOD, _TRIES = 0.1, 20  # s, and how often a transform is asked for


class FrameError(LookupError):
    """A point cannot be brought into the camera's frame; says why and what to do."""


class Frames:
    """Listens to transforms from the first point on that needs one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None

    async def point(self, msg: PointStamped, frame_id: str) -> Floats:
        """[3] in ``frame_id``; a message without a frame is in it already. Raises FrameError."""
        own = np.array([msg.point.x, msg.point.y, msg.point.z])
        if not frame_id:
            raise FrameError("no image has come yet: click again when one has")
        if msg.header.frame_id in ("", frame_id):
            return own
        if tf2_ros is None:
            raise FrameError(
                f"the point is in frame {msg.header.frame_id!r}, the camera in {frame_id!r}, and tf2_ros is "
                f"not installed: set RViz's fixed frame to {frame_id!r}, or install tf2_ros"
            )
        transform = await self._transform(frame_id, msg.header.frame_id)
        t, q = transform.transform.translation, transform.transform.rotation
        return rotated(own, np.array([q.x, q.y, q.z]), q.w) + np.array([t.x, t.y, t.z])

    async def _transform(self, target: str, source: str) -> Any:
        if self._buffer is None:
            self._buffer = tf2_ros.Buffer(node=self._node)
            self._listener = tf2_ros.TransformListener(self._buffer, self._node, spin_thread=False)
        for _ in range(_TRIES):  # the listener may only just have begun to hear of transforms
            try:
                return self._buffer.lookup_transform(target, source, Time())
            except tf2_ros.TransformException as error:
                reason = str(error)
            await self._pause()
        raise FrameError(
            f"no transform from {source!r} to {target!r} within {_PERIOD * _TRIES:.0f} s ({reason}): "
            f"publish it, or set RViz's fixed frame to {target!r}"
        )

    async def _pause(self) -> None:
        over: Future[None] = Future()
        timer = self._node.create_timer(_PERIOD, lambda: over.done() or over.set_result(None))
        await over
        self._node.destroy_timer(timer)


def rotated(vector: Floats, axis: Floats, w: float) -> Floats:
    """A vector [3] turned by the unit quaternion (axis [3], w)."""
    twice = 2 * np.cross(axis, vector)
    return np.asarray(vector + w * twice + np.cross(axis, twice))
