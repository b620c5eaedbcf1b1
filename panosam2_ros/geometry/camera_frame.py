"""How a camera sits in the frame of its messages: axes, mounting angles, azimuth and elevation."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from panosam2_ros.geometry.sphere import Floats, tangent_basis


class FrameConvention(enum.Enum):
    """Axes of the frame in which directions are reported."""

    OPTICAL = "optical"  # x right, y down, z forward
    BODY = "body"  # REP-103: x forward, y left, z up

    @classmethod
    def of_frame_id(cls, frame_id: str) -> FrameConvention:
        """The convention that a frame's name promises (REP-103's ``_optical`` suffix)."""
        optical = frame_id.endswith(("_optical", "_optical_frame"))
        return cls.OPTICAL if optical else cls.BODY


_BODY_OF_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class CameraFrame:
    """How the camera sits in the frame of its messages.

    ``roll, pitch, yaw`` (rad, REP-103: about x forward, y left, z up, applied in that order)
    turn the camera's own axes into those of the frame.
    """

    convention: FrameConvention = FrameConvention.OPTICAL
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    whole: Floats | None = field(default=None, compare=False)  # [3, 3] in the place of the angles

    def rotation(self) -> Floats:
        """[3, 3]: a direction in the camera's optical axes -> the frame's axes."""
        if self.whole is not None:
            return self.whole
        body = body_rotation(self.roll, self.pitch, self.yaw) @ _BODY_OF_OPTICAL
        return body if self.convention is FrameConvention.BODY else _BODY_OF_OPTICAL.T @ body

    def seen_from(self, turn: Floats, convention: FrameConvention) -> CameraFrame:
        """The same camera in another frame; ``turn`` [3, 3]: this frame's axes -> that one's."""
        return CameraFrame(convention, whole=np.asarray(turn @ self.rotation()))

    def to_frame(self, vectors: ArrayLike) -> Floats:
        """Optical vectors [..., 3] in the frame's axes."""
        return np.asarray(vectors, float) @ self.rotation().T

    def from_frame(self, vectors: ArrayLike) -> Floats:
        """The inverse of ``to_frame``."""
        return np.asarray(vectors, float) @ self.rotation()

    def covariance_to_frame(self, direction: ArrayLike, covariance: ArrayLike) -> Floats:
        """[2, 2] (east, north) about an optical ``direction`` [3] -> about it in the frame.

        East and north are level in the camera before and in the frame after.
        """
        turn = self.rotation()
        if self.convention is FrameConvention.BODY:
            turn = _BODY_OF_OPTICAL.T @ turn
        direction = np.asarray(direction, float)
        before = np.stack(tangent_basis(direction))
        after = np.stack(tangent_basis(turn @ direction))
        jacobian = after @ turn @ before.T
        return np.asarray(jacobian @ np.asarray(covariance, float) @ jacobian.T)

    def azimuth_elevation(self, vectors: ArrayLike) -> tuple[Floats, Floats]:
        """Azimuth (anticlockwise positive seen from above, -pi..pi) and elevation, rad.

        ``vectors`` [..., 3] are in the frame's axes; 0, 0 is the frame's forward axis.
        """
        xyz: Floats = np.asarray(vectors, float)
        if self.convention is FrameConvention.OPTICAL:
            xyz = xyz @ _BODY_OF_OPTICAL.T
        x, y, z = np.moveaxis(xyz, -1, 0)
        return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))


UPRIGHT = CameraFrame()  # a camera whose frame has its own optical axes


def body_rotation(roll: float, pitch: float, yaw: float) -> Floats:
    """[3, 3] rotation about fixed x forward (roll), y left (pitch), z up (yaw), in that order."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
