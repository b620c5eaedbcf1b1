"""Monitor whether images arrive, and find what is wrong when they do not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import get_rmw_implementation_identifier

from panosam2_ros.ros.conversion.transforms import frame_id_problem
from panosam2_ros.ros.dds import loss_remedy, other_users_problem
from panosam2_ros.ros.diagnostics.findings import OK, WARN, Finding, above
from panosam2_ros.ros.diagnostics.image_loss import (
    Arrival,
    LossCounter,
    ReceptionMonitor,
    describe_publishers,
    is_compatible,
)
from panosam2_ros.ros.inference.frame_buffer import MIB
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
        self._losses, self._reception = LossCounter(), ReceptionMonitor()
        self._last = time.monotonic()  # s, of the last arrival or of the start
        self._arrivals = 0
        self._size, self._frame_id = 0, ""  # of the last image; bytes
        self._stamp, self._stuck = -1, 0  # of the last image; images since it advanced

    @property
    def lost(self) -> int:
        """Images that were published and did not arrive."""
        return self._losses.lost

    def subscribed(self, topic: ImageTopic) -> None:
        """Note that the topic is subscribed to with another QoS."""
        self._topic = topic

    def arrived(self, stamp: int, info: dict[str, Any], size: int, frame_id: str) -> int:
        """Note that an image of this stamp (ns) and size (bytes) arrived; ``info`` is rclpy's on it.

        Returns how many images are known to be lost just before it, by the publisher's own count.
        """
        self._last, self._size, self._frame_id = time.monotonic(), size, frame_id
        self._arrivals += 1
        arrival = Arrival.of(stamp, info)
        lost = self._losses.add(arrival)
        self._reception.add(arrival, lost)
        self._stuck = self._stuck + 1 if stamp == self._stamp else 0
        self._stamp = stamp
        return lost if arrival.sequence is not None else 0

    def findings(self, parameters: Parameters) -> dict[str, Finding]:
        """Return what is wrong now, by kind; empty if nothing is."""
        silence = time.monotonic() - self._last
        level = above(silence, parameters.image_timeout, parameters.image_timeout_error)
        if level != OK:
            return {"silence": Finding(level, self._silence(silence))}
        return {**self._sources(), **self._lost_images(parameters)} if self._arrivals else {}

    def _sources(self) -> dict[str, Finding]:
        """Return what is wrong with what the images' publishers fill in."""
        name, found = self._topic.name, {}
        if self._reception.publishers > 1:
            found["publishers"] = (
                f"{self._reception.publishers} publishers send images on {name} in turns, and objects are "
                "tracked through both: give each camera its topic, and each topic its node "
                "(cameras.launch.py)"
            )
        if problem := frame_id_problem(self._frame_id):
            found["frame_id"] = f"images on {name}: {problem}"
        if self._stuck >= _STUCK:
            found["stamps"] = (
                f"all images on {name} have the stamp {self._stamp} ns: "
                "velocities, states and prompts need the driver to set header.stamp"
            )
        return {kind: Finding(WARN, text) for kind, text in found.items()}

    def _lost_images(self, parameters: Parameters) -> dict[str, Finding]:
        share = self._losses.share()
        level = above(share, parameters.loss_warning, parameters.loss_error)
        if level == OK:
            return {}
        text = f"{share:.0%} of the images on {self._topic.name} are lost on the way; {self._remedy()}"
        return {"loss": Finding(level, text)}

    def _remedy(self) -> str:
        """Return why images are lost, and what to do."""
        reception = self._reception
        if not reception.too_slow:
            return loss_remedy(get_rmw_implementation_identifier())
        return (
            f"this node needs {1e3 * reception.waited:.0f} ms to take one of {self._size / MIB:.1f} MiB, and "
            f"they come every {1e3 * reception.period:.0f} ms, so that newer ones replace those that wait: "
            "publish smaller images, fewer, or jpeg (image_transport: compressed)"
        )

    def _silence(self, seconds: float) -> str:
        topic = self._topic
        publishers = self._node.get_publishers_info_by_topic(topic.name)
        reason = describe_publishers(publishers, topic.qos, topic.type_name)
        if any(is_compatible(p, topic.qos, topic.type_name) for p in publishers):
            middleware = get_rmw_implementation_identifier()
            reason += f"; {other_users_problem(middleware) or loss_remedy(middleware)}"
        return f"no image on {topic.name} for {seconds:.0f} s: {reason}"
