"""Transform points into the camera's frame, and look transforms up, by tf2 where that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time

from panosam2_ros.geometry.sphere import Floats

try:
    import tf2_ros
except ImportError:  # not among the PyPI wheels of ROS 2
    tf2_ros = None

_PERIOD, _TRIES = 0.1, 20  # s, and how often a transform is asked for


class FrameError(LookupError):
    """A transform cannot be had; the message says why, and what to do."""


class Transforms:
    """A tf2 buffer that is filled from its first use on."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None

    def listen(self) -> None:
        """Start to receive transforms, on the executor's thread; raise FrameError without tf2."""
        if tf2_ros is None:
            raise FrameError("tf2_ros is not installed")
        if self._buffer is None:
            self._buffer = tf2_ros.Buffer(node=self._node)
            self._listener = tf2_ros.TransformListener(self._buffer, self._node, spin_thread=False)

    def now(self, target: str, source: str, stamp: Time) -> Any:
        """Return the transform that is known now, on any thread; raise FrameError where there is none."""
        try:
            return self._buffer.lookup_transform(target, source, stamp).transform
        except tf2_ros.TransformException as error:
            raise FrameError(str(error)) from error


class PointTransformer:
    """Transforms points into the camera's frame, and waits up to two seconds for a transform."""

    def __init__(self, node: Node, transforms: Transforms) -> None:
        self._node, self._transforms = node, transforms

    async def point(self, msg: PointStamped, frame_id: str) -> Floats:
        """Return [3] in ``frame_id``; a message without a frame is in it already. Raise FrameError."""
        own = np.array([msg.point.x, msg.point.y, msg.point.z])
        if not frame_id:
            raise FrameError("no image has come yet: click again when one has come")
        if msg.header.frame_id in ("", frame_id):
            return own
        try:
            self._transforms.listen()
        except FrameError as error:
            raise FrameError(
                f"the point is in frame {msg.header.frame_id!r}, the camera in {frame_id!r}, and {error}: "
                f"set RViz's fixed frame to {frame_id!r}, or install tf2_ros"
            ) from error
        transform = await self._transform(frame_id, msg.header.frame_id)
        t = transform.translation
        return own @ rotation_of(transform.rotation).T + np.array([t.x, t.y, t.z])

    async def _transform(self, target: str, source: str) -> Any:
        for _ in range(_TRIES):  # the listener may only just have begun to receive transforms
            try:
                return self._transforms.now(target, source, Time())
            except FrameError as error:
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


def rotation_of(quaternion: Any) -> Floats:
    """Return [3, 3] of a geometry_msgs/Quaternion; raise FrameError for one of another length than 1."""
    axis, w = np.array([quaternion.x, quaternion.y, quaternion.z]), quaternion.w
    length = float(np.sqrt(axis @ axis + w * w))
    if not 0.5 < length < 2:
        raise FrameError(f"a rotation is a unit quaternion, got {[*axis.tolist(), w]}")
    axis, w = axis / length, w / length
    twice = 2 * np.cross(axis, np.eye(3))  # rows: the axes, rotated below
    return np.asarray(np.eye(3) + w * twice + np.cross(axis, twice)).T
