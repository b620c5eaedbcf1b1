"""The subscription to the camera's images: started at activation, stopped at deactivation, and monitored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from std_msgs.msg import Header

from panosam2_ros.io.video_stream import StreamDecoder, StreamPicture, StreamStatus
from panosam2_ros.ros.conversion.image_limits import MAX_FRAME_ID
from panosam2_ros.ros.conversion.stream_image import StreamImage
from panosam2_ros.ros.diagnostics.findings import WARN, Finding, above
from panosam2_ros.ros.diagnostics.image_loss import QOS_BY_PARAMETER
from panosam2_ros.ros.diagnostics.image_monitor import ImageMonitor, ImageTopic
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.image_transports import header_of, image_transport
from panosam2_ros.ros.inference.frame_buffer import ReceivedImage
from panosam2_ros.ros.inference.stream_thread import StreamThread
from panosam2_ros.ros.lifecycle_node import SteadyLifecycleNode, with_info
from panosam2_ros.ros.parameter_access import is_given
from panosam2_ros.ros.parameters import Parameters

ImageMsg: TypeAlias = Any  # sensor_msgs Image or CompressedImage, or StreamImage
_LEAST_SIZE = 4096  # bytes of a message's objects beside its pixels
_STREAM_DEPTH = 60  # packets; two seconds at 30 Hz
_POLICIES = ("history", "depth", "reliability")
_PATIENCE = 2.0  # s for the packet that is being decoded


def message_size(msg: ImageMsg) -> int:
    """Return how many bytes an image message holds; one without pixels holds some, too."""
    pixels = msg.picture.bytes if isinstance(msg, StreamImage) else len(msg.data)
    return pixels + len(msg.header.frame_id) + _LEAST_SIZE


class ImageSubscription:
    """Hands every image over as it arrives, or as it is decoded; used on the executor's thread."""

    def __init__(
        self,
        node: SteadyLifecycleNode,
        receive: Callable[[ReceivedImage[ImageMsg]], None],  # called on the executor's or the stream's thread
        frame_changed: Callable[[Header], None],  # the first image's header, and those in other frames, some
        reporter: Reporter,
    ) -> None:
        self._node, self._receive, self._frame_changed = node, receive, frame_changed
        self._reporter = reporter
        self._subscription: Subscription | None = None
        self._transport = image_transport("raw")
        self._topic = ""
        self._reliability: ReliabilityPolicy | None = None  # of a stream's subscription; None: of images
        self._declared: dict[str, QoSProfile] = {}  # by topic: QoS of its first subscription
        self._monitor: ImageMonitor | None = None
        self._thread: StreamThread | None = None
        self._max_pixels = 0.0
        self.frame_id: str | None = None  # of the newest image; None before the first

    def start(self, transport: str, max_mpixels: float) -> None:
        """Subscribe to the images of a transport; raise ImportError where its messages are missing."""
        self._transport, self._max_pixels = image_transport(transport), max_mpixels * 1e6
        self._topic = self._transport.topic(self._node.resolve_topic_name("image"))
        self._monitor = None
        self._subscribe(self._offered() if self._transport.stream else None)

    def _subscribe(self, reliability: ReliabilityPolicy | None) -> None:
        """Subscribe as to a stream of some reliability, or as to images; replace an older subscription."""
        self._unsubscribe()
        self._reliability = reliability
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        if reliability is not None:
            qos = QoSProfile(depth=_STREAM_DEPTH, reliability=reliability)
        options: dict[str, Any] = {"qos_overriding_options": QOS_BY_PARAMETER}
        if (first := self._declared.get(self._topic)) is not None:
            # the parameters have the values of the first subscription, whether they were given or not
            options = {}
            for policy in _POLICIES:
                if is_given(self._node, f"qos_overrides.{self._topic}.subscription.{policy}"):
                    setattr(qos, policy, getattr(first, policy))
        self._subscription = self._node.create_subscription(
            self._transport.kind, self._topic, with_info(self._arrived), qos, **options
        )
        self._declared.setdefault(self._topic, qos)
        topic = ImageTopic(self._topic, self._transport.type_name, qos)
        if self._monitor is None:
            self._monitor = ImageMonitor(self._node, topic)
        self._monitor.subscribed(topic)
        what = "images" if reliability is None else "images of a video stream"
        self._node.get_logger().info(f"waiting for {what} on {self._topic} ({qos.reliability.name.lower()})")

    def _offered(self) -> ReliabilityPolicy:
        """Return the reliability with which every publisher of the topic can be received."""
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        best_effort = any(p.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for p in publishers)
        return ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE

    def _adapt(self) -> None:
        """Subscribe anew to a stream whose publishers offer another reliability than before."""
        if self._subscription is None or (self._reliability is None and self._thread is None):
            return
        if self._reliability != (offered := self._offered()):
            self._subscribe(offered)

    def stop(self) -> None:
        """Unsubscribe, and end the decoder; more than once does no harm."""
        self._monitor = None
        self._unsubscribe()
        if self._thread is not None:
            self._thread.stop(_PATIENCE)
            self._thread = None

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    @property
    def lost(self) -> int:
        """Images that were published and did not arrive, since the start."""
        return self._monitor.lost if self._monitor else 0

    @property
    def stream(self) -> StreamStatus:
        """What is known of a video stream; empty where images come one by one."""
        return self._thread.status if self._thread else StreamStatus()

    @property
    def stream_dropped(self) -> int:
        """Packets of a stream that were left out since decoding was too slow."""
        return self._thread.dropped if self._thread else 0

    def findings(self, parameters: Parameters) -> dict[str, Finding]:
        """Return what is wrong with the arrival of images, by kind."""
        if self._monitor is None:
            return {}
        self._adapt()
        return self._monitor.findings(parameters) | self._stream_findings(parameters)

    def _stream_findings(self, parameters: Parameters) -> dict[str, Finding]:
        """Return what is wrong with the decoding of a stream."""
        if self._thread is None:
            return {}
        found = {}
        if text := self.stream.text:
            level = max(WARN, above(self.stream.waited, 0.0, parameters.image_timeout_error))
            found["video"] = Finding(level, f"{self._topic}: {text}")
        if problem := self._thread.problem:
            found["video_speed"] = Finding(WARN, f"{self._topic}: {problem}")
        return found

    def _arrived(self, msg: Any, info: dict[str, Any]) -> None:
        if self._monitor is None:
            return
        stamp, frame_id = self._transport.stamp_and_frame(msg)
        lost = self._monitor.arrived(stamp, info, len(msg.data), frame_id)
        packet = self._transport.packet(msg, lost=lost)
        if packet is None:
            self._receive(ReceivedImage(stamp, msg, message_size(msg)))
        else:
            self._begun_stream().offer(packet)
        # an image with a longer one is refused when it is decoded
        if frame_id != self.frame_id and len(frame_id) <= MAX_FRAME_ID:
            self.frame_id = frame_id
            self._frame_changed(header_of(stamp, frame_id))

    def _begun_stream(self) -> StreamThread:
        """Return the thread of the stream; begin it with the first packet."""
        if self._thread is None:
            decoder = StreamDecoder(max_pixels=self._max_pixels, missed=self._missed)
            self._thread = StreamThread(decoder, self._decoded, self._failed)
            if self._reliability is None:
                self._node.soon(self._adapt)  # not from a callback of what it replaces
        return self._thread

    # --- on the stream's thread

    def _decoded(self, picture: StreamPicture) -> None:
        image = StreamImage(header_of(picture.stamp, picture.tag), picture)
        self._receive(ReceivedImage(picture.stamp, image, message_size(image)))

    def _missed(self, reason: str, count: int) -> None:
        self._reporter.note(f"{count} pictures of the video stream are missing: {reason}", "video missing")

    def _failed(self, error: Exception) -> None:
        if self._node.context.ok():
            text = f"a packet of the video stream could not be decoded: {type(error).__name__}: {error}"
            self._reporter.failed(text, "video", error)
