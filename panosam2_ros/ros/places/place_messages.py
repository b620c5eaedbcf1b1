"""Make messages of places: Detection3DArray where vision_msgs is installed, points with ids, transforms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion, TransformStamped
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.msg import ObjectBearing
from panosam2_ros.places.object_place import ObjectPlace
from panosam2_ros.ros.conversion.messages import point_cloud_msg, vector_msg

try:
    from vision_msgs import msg as vision
except ImportError:  # not among the PyPI wheels of ROS 2
    vision = None

DETECTIONS_AVAILABLE = vision is not None
UNKNOWN_ANGLE = math.pi**2  # rad^2, variance of an orientation of which nothing is known
_PLACE_FIELDS = (
    ("x", "<f4", PointField.FLOAT32),
    ("y", "<f4", PointField.FLOAT32),
    ("z", "<f4", PointField.FLOAT32),
    ("id", "<u4", PointField.UINT32),  # object id
)
PLACE_POINT = np.dtype([(name, kind) for name, kind, _ in _PLACE_FIELDS])


def detection_array_type() -> Any:
    """Return the class vision_msgs/Detection3DArray."""
    return vision.Detection3DArray


def detections_3d_msg(
    header: Header, places: Sequence[ObjectPlace], bearings: Mapping[int, ObjectBearing]
) -> Any:
    """Make a Detection3DArray of places in the frame of ``header``; ``bearings`` by object id."""
    return vision.Detection3DArray(
        header=header, detections=[_detection_3d(header, place, bearings[place.obj_id]) for place in places]
    )


def _detection_3d(header: Header, place: ObjectPlace, bearing: ObjectBearing) -> Any:
    made = vision.Detection3D(header=header, id=str(place.obj_id))
    result = vision.ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = bearing.label, float(bearing.score)
    _set_point(result.pose.pose.position, place.position)
    result.pose.pose.orientation.w = 1.0
    covariance = UNKNOWN_ANGLE * np.eye(6)
    covariance[:3, :3] = place.covariance
    result.pose.covariance = covariance.ravel()
    made.results = [result]
    _set_point(made.bbox.center.position, place.box.centre)
    made.bbox.center.orientation = quaternion_msg(place.box.axes)
    made.bbox.size = vector_msg(place.box.size)
    return made


def _set_point(point: Any, xyz: Floats) -> None:
    point.x, point.y, point.z = (float(c) for c in xyz)


def quaternion_msg(rotation: Floats) -> Quaternion:
    """Make the quaternion of a rotation [3, 3]."""
    x, y, z, w = (float(c) for c in Rotation.from_matrix(rotation).as_quat())
    return Quaternion(x=x, y=y, z=z, w=w)


def object_points_msg(header: Header, xyz: Floats, ids: NDArray[np.uint32]) -> PointCloud2:
    """Make an unorganised cloud of the points [N, 3], m, of objects, each with its object's id."""
    points = np.empty(len(xyz), PLACE_POINT)
    points["x"], points["y"], points["z"] = xyz.T
    points["id"] = ids
    fields = [
        PointField(name=name, offset=4 * place, datatype=kind, count=1)
        for place, (name, _, kind) in enumerate(_PLACE_FIELDS)
    ]
    return point_cloud_msg(header, points, fields, dense=True)


def place_transform(header: Header, place: ObjectPlace, prefix: str) -> TransformStamped:
    """Make the transform of an object's own frame, whose axes are those of the frame of ``header``."""
    made = TransformStamped(header=header, child_frame_id=f"{prefix}{place.obj_id}")
    made.transform.translation = vector_msg(place.position)
    made.transform.rotation.w = 1.0
    return made
