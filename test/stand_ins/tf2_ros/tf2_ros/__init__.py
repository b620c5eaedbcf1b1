"""What tf2_ros does, over real messages on /tf and /tf_static: PyPI has no wheel of it.

The names, arguments and errors that nodes of ours use are those of tf2_ros; transforms are interpolated in
time and chained through the tree as tf2 does.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from scipy.spatial.transform import Rotation, Slerp
from tf2_msgs.msg import TFMessage

STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class TransformException(Exception):
    pass


class LookupException(TransformException):
    pass


class ConnectivityException(TransformException):
    pass


class ExtrapolationException(TransformException):
    pass


class InvalidArgumentException(TransformException):
    pass


def _nanoseconds(stamp) -> int:
    return stamp.nanoseconds if isinstance(stamp, Time) else stamp.sec * 10**9 + stamp.nanosec


def _pose(transform) -> tuple[np.ndarray, Rotation]:
    t, q = transform.translation, transform.rotation
    return np.array([t.x, t.y, t.z]), Rotation.from_quat([q.x, q.y, q.z, q.w])


class Buffer:
    """Transforms of the last ``cache_time``, 10 s as in tf2, by child frame."""

    def __init__(self, cache_time=None, node=None):
        self._kept = (cache_time or Duration(seconds=10)).nanoseconds
        self._parents: dict[str, str] = {}
        self._static: dict[str, tuple] = {}
        self._moving: dict[str, list] = {}
        self._lock = threading.Lock()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        self._set(transform, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        self._set(transform, static=True)

    def _set(self, msg: TransformStamped, static: bool) -> None:
        with self._lock:
            self._parents[msg.child_frame_id] = msg.header.frame_id
            if static:
                self._static[msg.child_frame_id] = _pose(msg.transform)
                return
            known = self._moving.setdefault(msg.child_frame_id, [])
            known.append((_nanoseconds(msg.header.stamp), *_pose(msg.transform)))
            known.sort(key=lambda entry: entry[0])
            known[:] = [entry for entry in known if entry[0] >= known[-1][0] - self._kept]

    def lookup_transform(self, target_frame, source_frame, time, timeout=None) -> TransformStamped:
        for frame in (target_frame, source_frame):
            if not frame or frame.startswith("/"):
                raise InvalidArgumentException(f'Invalid argument "{frame}": empty, or with a slash')
        with self._lock:
            chains = [self._chain(frame) for frame in (target_frame, source_frame)]
            shared = [frame for frame in chains[0] if frame in chains[1]]
            if not shared:
                raise ConnectivityException(
                    f"Could not find a connection between '{target_frame}' and '{source_frame}'"
                )
            paths = [chain[: chain.index(shared[0])] for chain in chains]
            at = _nanoseconds(time) or self._latest([*paths[0], *paths[1]])
            (t0, r0), (t1, r1) = (self._composed(path, at) for path in paths)
        back = r0.inv()
        return self._message((target_frame, source_frame, at), back.apply(t1 - t0), back * r1)

    def can_transform(self, target_frame, source_frame, time, timeout=None, return_debug_tuple=False):
        try:
            self.lookup_transform(target_frame, source_frame, time)
        except TransformException as error:
            return (False, str(error)) if return_debug_tuple else False
        return (True, "") if return_debug_tuple else True

    def _chain(self, frame: str) -> list[str]:
        if frame not in self._parents and frame not in self._parents.values():
            raise LookupException(f'"{frame}" passed to lookupTransform argument does not exist.')
        chain = [frame]
        while chain[-1] in self._parents and len(chain) < 100:
            chain.append(self._parents[chain[-1]])
        return chain

    def _latest(self, path: list[str]) -> int:
        return min((self._moving[frame][-1][0] for frame in path if frame in self._moving), default=0)

    def _composed(self, path: list[str], at: int) -> tuple[np.ndarray, Rotation]:
        position, rotation = np.zeros(3), Rotation.identity()
        for frame in path:
            t, r = self._at(frame, at)
            position, rotation = t + r.apply(position), r * rotation
        return position, rotation

    def _at(self, frame: str, at: int) -> tuple[np.ndarray, Rotation]:
        if frame in self._static:
            return self._static[frame]
        known = self._moving[frame]
        stamps = [entry[0] for entry in known]
        if not stamps[0] <= at <= stamps[-1]:
            direction = "future" if at > stamps[-1] else "past"
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {direction}. Requested time {at / 1e9:f} but "
                f"the {'latest' if at > stamps[-1] else 'earliest'} data is at time "
                f"{(stamps[-1] if at > stamps[-1] else stamps[0]) / 1e9:f}"
            )
        after = bisect_left(stamps, at)
        if stamps[after] == at:
            return known[after][1:]
        (t0, p0, r0), (t1, p1, r1) = known[after - 1 : after + 1]
        share = (at - t0) / (t1 - t0)
        return p0 + share * (p1 - p0), Slerp([0, 1], Rotation.concatenate([r0, r1]))(share)

    @staticmethod
    def _message(names: tuple[str, str, int], position: np.ndarray, rotation: Rotation) -> TransformStamped:
        msg = TransformStamped(child_frame_id=names[1])
        msg.header.frame_id, msg.header.stamp = names[0], Time(nanoseconds=names[2]).to_msg()
        t, q = msg.transform.translation, msg.transform.rotation
        t.x, t.y, t.z = map(float, position)
        q.x, q.y, q.z, q.w = map(float, rotation.as_quat())
        return msg


class TransformListener:
    """Fills a buffer from the topics; the node's own executor spins it."""

    def __init__(self, buffer, node, *, spin_thread=False, qos=None, static_qos=None, tf_topic="/tf",
                 tf_static_topic="/tf_static"):  # fmt: skip
        if spin_thread:
            raise NotImplementedError("nodes of ours spin themselves")
        self.subscriptions = [
            node.create_subscription(
                TFMessage, tf_topic, lambda m: [buffer.set_transform(t, "") for t in m.transforms], qos or 100
            ),
            node.create_subscription(
                TFMessage,
                tf_static_topic,
                lambda m: [buffer.set_transform_static(t, "") for t in m.transforms],
                static_qos or STATIC_QOS,
            ),
        ]

    def unregister(self) -> None:
        for subscription in self.subscriptions:
            subscription.destroy()


class TransformBroadcaster:
    def __init__(self, node, qos=100):
        self._publisher = node.create_publisher(TFMessage, "/tf", qos)

    def sendTransform(self, transform):
        transforms = transform if isinstance(transform, list) else [transform]
        self._publisher.publish(TFMessage(transforms=transforms))


class StaticTransformBroadcaster:
    def __init__(self, node, qos=STATIC_QOS):
        self._publisher = node.create_publisher(TFMessage, "/tf_static", qos)
        self._sent: dict[str, TransformStamped] = {}

    def sendTransform(self, transform):
        transforms = transform if isinstance(transform, list) else [transform]
        self._sent.update({t.child_frame_id: t for t in transforms})
        self._publisher.publish(TFMessage(transforms=list(self._sent.values())))
