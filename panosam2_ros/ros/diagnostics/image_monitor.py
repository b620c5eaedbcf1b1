"""Monitor whether images arrive, and find what is wrong when they do not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import get_rmw_implementation_identifier

from panosam2_ros.ros.dds import loss_remedy
from panosam2_ros.ros.diagnostics.findings import OK, WARN, Finding, above
from panosam2_ros.ros.diagnostics.image_loss import (
    Arrival,
    LossCounter,
    describe_publishers,
    is_compatible,
)
from panosam2_ros.ros.parameters import Parameters

_STUCK = 5  # images in a row with one stamp: the driver does not set it


@dataclass(frozen=True)
class ImageTopic:
    """The topic that is subscribed to."""

    name: str  # fully resolved
    type_name: str  # sensor_msgs/msg/...
    qos: QoSProfile


class ImageMonitor:
    """The arrivals of one subscription; used on the executor's thread only."""

    def __init__(self, node: Node, topic: ImageTopic) -> None:
        self._node, self._topic = node, topic
        self._losses = LossCounter()
        self._last = time.monotonic()  # s, of the last arrival or of the start
        self._stamp, self._stuck = -1, 0  # of the last image; images since it advanced

    @property
    def lost(self) -> int:
        """Images that were published and did not arrive."""
        return self._losses.lost

    def arrived(self, stamp: int, info: dict[str, Any]) -> None:
        """Note that an image of this stamp (ns) arrived; ``info`` is rclpy's on the message."""
        self._last = time.monotonic()
        self._losses.add(Arrival.of(stamp, info))
        self._stuck = self._stuck + 1 if stamp == self._stamp else 0
        self._stamp = stamp

    def findings(self, parameters: Parameters) -> dict[str, Finding]:
        """Return what is wrong now, by kind; empty if nothing is."""
        silence = time.monotonic() - self._last
        level = above(silence, parameters.image_timeout, parameters.image_timeout_error)
        if level != OK:
            return {"silence": Finding(level, self._silence(silence))}
        if self._stuck >= _STUCK:
            text = (
                f"all images on {self._topic.name} have the stamp {self._stamp} ns: "
                "velocities, states and prompts need the driver to set header.stamp"
            )
            return {"stamps": Finding(WARN, text)}
        share = self._losses.share()
        level = above(share, parameters.loss_warning, parameters.loss_error)
        if level != OK:
            remedy = loss_remedy(get_rmw_implementation_identifier())
            text = f"{share:.0%} of the images on {self._topic.name} are lost on the way; {remedy}"
            return {"loss": Finding(level, text)}
        return {}

    def _silence(self, seconds: float) -> str:
        topic = self._topic
        publishers = self._node.get_publishers_info_by_topic(topic.name)
        reason = describe_publishers(publishers, topic.qos, topic.type_name)
        if any(is_compatible(p, topic.qos, topic.type_name) for p in publishers):
            reason += f"; {loss_remedy(get_rmw_implementation_identifier())}"
        return f"no image on {topic.name} for {seconds:.0f} s: {reason}"
