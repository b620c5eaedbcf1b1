"""Bearings in another frame than the camera's, where tf2 is installed and knows the way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from panosam2_ros.equirect import CameraFrame, Floats, FrameConvention


class TargetFrame:
    """Turns what is published into ``name``; says in ``problem`` why it cannot.

    A bearing is a direction from the camera: it is turned, never moved. Made on the executor's
    thread, used on one other.
    """

    def __init__(self, node: Node, name: str) -> None:
        self.name = name
        self.problem = ""  # why bearings are in the image's frame; empty: they are not, or none is wanted
        self._buffer: Any = None
        if not name:
            return
        try:
            import tf2_ros
        except ImportError as error:
            self.problem = f"target_frame {name!r} needs tf2_ros ({error}): bearings are in the image's frame"
            return
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def of(self, header: Header, camera: CameraFrame) -> tuple[Header, CameraFrame]:
        """Header and camera for the bearings of an image; as they were where ``problem`` says so.

        The target's axes are those that its name tells (see ``FrameConvention.of_frame_id``).
        """
        if self._buffer is None or header.frame_id == self.name:
            return header, camera
        try:
            stamp = Time.from_msg(header.stamp)
            found = self._buffer.lookup_transform(self.name, header.frame_id, stamp).transform.rotation
            turn = _rotation(found.x, found.y, found.z, found.w)
        except Exception as error:  # tf2 has six kinds, all of which mean that there is no transform now
            self.problem = (
                f"no transform from {header.frame_id!r} to target_frame {self.name!r} ({error}): bearings "
                "are in the image's frame"
            )
            return header, camera
        self.problem = ""
        there = Header(stamp=header.stamp, frame_id=self.name)
        return there, camera.seen_from(turn, FrameConvention.of_frame_id(self.name))


def _rotation(x: float, y: float, z: float, w: float) -> Floats:
    """[3, 3] of a quaternion; ValueError for one that is none."""
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if not 0.5 < length < 2:
        raise ValueError(f"a rotation is a unit quaternion, got x {x}, y {y}, z {z}, w {w}")
    x, y, z, w = (c / length for c in (x, y, z, w))
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
