"""Publish visualizations: only while somebody subscribes, on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.inference.latest_only_thread import LatestCounts, LatestOnlyThread
from panosam2_ros.ros.publishing import vision_msgs, visualization_messages
from panosam2_ros.ros.publishing.visualization_messages import VisualizationInput

_PATIENCE = 2.0  # s, for the picture that is being drawn when views stop
_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
_TYPES = {
    "overlay": Image,
    "overlay/compressed": CompressedImage,
    "markers": MarkerArray,
    "mask_cloud": PointCloud2,
}
_WITHOUT_MASKS = ("markers",)
Draw = Callable[[VisualizationInput, Sequence[str]], Sequence[Any]]  # one message per topic that is wanted


class VisualizationPublishers:
    """Publishers of visualizations; ``start`` and ``stop`` on the executor's thread, ``offer`` on any."""

    def __init__(self, node: LifecycleNode, reporter: Reporter) -> None:
        self._node, self._reporter = node, reporter
        self._publishers: dict[str, Publisher[Any]] = {}
        self._views: dict[tuple[str, ...], Draw] = {
            ("overlay", "overlay/compressed"): _overlay,
            _WITHOUT_MASKS: self._markers,
            ("mask_cloud",): lambda scene, _: [visualization_messages.cloud_msg(scene)],
        }
        for name, kind in _TYPES.items():
            self._publishers[name] = node.create_lifecycle_publisher(kind, f"~/{name}", _QOS)
        self._labels: vision_msgs.LabelPublisher | None = None
        if vision_msgs.AVAILABLE:
            self._publishers["detections"] = vision_msgs.detections_publisher(node)
            self._views[("detections",)] = lambda scene, _: [vision_msgs.detections_msg(scene)]
            self._labels = vision_msgs.LabelPublisher(node)
        # Ids with markers; None: a viewer may still show those of a node that ended. Only the drawing thread
        # uses it while it runs.
        self._shown: set[int] | None = None
        self._thread: LatestOnlyThread[VisualizationInput] | None = None
        self._header = Header()

    @property
    def counts(self) -> LatestCounts:
        """Counts since the last start."""
        thread = self._thread
        return thread.counts if thread else LatestCounts()

    def start(self) -> None:
        """Take scenes from now on."""
        self.stop()
        self._thread = LatestOnlyThread(self._draw, "views")

    def stop(self) -> None:
        """Publish nothing any more, and delete the markers in RViz; more than once does no harm."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if not thread.stop(_PATIENCE):
            self._node.get_logger().error(
                f"drawing did not end within {_PATIENCE:.0f} s: its thread is left behind"
            )
        self._shown = None
        if self._node.context.ok():
            self._publishers["markers"].publish(visualization_messages.no_markers_msg(self._header))
        if self._labels is not None:
            self._labels.forget()

    def offer(self, scene: VisualizationInput) -> None:
        """Take an image and its results if anybody subscribes; never wait."""
        thread = self._thread
        if thread is None:
            return
        if self._labels is not None:
            self._labels.update(scene)
        if any(self._wanted(names) for names in self._views):
            thread.offer(scene)
        else:
            self._shown = None

    def want_labels(self) -> bool:
        """Return whether anybody subscribes to a view that shows masks."""
        shown = (names for names in self._views if names != _WITHOUT_MASKS)
        return self._thread is not None and any(self._wanted(names) for names in shown)

    def _wanted(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self._publishers[name].get_subscription_count()]

    def _drawable(self, names: tuple[str, ...], scene: VisualizationInput) -> list[str]:
        """Return which of these topics are wanted and can be drawn of a scene."""
        drawable = names == _WITHOUT_MASKS or scene.tracked.label_image is not None
        return self._wanted(names) if drawable else []

    def _draw(self, scene: VisualizationInput) -> None:
        """Draw and publish on the thread for it; an exception of one view affects no other."""
        for names, draw in self._views.items():
            try:
                wanted = self._drawable(names, scene)
                messages = draw(scene, wanted) if wanted else []
                for name, message in zip(wanted, messages, strict=True):
                    self._publishers[name].publish(message)
            except Exception as error:
                self._failed(names[0], error)

    def _failed(self, name: str, error: Exception) -> None:
        if self._node.context.ok():  # publishing fails while the process ends
            text = f"view {name} failed: {type(error).__name__}: {error}"
            self._reporter.failed(text, f"view {name}", error)

    def _markers(self, scene: VisualizationInput, _: Sequence[str]) -> list[MarkerArray]:
        self._header = scene.header
        known = {track.obj_id for track in scene.tracked.tracks}
        before, self._shown = self._shown, known
        message = visualization_messages.markers_msg(scene, (before or set()) - known)
        if before is None:
            message.markers = [*visualization_messages.no_markers_msg(scene.header).markers, *message.markers]
        return [message]


def _overlay(scene: VisualizationInput, wanted: Sequence[str]) -> list[Any]:
    picture = visualization_messages.overlay_picture(scene)
    encode = {
        "overlay": visualization_messages.rgb_msg,
        "overlay/compressed": visualization_messages.jpeg_msg,
    }
    return [partial(encode[name], scene.header)(picture) for name in wanted]
