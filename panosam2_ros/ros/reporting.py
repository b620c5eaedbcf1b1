"""What the node says of itself: in the log, not too often, and on /diagnostics."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from panosam2_ros.ros.diagnostics import Health, Statistics, Throttle, diagnostics_msg


class Reporter:
    """Log and diagnostics of a node; may be called from any thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._statistics, self._throttle = Statistics(), Throttle()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def processed(self, stamp: int) -> None:
        """The results of the image with this stamp, ns, were published."""
        now = self._node.get_clock().now().nanoseconds
        self._statistics.processed((now - stamp) * 1e-9)

    def failed(self, text: str, kind: str, error: Exception | None = None) -> None:
        """Something went wrong; ``kind`` says what counts as the same for the log."""
        self._statistics.failed(text)
        if self._throttle.due(kind):
            trace = "".join(traceback.format_exception(error)).rstrip() if error else ""
            self._node.get_logger().error(f"{text}\n{trace}".rstrip())

    def warned(self, warnings: Mapping[str, str]) -> None:
        """Into the log what is not as it should be, by kind."""
        for kind, text in warnings.items():
            if self._throttle.due(kind):
                self._node.get_logger().warning(text)

    def publish(self, health: Health) -> None:
        """One diagnostic message."""
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        self._publisher.publish(diagnostics_msg(stamp, name, health, self._statistics))
