"""The bond that nav2's lifecycle manager expects of a node, where package `bond` is installed.

Ours, because bondpy is not among the PyPI wheels of ROS 2, and a manager needs no more than a heartbeat
while the node is active and a farewell when it is not: it waits for the first one, and takes the node for
dead when none comes within its bond_timeout.
"""

from __future__ import annotations

import uuid
from typing import Any

from rclpy.node import Node
from rclpy.timer import Timer

try:
    from bond.msg import Status
except ImportError:  # not among the PyPI wheels of ROS 2
    Status = None

_HEARTBEAT_TIMEOUT = 4.0  # s after which a manager takes the node for dead; as nav2's nodes have it


class Bond:
    """Heartbeats on the topic `bond`; used on the executor's thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher: Any = node.create_publisher(Status, "bond", 5) if Status else None
        self._instance = ""
        self._period = 0.0
        self._timer: Timer | None = None

    def form(self, period: float) -> None:
        """Send heartbeats every ``period`` s until ``end``; 0, or without package `bond`: none."""
        if self._publisher is None or period <= 0 or self._timer is not None:
            return
        self._instance, self._period = str(uuid.uuid4()), period
        self._timer = self._node.create_timer(period, self._beat)
        self._beat()

    def end(self) -> None:
        """Send that the bond is over; more than once does no harm."""
        if self._timer is None:
            return
        self._node.destroy_timer(self._timer)
        self._timer = None
        if self._node.context.ok():
            self._send(active=False)

    def _beat(self) -> None:
        self._send(active=True)

    def _send(self, *, active: bool) -> None:
        msg: Any = Status()
        msg.header.stamp = self._node.get_clock().now().to_msg()
        msg.id, msg.instance_id = self._node.get_name(), self._instance
        msg.active, msg.heartbeat_period = active, self._period
        msg.heartbeat_timeout = _HEARTBEAT_TIMEOUT
        self._publisher.publish(msg)
