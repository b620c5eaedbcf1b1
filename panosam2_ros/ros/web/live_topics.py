"""The node's panorama, masks and bearings of the same image, subscribed to only while somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.ros.panorama_snapshot import ArrivedMessages

_TOPICS: dict[str, Any] = {"masks": Image, "bearings": ObjectBearingArray, "panorama": Image}
_WAITED_FOR = 3  # panoramas for whose masks or bearings is waited, before one is shown without them

Taken = Callable[[Image, Image | None, ObjectBearingArray | None], None]


class LiveTopics:
    """Hands over each panorama with the masks and bearings of its stamp, of the newest if several have come.

    The node makes panoramas and masks only for subscribers. ``taken`` is called on the thread that spins.
    """

    def __init__(self, node: Node, tracker: str, taken: Taken) -> None:
        self._node, self._tracker, self._taken = node, tracker, taken
        self._lock = threading.Lock()  # of the subscriptions: they are made and ended on another thread
        self._subscriptions: list[Any] = []
        self._arrived = ArrivedMessages()

    def start(self) -> None:
        """Subscribe; more than once does no harm."""
        with self._lock:
            if self._subscriptions:
                return
            self._arrived = arrived = ArrivedMessages()
            for name, kind in _TOPICS.items():
                take = self._taker(arrived, name)
                topic = f"{self._tracker}/{name}"
                self._subscriptions.append(self._node.create_subscription(kind, topic, take, 1))

    def stop(self) -> None:
        """Unsubscribe, and forget what has come."""
        with self._lock:
            ended, self._subscriptions = self._subscriptions, []
            self._arrived = ArrivedMessages()
        for subscription in ended:
            self._node.destroy_subscription(subscription)

    def _taker(self, arrived: ArrivedMessages, name: str) -> Callable[[Any], None]:
        keep = arrived.keep(name)

        def take(message: Any) -> None:
            keep(message)
            self._hand_over(arrived)

        return take

    def _hand_over(self, arrived: ArrivedMessages) -> None:
        """Hand over the newest panorama whose masks and bearings have come or were waited for."""
        stamp = arrived.stamp()
        panoramas = arrived.messages["panorama"]
        if stamp is None and len(panoramas) > _WAITED_FOR:
            stamp = max(panoramas)
        if stamp is None or arrived is not self._arrived:
            return
        found = [arrived.messages[name].get(stamp) for name in ("panorama", "masks", "bearings")]
        for kept in arrived.messages.values():
            for old in [each for each in kept if each <= stamp]:
                del kept[old]
        self._taken(*found)
