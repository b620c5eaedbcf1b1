"""A robot with a panoramic camera and a lidar in a known scene, beside the node that places objects."""

from __future__ import annotations

import array
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.conversion.messages import masks_msg, ns_to_stamp, vector_msg
from panosam2_ros.ros.places.place_messages import quaternion_msg
from panosam2_ros.simulation.range_sensor import (
    DepthPanorama,
    LidarSpec,
    SensorPose,
    depth_panorama,
    lidar_scan,
)
from panosam2_ros.simulation.solids import Solid, SolidShape

GRID = Equirect(512, 256)
CAMERA, LIDAR = "camera_optical_frame", "lidar"
CAMERA_HEIGHT, LIDAR_HEIGHT = 1.5, 1.9  # m, above base_link
SCENE = [
    Solid(SolidShape.BOX, (6.0, 0.0, 0.9), (1.0, 1.6, 1.8), obj_id=5),
    Solid(SolidShape.BOX, (12.0, 0.0, 3.0), (0.3, 40.0, 6.0)),
]
FRONT = np.array([5.5, 0.0, 0.9])  # middle of the face of object 5 that the camera sees
OPTICAL = CameraFrame(FrameConvention.BODY).rotation()
_NAMES, _OFFSETS = ["x", "y", "z", "intensity"], [0, 4, 8, 16]
_LAYOUT = np.dtype({"names": _NAMES, "formats": ["<f4"] * 4, "offsets": _OFFSETS, "itemsize": 24})


def spin_until(node: Node, condition: Callable[[], Any], timeout: float = 60.0, what: str = "") -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout} s in vain: {what}"
        rclpy.spin_once(node, timeout_sec=0.05)


def seen_from(x: float, y: float = 0.0) -> DepthPanorama:
    """Return what the camera sees from a place of the robot."""
    return depth_panorama(SCENE, SensorPose(np.array([x, y, CAMERA_HEIGHT]), np.eye(3)), GRID)


def cloud_msg(points: NDArray[np.float32], stamp: int, frame_id: str = LIDAR) -> PointCloud2:
    """Make a cloud with padding and another field between."""
    packed = np.zeros(len(points), _LAYOUT)
    packed["x"], packed["y"], packed["z"] = points.T
    fields = [
        PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
        for name, offset in zip(_NAMES, _OFFSETS, strict=True)
    ]
    return PointCloud2(
        header=Header(stamp=ns_to_stamp(stamp), frame_id=frame_id),
        height=1,
        width=len(points),
        fields=fields,
        point_step=_LAYOUT.itemsize,
        row_step=_LAYOUT.itemsize * len(points),
        data=array.array("B", packed.tobytes()),
    )


class PlaceStation(Node):
    """Publishes what panosam2_node and the sensors do, and takes what the places node says."""

    def __init__(self, namespace: str = "") -> None:
        super().__init__("place_station", namespace=namespace)
        self.masks = self.create_publisher(Image, "panosam2/masks", 5)
        self.bearings = self.create_publisher(ObjectBearingArray, "panosam2/bearings", 5)
        self.points = self.create_publisher(PointCloud2, "points", qos_profile_sensor_data)
        self.depth = self.create_publisher(Image, "depth", qos_profile_sensor_data)
        self.clouds: list[PointCloud2] = []
        self.objects: list[Any] = []
        self.frames: dict[str, TransformStamped] = {}
        self.status: dict[str, str] = {}
        self.message = ""
        self.create_subscription(PointCloud2, "panosam2_places/object_points", self.clouds.append, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.stamp = 1_700_000_000_000_000_000
        self._tf: Any = None

    def use_packages(self) -> None:
        """Use vision_msgs and tf2_msgs, too."""
        from tf2_msgs.msg import TFMessage
        from vision_msgs.msg import Detection3DArray

        kept = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._tf = self.create_publisher(TFMessage, "/tf", 100)
        self._static = self.create_publisher(TFMessage, "/tf_static", kept)
        self.create_subscription(Detection3DArray, "panosam2_places/objects_3d", self.objects.append, 10)
        self.create_subscription(TFMessage, "/tf", self._on_tf, 100)
        camera = self.transform("base_link", CAMERA, (0.0, 0.0, CAMERA_HEIGHT), 0, OPTICAL)
        lidar = self.transform("base_link", LIDAR, (0.0, 0.0, LIDAR_HEIGHT), 0)
        self._static.publish(TFMessage(transforms=[camera, lidar]))
        self._tf_type = TFMessage

    def transform(
        self, parent: str, child: str, at: tuple[float, float, float], stamp: int, turn: Floats | None = None
    ) -> TransformStamped:
        made = TransformStamped(child_frame_id=child)
        made.header.frame_id, made.header.stamp = parent, ns_to_stamp(stamp)
        made.transform.translation = vector_msg(at)
        made.transform.rotation = quaternion_msg(np.eye(3) if turn is None else turn)
        return made

    def move_to(self, x: float, y: float, stamp: int) -> None:
        """Say by tf where the robot is."""
        moved = self.transform("odom", "base_link", (x, y, 0.0), stamp)
        self._tf.publish(self._tf_type(transforms=[moved]))

    def publish_image(self, truth: DepthPanorama, stamp: int, *, with_masks: bool = True) -> None:
        """Publish masks and bearings of an image."""
        header = Header(stamp=ns_to_stamp(stamp), frame_id=CAMERA)
        mask = truth.labels == 5
        bearing = mask_bearing(mask, GRID)
        assert bearing is not None
        message = ObjectBearing(object_id=5, label="crate", state=ObjectBearing.STATE_VISIBLE, score=0.9)
        message.direction = vector_msg(bearing.direction)
        message.direction_covariance = bearing.covariance.ravel()
        message.extent_horizontal = float(bearing.extent_horizontal)
        message.extent_vertical = float(bearing.extent_vertical)
        lost = ObjectBearing(object_id=6, label="cat", state=ObjectBearing.STATE_LOST)
        self.bearings.publish(ObjectBearingArray(header=header, objects=[message, lost]))
        if with_masks:
            self.masks.publish(masks_msg(header, truth.labels))

    def scan(self, x: float, y: float = 0.0) -> NDArray[np.float32]:
        """Return a lidar's points from a place of the robot, in its own frame."""
        pose = SensorPose(np.array([x, y, LIDAR_HEIGHT]), np.eye(3))
        spec = LidarSpec(math.radians(0.4), math.radians(-30), math.radians(15))
        return lidar_scan(SCENE, pose, spec, np.random.default_rng(0))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name == f"{self.get_namespace().rstrip('/')}/panosam2_places: places":
                self.status = {value.key: value.value for value in status.values}
                self.message = status.message

    def _on_tf(self, msg: Any) -> None:
        for each in msg.transforms:
            self.frames[each.child_frame_id] = each
