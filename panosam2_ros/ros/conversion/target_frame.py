"""Bearings in another frame than the camera's, where tf2 is installed and knows the way."""

from __future__ import annotations

from rclpy.time import Time
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.ros.conversion.transforms import FrameError, Transforms, rotation_of


class TargetFrame:
    """Turns what is published into ``name``; says in ``problem`` why it cannot.

    A bearing is a direction from the camera: it is turned, never moved. Made on the executor's
    thread, used on one other.
    """

    def __init__(self, transforms: Transforms, name: str) -> None:
        self._transforms, self._name = transforms, name
        self.problem = ""  # why bearings are in the image's frame; empty: they are not, or none is wanted
        self._wanted = bool(name)
        if name:
            try:
                transforms.listen()
            except FrameError as error:
                self._wanted = False
                self.problem = f"target_frame {name!r}: {error}; bearings are in the image's frame"

    def of(self, header: Header, camera: CameraFrame) -> tuple[Header, CameraFrame]:
        """Header and camera for the bearings of an image; as they were where ``problem`` says so.

        The target's axes are those that its name tells (see ``FrameConvention.of_frame_id``).
        """
        if not self._wanted or header.frame_id == self._name:
            return header, camera
        try:
            transform = self._transforms.now(self._name, header.frame_id, Time.from_msg(header.stamp))
            turn = rotation_of(transform.rotation)
        except FrameError as error:
            self.problem = (
                f"no transform from {header.frame_id!r} to target_frame {self._name!r} ({error}): bearings "
                "are in the image's frame"
            )
            return header, camera
        self.problem = ""
        there = Header(stamp=header.stamp, frame_id=self._name)
        return there, camera.seen_from(turn, FrameConvention.of_frame_id(self._name))
