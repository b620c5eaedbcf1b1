"""Log and diagnostics of the node `panosam2_places`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from panosam2_ros.places.object_place import PlaceSource
from panosam2_ros.places.place_estimator import PlaceResult
from panosam2_ros.ros.diagnostics.findings import WARN, Finding
from panosam2_ros.ros.diagnostics.statistics import Statistics, diagnostics_msg
from panosam2_ros.ros.diagnostics.throttle import Throttle, line

_ERROR_STAYS = 5.0  # s for which the last error shows
_MOST_REASONS = 8  # objects whose reason is reported


class PlaceStatus:
    """What the node has done, and what is wrong."""

    def __init__(self, node: Node, timeout: float) -> None:
        self._node, self._timeout = node, timeout
        self._statistics, self._throttle = Statistics(), Throttle()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._begun = time.monotonic()
        self._arrived: dict[str, float] = {}  # by input, s
        self._problems: dict[str, tuple[float, str]] = {}  # of the last images
        self._result = PlaceResult()
        self.images = 0

    def arrived(self, name: str) -> None:
        """Note that a message has come on an input."""
        self._arrived[name] = time.monotonic()

    def comes(self, name: str) -> bool:
        """Return whether messages have come on an input lately."""
        return time.monotonic() - self._arrived.get(name, -1e9) < self._timeout

    def failed(self, text: str, kind: str) -> None:
        """Report an input that could not be used; ``kind`` is a name from the code."""
        self._statistics.failed(line(text))
        if self._throttle.due(kind, text):
            self._node.get_logger().error(line(text))

    def problem(self, kind: str, text: str) -> None:
        """Note something that keeps places from being made; it shows while it lasts."""
        self._problems[kind] = time.monotonic(), text

    def placed(self, stamp: int, result: PlaceResult) -> None:
        """Note the places of the image with this stamp, ns."""
        self._result = result
        self.images += 1
        self._statistics.processed((self._node.get_clock().now().nanoseconds - stamp) * 1e-9)

    def report(self, wanted: Mapping[str, str], values: Mapping[str, int]) -> None:
        """Publish one diagnostic message; ``wanted``: inputs that should come, and what to do otherwise."""
        found = self._findings(wanted)
        for kind, finding in found.items():
            if self._throttle.due(kind, finding.text):
                self._node.get_logger().warning(line(finding.text))
        for text in self._throttle.held_back():
            self._node.get_logger().warning(text)
        sources = Counter(place.source for place in self._result.places)
        reasons = dict(list(self._result.missing.items())[:_MOST_REASONS])
        described = {
            "state": "placing" if self.images else "waiting",
            "device": "cpu",
            "images": str(self.images),
            "rate": f"{self._statistics.rate():.2f}",
            "latency_p95": f"{self._statistics.latency(0.95):.3f}",
            "placed_by_range": str(sources[PlaceSource.RANGE]),
            "placed_by_triangulation": str(sources[PlaceSource.TRIANGULATION]),
            "not_placed": str(len(self._result.missing)),
            **{f"not_placed_{obj_id}": reason for obj_id, reason in reasons.items()},
            **{name: str(value) for name, value in values.items()},
            "last_error": self._statistics.last_error,
        }
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        self._publisher.publish(diagnostics_msg(stamp, name, list(found.values()), described, task="places"))

    def _findings(self, wanted: Mapping[str, str]) -> dict[str, Finding]:
        now = time.monotonic()
        found = {}
        for name, remedy in wanted.items():
            last = self._arrived.get(name, self._begun)
            if now - last > self._timeout:
                found[name] = Finding(WARN, f"no {name} for {now - last:.0f} s: {remedy}")
        self._problems = {k: p for k, p in self._problems.items() if now - p[0] < self._timeout}
        found |= {kind: Finding(WARN, text) for kind, (_, text) in self._problems.items()}
        if self._statistics.error_age < _ERROR_STAYS:
            found["error"] = Finding(WARN, self._statistics.last_error)
        return found
