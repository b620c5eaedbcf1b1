"""The pose of a camera in the frame of its messages: axes, mounting angles, azimuth and elevation."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector, tangent_basis


class FrameConvention(enum.Enum):
    """Axes of the frame in which directions are reported."""

    OPTICAL = "optical"  # x right, y down, z forward
    BODY = "body"  # REP-103: x forward, y left, z up

    @classmethod
    def of_frame_id(cls, frame_id: str) -> FrameConvention:
        """Return the convention that a frame's name implies (REP-103's ``_optical`` suffix)."""
        optical = frame_id.endswith(("_optical", "_optical_frame"))
        return cls.OPTICAL if optical else cls.BODY


_BODY_OF_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """The orientation of a camera in the frame of its messages.

    ``roll, pitch, yaw`` (rad, REP-103: about x forward, y left, z up, applied in that order)
    rotate the camera's own axes into those of the frame.
    """

    convention: FrameConvention = FrameConvention.OPTICAL
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    # [3, 3]: the whole rotation from optical axes to the frame's axes, instead of the angles
    whole: Floats | None = field(default=None, kw_only=True)

    def rotation(self) -> Floats:
        """Return the rotation [3, 3] from the camera's optical axes to the frame's axes."""
        if self.whole is not None:
            return self.whole
        body = np.asarray(body_rotation(self.roll, self.pitch, self.yaw) @ _BODY_OF_OPTICAL)
        return body if self.convention is FrameConvention.BODY else _BODY_OF_OPTICAL.T @ body

    def seen_from(self, rotation: Floats, convention: FrameConvention) -> CameraFrame:
        """Describe the same camera in another frame.

        ``rotation`` [3, 3] takes this frame's axes to the other frame's.
        """
        return CameraFrame(convention, whole=np.asarray(rotation @ self.rotation()))

    def to_frame(self, vectors: ArrayLike) -> Floats:
        """Transform optical vectors [..., 3] to the frame's axes."""
        return np.asarray(vectors, float) @ self.rotation().T

    def from_frame(self, vectors: ArrayLike) -> Floats:
        """Transform vectors [..., 3] in the frame's axes to optical axes, the inverse of ``to_frame``."""
        return np.asarray(vectors, float) @ self.rotation()

    def covariance_to_frame(self, direction: ArrayLike, covariance: ArrayLike) -> Floats:
        """Transform a covariance [2, 2] (east, north) of an optical ``direction`` [3] to the frame.

        East and north are level in the camera's axes before, and in the frame's axes after.
        """
        rotation = self.rotation()
        if self.convention is FrameConvention.BODY:
            rotation = _BODY_OF_OPTICAL.T @ rotation
        direction = np.asarray(direction, float)
        before = np.stack(tangent_basis(direction))
        after = np.stack(tangent_basis(rotation @ direction))
        jacobian = after @ rotation @ before.T
        return np.asarray(jacobian @ np.asarray(covariance, float) @ jacobian.T)

    def azimuth_elevation(self, vectors: ArrayLike) -> tuple[Floats, Floats]:
        """Compute azimuth (anticlockwise positive seen from above, -pi..pi) and elevation, rad.

        ``vectors`` [..., 3] are in the frame's axes; 0, 0 is the frame's forward axis.
        """
        xyz: Floats = np.asarray(vectors, float)
        if self.convention is FrameConvention.OPTICAL:
            xyz = xyz @ _BODY_OF_OPTICAL.T
        x, y, z = np.moveaxis(xyz, -1, 0)
        return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))

    def vectors_of(self, azimuth: ArrayLike, elevation: ArrayLike) -> Floats:
        """Compute unit vectors [..., 3] in the frame's axes, the inverse of ``azimuth_elevation``; rad."""
        optical = lonlat_to_vector(-np.asarray(azimuth, float), elevation)
        return optical if self.convention is FrameConvention.OPTICAL else optical @ _BODY_OF_OPTICAL.T


UPRIGHT = CameraFrame()  # of a camera whose messages are in its own optical axes


def body_rotation(roll: float, pitch: float, yaw: float) -> Floats:
    """Return the rotation [3, 3] about fixed x forward (roll), y left (pitch), z up (yaw), in that order."""
    return np.asarray(Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix())
