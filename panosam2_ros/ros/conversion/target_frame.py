"""Express bearings in another frame than the camera's, where tf2 is installed and knows the transform."""

from __future__ import annotations

from rclpy.time import Time
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.ros.conversion.transforms import FrameError, Transforms, rotation_of


class TargetFrame:
    """The frame of all directions that the node publishes and answers: ``name``, or the image's own.

    A bearing is a direction from the camera: it is rotated, never moved. Made on the executor's
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
        """Return header and camera for the bearings of an image.

        They are those given where no transform is known; ``problem`` says so then. The target's axes
        follow from its name (see ``FrameConvention.of_frame_id``).
        """
        if not self._wanted or header.frame_id == self._name:
            return header, camera
        try:
            transform = self._transforms.now(self._name, header.frame_id, Time.from_msg(header.stamp))
            rotation = rotation_of(transform.rotation)
        except FrameError as error:
            self.problem = (
                f"no transform from {header.frame_id!r} to target_frame {self._name!r} ({error}): bearings "
                "are in the image's frame"
            )
            return header, camera
        self.problem = ""
        target = Header(stamp=header.stamp, frame_id=self._name)
        return target, camera.seen_from(rotation, FrameConvention.of_frame_id(self._name))
