"""The frames of an image's places: camera, range sensor, fixed frame and the frame that is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.places.place_estimator import CameraPose
from panosam2_ros.ros.conversion.messages import camera_frame
from panosam2_ros.ros.conversion.transforms import FrameError, Transforms, rotation_of
from panosam2_ros.ros.places.place_parameters import PlaceParameters

TF_MISSING = (
    "tf2_ros is not installed (apt install ros-$ROS_DISTRO-tf2-ros-py): ranges must be measured in the "
    "images' own frame, and without odometry nothing is triangulated"
)


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """A change of frame: rotation first, then translation."""

    rotation: Floats  # [3, 3]
    translation: Floats  # [3] m

    def apply(self, points: Floats) -> Floats:
        """Transform points [N, 3]."""
        return np.asarray(points @ self.rotation.T + self.translation)

    def after(self, first: RigidTransform) -> RigidTransform:
        """Return the transform that applies ``first``, then this one."""
        rotation = self.rotation @ first.rotation
        return RigidTransform(rotation, self.rotation @ first.translation + self.translation)

    def inverse(self) -> RigidTransform:
        """Return the transform back."""
        return RigidTransform(self.rotation.T, -self.rotation.T @ self.translation)


STILL = RigidTransform(np.eye(3), np.zeros(3))


class PlaceFrames:
    """Looks up what the places of an image need; used on the executor's thread."""

    def __init__(self, node: Node, parameters: PlaceParameters) -> None:
        self._parameters = parameters
        self._transforms = Transforms(node)
        self.has_tf = True
        try:
            self._transforms.listen()
        except FrameError:
            self.has_tf = False

    def camera(self, header: Header) -> CameraFrame:
        """Return how the camera of an image sits in the image's frame."""
        now = self._parameters
        return camera_frame(
            now.frame_convention, header.frame_id, now.camera_roll, now.camera_pitch, now.camera_yaw
        )

    def between(self, target: str, source: str, stamp: Stamp) -> RigidTransform:
        """Return the transform from ``source`` to ``target``; raise FrameError where there is none."""
        if target == source:
            return STILL
        if not self.has_tf:
            raise FrameError("tf2_ros is not installed")
        found: Any = self._transforms.now(target, source, Time.from_msg(stamp))
        t = found.translation
        return RigidTransform(rotation_of(found.rotation), np.array([t.x, t.y, t.z]))

    def camera_pose(self, header: Header) -> CameraPose | None:
        """Return the camera in the fixed frame; None where none is wanted or tf2 is missing.

        Raises FrameError.
        """
        if not (self._parameters.fixed_frame and self.has_tf):
            return None
        pose = self.between(self._parameters.fixed_frame, header.frame_id, header.stamp)
        return CameraPose(pose.rotation @ self.camera(header).rotation(), pose.translation)

    def ranges_to_optical(self, header: Header, ranges: Header, camera: CameraPose | None) -> RigidTransform:
        """Return the transform of points to the camera's optical axes at the image's stamp.

        By the fixed frame, where the camera's pose in it is known, so that the robot may have moved between
        the two; by the frames alone otherwise. Raise FrameError.
        """
        optical = RigidTransform(self.camera(header).rotation().T, np.zeros(3))
        if ranges.frame_id == header.frame_id and ranges.stamp == header.stamp:
            return optical
        if camera is not None:
            sensor = self.between(self._parameters.fixed_frame, ranges.frame_id, ranges.stamp)
            return RigidTransform(camera.rotation, camera.position).inverse().after(sensor)
        return optical.after(self.between(header.frame_id, ranges.frame_id, header.stamp))

    def bearings_to_optical(self, header: Header, bearings: Header) -> Floats:
        """Return the rotation [3, 3] of directions to the camera's optical axes. Raise FrameError."""
        turn = self.between(header.frame_id, bearings.frame_id, header.stamp).rotation
        return np.asarray(self.camera(header).rotation().T @ turn)

    def published(self, header: Header) -> tuple[Header, RigidTransform]:
        """Return the header of the places, and the transform to it from optical axes. Raise FrameError."""
        target = self._parameters.target_frame
        if not target or target == header.frame_id:
            return header, self.own(header)
        moved = self.between(target, header.frame_id, header.stamp).after(self.own(header))
        return Header(stamp=header.stamp, frame_id=target), moved

    def own(self, header: Header) -> RigidTransform:
        """Return the transform from optical axes to the image's frame."""
        return RigidTransform(self.camera(header).rotation(), np.zeros(3))

    def up(self, header: Header, camera: CameraPose | None) -> Floats:
        """Return the vertical [3] in optical axes: the fixed frame's z, else that of the image's frame."""
        if camera is not None:
            return np.asarray(camera.rotation[2])
        frame = self.camera(header)
        optical = frame.convention is FrameConvention.OPTICAL
        return frame.from_frame(np.array([0.0, -1.0, 0.0] if optical else [0.0, 0.0, 1.0]))
