"""A station that also subscribes to visualizations and clicks at points, as somebody with RViz does."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from geometry_msgs.msg import PointStamped
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from helpers.station import FRAME, Station
from panosam2_ros.ros.conversion.messages import stamp_to_ns

TYPES = {
    "overlay": Image,
    "overlay/compressed": CompressedImage,
    "markers": MarkerArray,
    "mask_cloud": PointCloud2,
}


class Onlooker(Station):
    """A station that subscribes to visualizations from ``look`` to ``look_away``."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[Any]] = {name: [] for name in TYPES}
        self._looking: list[Any] = []
        self.clicks = self.create_publisher(PointStamped, "panosam2/clicked_point", 5)

    def look(self, *names: str) -> None:
        for name in names:
            self.seen[name].clear()
            sub = self.create_subscription(TYPES[name], f"panosam2/{name}", self.seen[name].append, 10)
            self._looking.append(sub)
            self.spin_until(lambda name=name: self.count_publishers(f"panosam2/{name}"), 30)
        self.spin_for(0.5)  # the node must learn of it, too

    def look_away(self) -> None:
        for subscription in self._looking:
            self.destroy_subscription(subscription)
        self._looking.clear()
        self.spin_for(0.5)

    def shown(self, name: str) -> Any:
        """Return the visualization of a new image."""
        for _ in range(10):
            stamp = self.show()
            end = time.monotonic() + 3
            while time.monotonic() < end:
                rclpy.spin_once(self, timeout_sec=0.05)
                for msg in self.seen[name]:
                    if stamp in _stamps(msg):
                        return msg
        raise AssertionError(f"no {name} of any of ten images")

    def click(self, xyz: Any, frame: str = FRAME) -> None:
        msg = PointStamped()
        msg.header.frame_id = frame
        msg.point.x, msg.point.y, msg.point.z = (float(c) for c in xyz)
        self.spin_until(lambda: self.clicks.get_subscription_count(), 30)
        self.clicks.publish(msg)


def _stamps(msg: Any) -> set[int]:
    """Return the stamps of markers or of any other message, ns; empty where there is none."""
    headers = [m.header for m in msg.markers] if isinstance(msg, MarkerArray) else [msg.header]
    return {stamp_to_ns(header.stamp) for header in headers}
