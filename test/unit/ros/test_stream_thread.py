"""The thread that decodes a stream: order, bounds, what happens where decoding is too slow, and its end."""

from __future__ import annotations

import threading
import time

import pytest

from helpers.process import wait_for
from helpers.video_streams import encode, shades
from panosam2_ros.io.video_stream import StreamDecoder, StreamPicture, VideoPacket
from panosam2_ros.ros.inference import stream_thread
from panosam2_ros.ros.inference.stream_thread import StreamThread

PACKETS = [
    VideoPacket("h264", packet.data, packet.index)
    for packet in encode(shades(60), key_frames=10)  # stamps count the pictures
]


class Slow:
    """Takes pictures, none before it is let go."""

    def __init__(self) -> None:
        self.go, self.stamps, self.errors = threading.Event(), list[int](), list[Exception]()
        decoder = StreamDecoder(max_pixels=1e6)
        self.thread = StreamThread(decoder, self._take, self.errors.append)

    def _take(self, picture: StreamPicture) -> None:
        self.go.wait(30)
        self.stamps.append(picture.stamp)

    def offer(self, packets: list[VideoPacket]) -> None:
        for packet in packets:
            self.thread.offer(packet)

    def begun(self) -> None:
        """Offer the first packet and wait until it is being worked on."""
        self.offer(PACKETS[:1])
        wait_for(lambda: not self.thread.waiting)


def test_pictures_come_in_order() -> None:
    slow = Slow()
    slow.go.set()
    slow.offer(PACKETS)
    wait_for(lambda: len(slow.stamps) == 60)
    assert slow.stamps == list(range(60)) and not slow.thread.problem and slow.thread.stop(5)


@pytest.mark.faults
@pytest.mark.parametrize("bound", ["packets", "bytes", "seconds"])
def test_where_decoding_is_too_slow_it_goes_on_with_the_newest_key_frame(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    slow.begun()
    if bound == "packets":
        monkeypatch.setattr(stream_thread, "_MOST_PACKETS", 33)
    elif bound == "bytes":
        monkeypatch.setattr(stream_thread, "_MOST_BYTES", sum(len(p.data) for p in PACKETS[1:34]))
    slow.offer(PACKETS[1:34])
    if bound == "seconds":
        monkeypatch.setattr(stream_thread, "_LONGEST_WAIT", 0.2)
        time.sleep(0.3)
    slow.offer(PACKETS[34:35])
    assert slow.thread.waiting == 5 and slow.thread.dropped == 29
    assert "cannot keep up with the stream: 29 packets were left out" in slow.thread.problem
    monkeypatch.undo()
    slow.go.set()
    slow.offer(PACKETS[35:])
    wait_for(lambda: slow.stamps[-1:] == [59])
    assert slow.stamps == [0, *range(30, 60)] and slow.thread.status.lost == 29 and slow.thread.stop(5)


@pytest.mark.faults
def test_without_a_key_frame_in_the_queue_the_next_one_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    slow.begun()
    monkeypatch.setattr(stream_thread, "_MOST_PACKETS", 5)
    slow.offer(PACKETS[1:7])
    assert slow.thread.waiting == 0 and slow.thread.dropped == 6
    monkeypatch.undo()
    slow.go.set()
    slow.offer(PACKETS[7:20])
    wait_for(lambda: slow.stamps[-1:] == [19])
    assert slow.stamps == [0, *range(10, 20)] and slow.thread.stop(5)


@pytest.mark.faults
def test_what_is_raised_is_told_and_the_thread_lives() -> None:
    errors: list[Exception] = []
    taken: list[int] = []

    def take(picture: StreamPicture) -> None:
        if picture.stamp == 3:
            raise MemoryError("no memory")
        taken.append(picture.stamp)

    thread = StreamThread(StreamDecoder(max_pixels=1e6), take, errors.append)
    for packet in PACKETS[:8]:
        thread.offer(packet)
    wait_for(lambda: len(taken) == 7)
    assert [str(error) for error in errors] == ["no memory"] and thread.stop(5)


def test_after_the_end_nothing_comes() -> None:
    slow = Slow()
    slow.begun()
    slow.offer(PACKETS[1:5])
    assert not slow.thread.stop(0.1)  # a picture is being taken
    slow.offer(PACKETS[5:9])
    slow.go.set()
    assert slow.thread.stop(5) and slow.stamps == [0] and not slow.errors
