"""Report the node's state on /diagnostics, and errors in the log, each reason at most once in ten seconds."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from panosam2_ros.io.out_of_memory import (
    LackOfMemoryError,
    device_remedy,
    host_remedy,
    is_device_memory,
    is_out_of_memory,
)
from panosam2_ros.ros.diagnostics.findings import Finding
from panosam2_ros.ros.diagnostics.statistics import Statistics, diagnostics_msg
from panosam2_ros.ros.diagnostics.status import NodeStatus, findings
from panosam2_ros.ros.diagnostics.throttle import Throttle, line
from panosam2_ros.ros.parameters import Parameters


class Reporter:
    """Log and diagnostics of a node; may be called from any thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._statistics, self._throttle = Statistics(), Throttle()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def processed(self, stamp: int) -> None:
        """Note that the results of the image with this stamp, ns, were published."""
        now = self._node.get_clock().now().nanoseconds
        self._statistics.processed((now - stamp) * 1e-9)

    def failed(self, text: str, kind: str, error: BaseException | None = None) -> None:
        """Report an error; ``kind`` is a name from the code. The log has each reason once in ten seconds."""
        if error is not None and is_out_of_memory(error) and not isinstance(error, LackOfMemoryError):
            text += f"; {device_remedy() if is_device_memory(error) else host_remedy()}"
        self._statistics.failed(line(text))
        if self._throttle.due(kind, text):
            trace = "".join(traceback.format_exception(error)).rstrip() if error else ""
            self._node.get_logger().error(f"{line(text)}\n{trace}".rstrip())

    def note(self, text: str, kind: str) -> None:
        """Log something that is worth knowing and no error, as seldom as errors."""
        if self._throttle.due(kind, text):
            self._node.get_logger().info(line(text))

    def report(self, status: NodeStatus, arrival: Mapping[str, Finding], limits: Parameters) -> None:
        """Publish one diagnostic message, and log what is wrong with the ``arrival`` of images."""
        for kind, finding in arrival.items():
            if self._throttle.due(kind, finding.text):
                self._node.get_logger().warning(line(finding.text))
        for text in self._throttle.held_back():
            self._node.get_logger().warning(text)
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        found = {**findings(status, self._statistics, limits), **arrival}
        values = status.values(self._statistics)
        self._publisher.publish(diagnostics_msg(stamp, name, found.values(), values))
