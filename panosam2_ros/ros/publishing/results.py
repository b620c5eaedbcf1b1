"""Publish the results of every image: label image, bearings and visualizations."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.ros.conversion import messages
from panosam2_ros.ros.conversion.target_frame import TargetFrame
from panosam2_ros.ros.diagnostics.image_loss import QOS_BY_PARAMETER
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.publishing.visualization_messages import VisualizationInput
from panosam2_ros.ros.publishing.visualizations import VisualizationPublishers


class ResultPublishers:
    """The node's publishers of results."""

    def __init__(self, node: LifecycleNode, reporter: Reporter) -> None:
        self._masks = _publisher(node, Image, "~/masks")
        self._panoramas = _publisher(node, Image, "~/panorama")
        self._bearings = _publisher(node, ObjectBearingArray, "~/bearings")
        self.views = VisualizationPublishers(node, reporter)

    def want_labels(self) -> bool:
        """Return whether anybody subscribes to something that is made of label images."""
        return bool(self._masks.get_subscription_count()) or self.views.want_labels()

    def publish(self, scene: VisualizationInput, epoch: int, target: TargetFrame) -> None:
        """Publish the results of one image; called on the worker's thread."""
        header, tracked = scene.header, scene.tracked
        # somebody may have subscribed since the image was tracked
        if tracked.label_image is not None and self._masks.get_subscription_count():
            self._masks.publish(messages.masks_msg(header, tracked.labels))
        if self._panoramas.get_subscription_count():
            self._panoramas.publish(messages.image_message(header, scene.image, "rgb8"))
        header, camera = target.of(header, scene.camera)
        if target.accepts(header):
            self._bearings.publish(messages.bearings_msg(header, epoch, tracked.tracks, camera))
        self.views.offer(scene)


def _publisher(node: LifecycleNode, kind: type, name: str) -> LifecyclePublisher:
    # a profile of its own: overrides are written into it
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    return node.create_lifecycle_publisher(kind, name, reliable, qos_overriding_options=QOS_BY_PARAMETER)
