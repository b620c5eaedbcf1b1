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


class LateTransformError(FrameError):
    """The frames are connected, but the transform at this stamp is not known yet."""


def frame_id_problem(frame_id: str) -> str:
    """Describe what is wrong with the frame_id of an image or a point; empty where nothing is."""
    if not frame_id:
        return (
            "header.frame_id is empty: RViz, target_frame and points in other frames need it; set it in the "
            "camera's driver (often its parameter frame_id)"
        )
    if frame_id.startswith("/"):
        return (
            f'header.frame_id {frame_id!r} begins with a slash, and tf2 refuses it ("frame_ids cannot start '
            f"with a '/'\"): set {frame_id.lstrip('/')!r} in the camera's driver"
        )
    return ""


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
        except tf2_ros.ExtrapolationException as error:
            raise LateTransformError(str(error)) from error
        except tf2_ros.TransformException as error:
            raise FrameError(str(error)) from error


class PointTransformer:
    """Transforms points into the camera's frame, and waits up to two seconds for a transform."""

    def __init__(self, node: Node, transforms: Transforms) -> None:
        self._node, self._transforms = node, transforms

    async def point(self, msg: PointStamped, frame_id: str | None) -> Floats:
        """Return [3] in ``frame_id`` of the images; None: no image has come yet.

        A message without a frame is in it already. Raise FrameError.
        """
        own = np.array([msg.point.x, msg.point.y, msg.point.z])
        if frame_id is None:
            raise FrameError("no image has come yet: click again when one has come")
        if msg.header.frame_id in ("", frame_id):
            return own
        if not frame_id:
            raise FrameError(
                f"the point is in frame {msg.header.frame_id!r}, and the images have an empty frame_id: set "
                "that in the camera's driver; points with an empty frame_id are in the camera's frame"
            )
        if problem := frame_id_problem(msg.header.frame_id) or frame_id_problem(frame_id):
            raise FrameError(problem)
        try:
            self._transforms.listen()
        except FrameError as error:
            raise FrameError(
                f"the point is in frame {msg.header.frame_id!r}, the camera in {frame_id!r}, and {error}: "
                f"set RViz's fixed frame to {frame_id!r}, or install tf2_ros"
            ) from error
        transform = await self._transform(frame_id, msg.header.frame_id)
        t = transform.translation
        return np.asarray(own @ rotation_of(transform.rotation).T + np.array([t.x, t.y, t.z]))

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
