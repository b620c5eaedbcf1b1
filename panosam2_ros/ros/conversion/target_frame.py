"""Express bearings in another frame than the camera's, where tf2 is installed and knows the transform."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from rclpy.time import Time
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.ros.conversion.transforms import FrameError, LateTransformError, Transforms, rotation_of

_POLL = 0.005  # s between look-ups of a transform that is late
_RECENT = 40  # images over which missing transforms are counted


@dataclass(frozen=True)
class TargetFrameOptions:
    """Which frame is wanted, and what happens where its transform is late or missing."""

    name: str  # of the frame; empty: the image's own
    timeout: float = 0.0  # s for which a late transform is waited for
    only: bool = False  # bearings are left out rather than published in the image's frame


class TargetFrame:
    """The frame of all directions that the node publishes and answers: ``name``, or the image's own.

    A bearing is a direction from the camera: it is rotated, never moved. Made on the executor's
    thread, used on one other.
    """

    def __init__(self, transforms: Transforms, options: TargetFrameOptions) -> None:
        self._transforms, self._options, self._name = transforms, options, options.name
        self._instead = "are left out" if options.only else "are in the image's frame"
        self._reason = ""  # of the last failure
        self._failures: deque[bool] = deque(maxlen=_RECENT)  # of the last images
        self._wanted = bool(self._name)
        if self._name:
            try:
                transforms.listen()
            except FrameError as error:
                self._wanted = False
                self._reason = f"target_frame {self._name!r}: {error}; bearings {self._instead}"

    @property
    def problem(self) -> str:
        """Why bearings of the last images are not in the target frame; empty: they are, or none is wanted."""
        if not self._wanted:
            return self._reason
        failed, count = sum(self._failures), len(self._failures)
        return f"{self._reason}, for {failed} of the last {count} images" if failed else ""

    def accepts(self, header: Header) -> bool:
        """Return whether bearings with this header are published: not in another frame where ``only``."""
        return not (self._options.only and self._name and header.frame_id != self._name)

    def of(self, header: Header, camera: CameraFrame) -> tuple[Header, CameraFrame]:
        """Return header and camera for the bearings of an image; wait for a transform that is late.

        They are those given where no transform comes in time; ``problem`` says so then. The target's axes
        follow from its name (see ``FrameConvention.of_frame_id``).
        """
        if not self._wanted or header.frame_id == self._name:
            return header, camera
        try:
            rotation = self._rotation(header)
        except FrameError as error:
            self._failures.append(True)
            waited = (
                f" within {self._options.timeout:g} s (transform_timeout)" if self._options.timeout else ""
            )
            self._reason = (
                f"no transform from {header.frame_id!r} to target_frame {self._name!r}{waited} ({error}): "
                f"bearings {self._instead}"
            )
            return header, camera
        self._failures.append(False)
        target = Header(stamp=header.stamp, frame_id=self._name)
        return target, camera.seen_from(rotation, FrameConvention.of_frame_id(self._name))

    def _rotation(self, header: Header) -> Floats:
        """Return the rotation at an image's stamp; raise FrameError where there is none in time."""
        deadline = time.monotonic() + self._options.timeout
        while True:
            try:
                found: Any = self._transforms.now(self._name, header.frame_id, Time.from_msg(header.stamp))
                return rotation_of(found.rotation)
            except LateTransformError:  # others do not come by waiting
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_POLL)
