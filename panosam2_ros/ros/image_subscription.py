"""The subscription to the camera's images: started at activation, stopped at deactivation, and monitored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from panosam2_ros.ros.conversion.image_limits import MAX_FRAME_ID
from panosam2_ros.ros.conversion.messages import stamp_to_ns
from panosam2_ros.ros.diagnostics.findings import Finding
from panosam2_ros.ros.diagnostics.image_loss import QOS_BY_PARAMETER
from panosam2_ros.ros.diagnostics.image_monitor import ImageMonitor, ImageTopic
from panosam2_ros.ros.inference.frame_buffer import ReceivedImage
from panosam2_ros.ros.lifecycle_node import with_info
from panosam2_ros.ros.parameters import Parameters

ImageMsg: TypeAlias = Any  # sensor_msgs Image or CompressedImage
_LEAST_SIZE = 4096  # bytes of a message's objects beside its pixels


def message_size(msg: ImageMsg) -> int:
    """Return how many bytes an Image or CompressedImage holds; one without pixels holds some, too."""
    return len(msg.data) + len(msg.header.frame_id) + _LEAST_SIZE


class ImageSubscription:
    """Hands every image over as it arrives; used on the executor's thread."""

    def __init__(
        self,
        node: Node,
        receive: Callable[[ReceivedImage[ImageMsg]], None],
        frame_changed: Callable[[Header], None],  # the first image's header, and those in other frames, some
    ) -> None:
        self._node, self._receive, self._frame_changed = node, receive, frame_changed
        self._subscription: Subscription | None = None
        self._monitor: ImageMonitor | None = None
        self.frame_id: str | None = None  # of the newest image; None before the first

    def start(self, transport: str) -> None:
        """Subscribe to raw or compressed images."""
        compressed = transport == "compressed"
        name = self._node.resolve_topic_name("image")
        if compressed and not name.endswith("/compressed"):  # image:=/image/compressed names it already
            name += "/compressed"
        kind = CompressedImage if compressed else Image
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self._node.create_subscription(
            kind, name, with_info(self._arrived), qos, qos_overriding_options=QOS_BY_PARAMETER
        )
        topic = ImageTopic(name, f"sensor_msgs/msg/{kind.__name__}", qos)
        self._monitor = ImageMonitor(self._node, topic)
        self._node.get_logger().info(f"waiting for images on {name} ({qos.reliability.name.lower()})")

    def stop(self) -> None:
        """Unsubscribe; more than once does no harm."""
        self._monitor = None
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    @property
    def lost(self) -> int:
        """Images that were published and did not arrive, since the start."""
        return self._monitor.lost if self._monitor else 0

    def findings(self, parameters: Parameters) -> dict[str, Finding]:
        """Return what is wrong with the arrival of images, by kind."""
        if self._monitor is None:
            return {}
        return self._monitor.findings(parameters)

    def _arrived(self, msg: ImageMsg, info: dict[str, Any]) -> None:
        if self._monitor is None:
            return
        stamp = stamp_to_ns(msg.header.stamp)
        frame_id = msg.header.frame_id
        self._monitor.arrived(stamp, info, len(msg.data), frame_id)
        self._receive(ReceivedImage(stamp, msg, message_size(msg)))
        # an image with a longer one is refused when it is decoded
        if frame_id != self.frame_id and len(frame_id) <= MAX_FRAME_ID:
            self.frame_id = frame_id
            self._frame_changed(msg.header)
