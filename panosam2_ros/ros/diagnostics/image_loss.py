"""Count images that were published and did not arrive, and describe why a topic is silent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.qos_overriding_options import QoSOverridingOptions

QOS_BY_PARAMETER = QoSOverridingOptions.with_default_policies()  # history, depth and reliability
_UNNAMED = "_NODE_NAME_UNKNOWN_"  # rmw, until a publisher's node has been discovered too
_LONGEST_GAP = 300  # images; a longer one is a pause or another publisher, not loss
_MOST_OF_PERIOD = 0.5  # of the time between images may be spent on taking one, ...
_STILL_SLOW = 0.25  # ... and from there on this much, so that what is said does not change with every image
_SWITCHES = 3  # from one publisher to another among the last images: they publish at the same time
_PAUSE = 2.0  # s between stamps; the same where there are no sequence numbers


@dataclass(frozen=True)
class Arrival:
    """One image that arrived."""

    stamp: int  # ns, of its header
    publisher: bytes = b""  # gid
    sequence: int | None = None  # the publisher's own count; None: the middleware has none
    sent: int = 0  # ns, by the publisher's clock; 0: unknown
    waited: float | None = (
        None  # s from its reception by the middleware until it was handed over; None: unknown
    )

    @classmethod
    def of(cls, stamp: int, info: dict[str, Any]) -> Arrival:
        """Make one of rclpy's information on a message."""
        publisher = info.get("publisher_gid") or {}
        received, sent = info.get("received_timestamp") or 0, info.get("source_timestamp") or 0
        waited = (time.time_ns() - received) * 1e-9 if received > 0 else -1.0
        return cls(
            stamp,
            publisher.get("data", b""),
            info.get("publication_sequence_number"),
            sent,
            waited if 0 <= waited < _PAUSE else None,
        )


class ReceptionMonitor:
    """How long images take from the middleware into the node, and how often they are published."""

    def __init__(self, window: int = 30) -> None:
        self._last: Arrival | None = None
        self._waited: deque[float] = deque(maxlen=window)  # s
        self._periods: deque[float] = deque(
            maxlen=window
        )  # s between images that were published, lost ones too
        self._publishers: deque[bytes] = deque(maxlen=window)
        self.too_slow = False  # images are taken so slowly that newer ones replace those that wait

    def add(self, arrival: Arrival, lost: int) -> None:
        """Note an arrival, with how many images were lost just before it."""
        last, self._last = self._last, arrival
        self._publishers.append(arrival.publisher)
        if arrival.waited is not None:
            self._waited.append(arrival.waited)
        if last is not None and last.sent and last.publisher == arrival.publisher:
            period = (arrival.sent - last.sent) * 1e-9 / (lost + 1)
            if 0 < period < _PAUSE:
                self._periods.append(period)
        share = _STILL_SLOW if self.too_slow else _MOST_OF_PERIOD
        self.too_slow = bool(self._periods) and self.waited > share * self.period

    @property
    def waited(self) -> float:
        """Median time from reception until an image is handed over, s; 0 where it is unknown."""
        return median(self._waited) if self._waited else 0.0

    @property
    def period(self) -> float:
        """Median time between images that are published, s; 0 where it is unknown."""
        return median(self._periods) if self._periods else 0.0

    @property
    def publishers(self) -> int:
        """How many publishers sent the last images, in turns; a publisher that replaced another is one."""
        changes = sum(a != b for a, b in pairwise(self._publishers))
        return len(set(self._publishers)) if changes > _SWITCHES else 1


class LossCounter:
    """Counts images that were published and did not arrive.

    The publisher's sequence numbers count them exactly. Without them, gaps between stamps do,
    measured in the shortest usual period, since under heavy loss the median is a multiple of it.
    """

    def __init__(self, window: int = 100) -> None:
        self.lost = 0
        self._last: Arrival | None = None
        self._periods: deque[int] = deque(maxlen=window)  # ns
        self._recent: deque[int] = deque(maxlen=window)  # lost before each arrival

    def add(self, arrival: Arrival) -> int:
        """Count an arrival; return how many images were lost just before it."""
        last, self._last = self._last, arrival
        if last is None:
            return 0
        if arrival.sequence is None or last.sequence is None:
            lost = self._by_stamp(arrival.stamp - last.stamp)
        else:
            lost = arrival.sequence - last.sequence - 1
            if arrival.publisher != last.publisher or not 0 <= lost < _LONGEST_GAP:
                lost = 0
        self.lost += lost
        self._recent.append(lost)
        return lost

    def share(self) -> float:
        """Return the share of published images that were lost, 0..1, over the last images."""
        lost = sum(self._recent)
        return lost / (lost + len(self._recent)) if lost else 0.0

    def _by_stamp(self, period: int) -> int:
        if not 0 < period < _PAUSE * 1e9:
            return 0
        self._periods.append(period)
        usual = float(np.quantile(self._periods, 0.2))
        return max(0, round(period / usual) - 1) if len(self._periods) >= 10 else 0


def rate(stamps: Sequence[float]) -> float:
    """Return the rate, Hz, of events at these times (s, ascending); 0 for fewer than two."""
    span = sum(b - a for a, b in pairwise(stamps))
    return (len(stamps) - 1) / span if span > 0 else 0.0


def describe_publishers(publishers: Sequence[Any], wanted: QoSProfile, wanted_type: str) -> str:
    """Describe why nothing arrives from these publishers, as far as that is known.

    ``publishers`` are ``TopicEndpointInfo``.
    """
    if not publishers:
        return "nobody publishes it: is the camera running, in the same ROS domain and namespace?"
    return "; ".join(_describe_publisher(p, wanted, wanted_type) for p in publishers)


def is_compatible(publisher: Any, wanted: QoSProfile, wanted_type: str) -> bool:
    """Return whether a subscription of this QoS and type can receive from a publisher."""
    verdict, _ = qos_check_compatible(publisher.qos_profile, wanted)
    return bool(publisher.topic_type == wanted_type and verdict != QoSCompatibility.ERROR)


def _describe_publisher(publisher: Any, wanted: QoSProfile, wanted_type: str) -> str:
    qos = publisher.qos_profile
    name = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
    if publisher.node_name == _UNNAMED:
        name = "a node whose name is not known yet"
    text = f"{name} publishes it {qos.reliability.name.lower()}, {qos.durability.name.lower()}"
    if publisher.topic_type != wanted_type:
        return f"{text}, as {publisher.topic_type} where {wanted_type} is expected: see image_transport"
    verdict, reason = qos_check_compatible(qos, wanted)
    if verdict == QoSCompatibility.ERROR:
        return f"{text}, which this subscription cannot take: {reason}"
    return f"{text}, which fits, but it sends nothing or nothing arrives"
