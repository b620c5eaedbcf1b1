"""What message_filters does for nodes of ours: PyPI has no wheel of it."""

from __future__ import annotations

import itertools
import threading


class _Filter:
    def __init__(self):
        self._callbacks: list[tuple] = []

    def registerCallback(self, callback, *arguments):
        self._callbacks.append((callback, arguments))
        return len(self._callbacks) - 1

    def signalMessage(self, *messages):
        for callback, arguments in self._callbacks:
            callback(*messages, *arguments)


class Subscriber(_Filter):
    """A subscription whose messages go to the callbacks that were registered."""

    def __init__(self, node, message_type, topic, qos_profile=10, **kwargs):
        super().__init__()
        self.topic = topic
        self.sub = node.create_subscription(message_type, topic, self.signalMessage, qos_profile, **kwargs)


class TimeSynchronizer(_Filter):
    """Calls back with one message of each filter, all of one stamp; keeps ``queue_size`` stamps of each."""

    def __init__(self, fs, queue_size):
        super().__init__()
        self.queue_size, self.lock = queue_size, threading.Lock()
        self.queues: list[dict[int, object]] = [{} for _ in fs]
        for place, source in enumerate(fs):
            source.registerCallback(self.add, place)

    @staticmethod
    def _stamp(msg) -> int:
        return msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec

    def add(self, msg, place):
        with self.lock:
            queue = self.queues[place]
            queue[self._stamp(msg)] = msg
            while len(queue) > self.queue_size:
                del queue[min(queue)]
            matched = self._match(self._stamp(msg), place)
        if matched:
            self.signalMessage(*matched)

    def _match(self, stamp: int, place: int):
        if not all(stamp in queue for queue in self.queues):
            return None
        matched = [queue[stamp] for queue in self.queues]
        for queue in self.queues:
            for old in [s for s in queue if s <= stamp]:
                del queue[old]
        return matched


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """The same for stamps that are at most ``slop`` s apart: the nearest ones to the new message."""

    def __init__(self, fs, queue_size, slop, allow_headerless=False):
        super().__init__(fs, queue_size)
        self.slop = int(slop * 1e9)

    def _match(self, stamp: int, place: int):
        others = [[s for s in queue if abs(s - stamp) <= self.slop] for queue in self.queues]
        others[place] = [stamp]
        if not all(others):
            return None
        best = min(itertools.product(*others), key=lambda stamps: max(stamps) - min(stamps))
        if max(best) - min(best) > self.slop:
            return None
        return [queue.pop(s) for queue, s in zip(self.queues, best, strict=True)]
