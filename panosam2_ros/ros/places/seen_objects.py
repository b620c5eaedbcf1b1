"""Visible objects of an image, from the message of its bearings."""

from __future__ import annotations

import numpy as np

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import Floats, tangent_basis
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.places.place_estimator import SeenObject

_LENGTHS = (0.5, 2.0)  # of a direction that was meant as a unit vector
_MOST_VARIANCE = 4.0  # rad^2; of an unknown direction it is less


def seen_objects(msg: ObjectBearingArray, turn: Floats) -> list[SeenObject]:
    """Return the objects that are visible, in the camera's optical axes.

    ``turn`` [3, 3] rotates directions of the message to these axes. Objects whose direction or covariance is
    no number are left out.
    """
    # east and north are level in the axes of the message's frame
    axes = CameraFrame(FrameConvention.of_frame_id(msg.header.frame_id)).rotation()
    found = []
    for bearing in msg.objects:
        if bearing.state != ObjectBearing.STATE_VISIBLE:
            continue
        d = bearing.direction
        direction = np.array([d.x, d.y, d.z])
        covariance = np.asarray(bearing.direction_covariance, float).reshape(2, 2)
        length = float(np.linalg.norm(direction))
        usable = np.isfinite(covariance).all() and (np.abs(covariance) <= _MOST_VARIANCE).all()
        if not (_LENGTHS[0] < length < _LENGTHS[1] and usable):  # nor NaN
            continue
        direction = direction / length
        basis = axes @ np.stack(tangent_basis(axes.T @ direction), 1)
        in_frame = basis @ ((covariance + covariance.T) / 2) @ basis.T
        extents = (bearing.extent_horizontal, bearing.extent_vertical)
        width, height = (float(np.clip(np.nan_to_num(e), 0.0, 2 * np.pi)) for e in extents)
        found.append(SeenObject(bearing.object_id, turn @ direction, turn @ in_frame @ turn.T, width, height))
    return found
