"""Publish places: Detection3DArray, points with ids, and a TF frame per object."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.places.place_estimator import PlaceResult
from panosam2_ros.places.projected_points import ProjectedPoints
from panosam2_ros.ros.diagnostics.image_loss import QOS_BY_PARAMETER
from panosam2_ros.ros.places.place_frames import RigidTransform
from panosam2_ros.ros.places.place_messages import (
    DETECTIONS_AVAILABLE,
    detection_array_type,
    detections_3d_msg,
    object_points_msg,
    place_transform,
)

try:
    import tf2_ros
except ImportError:  # not among the PyPI wheels of ROS 2
    tf2_ros = None


class PlacePublishers:
    """The publishers of `panosam2_places`."""

    def __init__(self, node: Node, *, publish_tf: bool, prefix: str) -> None:
        self._prefix = prefix
        self._points = _publisher(node, PointCloud2, "~/object_points")
        self._detections = None
        if DETECTIONS_AVAILABLE:
            self._detections = _publisher(node, detection_array_type(), "~/objects_3d")
        self._broadcaster: Any = None
        if publish_tf and tf2_ros is not None:
            self._broadcaster = tf2_ros.TransformBroadcaster(node)

    def publish(
        self,
        header: Header,
        move: RigidTransform,
        bearings: ObjectBearingArray,
        points: ProjectedPoints | None,
        result: PlaceResult,
    ) -> None:
        """Publish the places of an image; ``move`` takes optical axes to the frame of ``header``."""
        places = [place.moved(move.rotation, move.translation) for place in result.places]
        by_id = {bearing.object_id: bearing for bearing in bearings.objects}
        if self._detections is not None:
            self._detections.publish(detections_3d_msg(header, places, by_id))
        if self._points.get_subscription_count():
            self._points.publish(_points_of(header, move, points, result))
        if self._broadcaster is not None and places:
            self._broadcaster.sendTransform(
                [place_transform(header, place, self._prefix) for place in places]
            )


def _points_of(
    header: Header, move: RigidTransform, points: ProjectedPoints | None, result: PlaceResult
) -> PointCloud2:
    """Make the cloud of all objects' own points."""
    if points is None or not result.places:
        return object_points_msg(header, np.zeros((0, 3)), np.zeros(0, np.uint32))
    index = np.concatenate([place.points for place in result.places])
    counts = [len(place.points) for place in result.places]
    ids = np.repeat(np.array([place.obj_id for place in result.places], np.uint32), counts)
    return object_points_msg(header, move.apply(points.xyz[index]), ids)


def _publisher(node: Node, kind: Any, name: str) -> Any:
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    return node.create_publisher(kind, name, reliable, qos_overriding_options=QOS_BY_PARAMETER)
