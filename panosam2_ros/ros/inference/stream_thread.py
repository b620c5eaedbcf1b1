"""Decode a video stream on a thread of its own, as fast as its packets come. Nothing here knows ROS."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from panosam2_ros.io.video_packets import is_key_frame
from panosam2_ros.io.video_stream import StreamDecoder, StreamPicture, StreamStatus, VideoPacket

_MOST_PACKETS = 256
_MOST_BYTES = 64 << 20
_LONGEST_WAIT = 1.5  # s of the oldest packet; a stream that is later than that goes on with a key frame
_TOLD_FOR = 10.0  # s


class StreamThread:
    """A thread that decodes packets in their order, and a bounded queue of those that wait.

    Packets cannot be left out one by one, since each needs those before it: where decoding is too slow, the
    queue is cut off before its newest key frame, or wholly.
    """

    def __init__(
        self,
        decoder: StreamDecoder,
        emit: Callable[[StreamPicture], None],  # called on the thread
        failed: Callable[[Exception], None],  # told what ``emit`` or the decoder raised
    ) -> None:
        self._decoder, self._emit, self._failed = decoder, emit, failed
        self._change = threading.Condition()  # guards everything below
        self._queue: deque[tuple[VideoPacket, float]] = deque()  # with the time of arrival, s
        self._bytes = 0
        self._left_out = 0  # packets, of the next one's loss
        self._too_slow, self._too_slow_at = 0, -_TOLD_FOR  # packets; s
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="video stream", daemon=True)
        self._thread.start()

    @property
    def status(self) -> StreamStatus:
        """What the decoder has done, and waits for."""
        return self._decoder.status

    @property
    def waiting(self) -> int:
        """Packets that wait."""
        with self._change:
            return len(self._queue)

    @property
    def dropped(self) -> int:
        """Packets that were left out since decoding was too slow."""
        with self._change:
            return self._too_slow

    @property
    def problem(self) -> str:
        """What is wrong with the speed of decoding, and the remedy; empty: nothing."""
        with self._change:
            if time.monotonic() - self._too_slow_at > _TOLD_FOR:
                return ""
            return (
                f"decoding cannot keep up with the stream: {self._too_slow} packets were left out so far, up "
                "to a key frame each time: let the camera send smaller or fewer pictures, or end programs"
            )

    def offer(self, packet: VideoPacket) -> None:
        """Hand a packet over; never block. After ``stop`` nothing is taken."""
        now = time.monotonic()
        with self._change:
            if self._stopping:
                return
            self._queue.append((packet, now))
            self._bytes += len(packet.data)
            late = now - self._queue[0][1] > _LONGEST_WAIT
            if late or len(self._queue) > _MOST_PACKETS or self._bytes > _MOST_BYTES:
                self._cut_off(now)
            self._change.notify()

    def _cut_off(self, now: float) -> None:
        """Leave out the packets before the newest key frame, or all."""
        places = range(len(self._queue) - 1, 0, -1)
        keys = (p for p in places if is_key_frame(self._queue[p][0].codec, self._queue[p][0].data))
        gone = next(keys, len(self._queue))
        for _ in range(gone):
            packet, _ = self._queue.popleft()
            self._bytes -= len(packet.data)
            self._left_out += 1 + packet.lost
        self._too_slow, self._too_slow_at = self._too_slow + gone, now

    def stop(self, timeout: float) -> bool:
        """Drop what waits; return False where the thread still runs after ``timeout`` s."""
        with self._change:
            self._stopping = True
            self._queue.clear()
            self._change.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._stopping or self._queue)
                if self._stopping:
                    return
                packet, _ = self._queue.popleft()
                self._bytes -= len(packet.data)
                lost, self._left_out = self._left_out, 0
            try:
                for picture in self._decoder.decode(replace(packet, lost=packet.lost + lost)):
                    if not self._stopping:
                        self._emit(picture)
            except Exception as error:  # for want of memory, say; the next packets are decoded
                self._failed(error)
            del packet
