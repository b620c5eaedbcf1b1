"""What comes of every image: label image, bearings, and views for those who look."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.ros import conversions
from panosam2_ros.ros.reporting import Reporter
from panosam2_ros.ros.transport import forget_lookup_errors
from panosam2_ros.ros.view_messages import Scene
from panosam2_ros.ros.views import Views


class Outputs:
    """The node's publishers of results."""

    def __init__(self, node: LifecycleNode, reporter: Reporter) -> None:
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._masks = node.create_lifecycle_publisher(Image, "~/masks", reliable)
        self._bearings = node.create_lifecycle_publisher(ObjectBearingArray, "~/bearings", reliable)
        forget_lookup_errors()
        self.views = Views(node, reporter)

    def publish(self, scene: Scene, epoch: int) -> None:
        """On the worker's thread."""
        header, tracked = scene.header, scene.tracked
        if self._masks.get_subscription_count():
            self._masks.publish(conversions.masks_msg(header, tracked.labels))
        self._bearings.publish(conversions.bearings_msg(header, epoch, tracked.tracks, scene.camera))
        self.views.offer(scene)
