"""Images and video streams of ROS bags (ROS 2: mcap, sqlite3; ROS 1), read by ``rosbags``, without ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.bag_files import BagFiles
from panosam2_ros.io.bag_streams import BagOrigin, BagStream
from panosam2_ros.io.image_encodings import compressed_to_array, image_to_array
from panosam2_ros.io.out_of_memory import raise_lack_of_memory
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.stream_messages import DEFINITIONS, stamp_and_frame, stream_codec
from panosam2_ros.io.video import StampedFrame, VideoError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

_KINDS: dict[str, Callable[[Any], ImageArray]] = {
    "sensor_msgs/msg/Image": image_to_array,
    "sensor_msgs/msg/CompressedImage": compressed_to_array,
}
_IMAGE_TYPES = (*_KINDS, *DEFINITIONS)
_FINEST = 10**6  # ns: how closely the end of damaged data is searched
_NO_STAMPS = "images have the stamp 0: the recorder's times are used; let the driver set stamps"
_MAX_DAMAGES = 3  # whose reasons are kept
Raw = tuple["Connection", int, bytes]


class BagImages:
    """The images of one topic of a bag, decoded while reading."""

    def __init__(self, path: Path, *, topic: str = "") -> None:
        """Open a bag and choose its topic; empty: the only image topic. Raises VideoError."""
        self._path, self._files = path, BagFiles(path)
        self._size = (0, 0)
        self.report = ReadReport()
        with self._files.open() as reader:
            self._topic = self._choose({c.topic: c.msgtype for c in reader.connections}, topic)
            of_topic = reader.topics[self._topic]
            self.frames = int(of_topic.msgcount)
            seconds = _seconds(reader, of_topic.connections)
        self.rate = (self.frames - 1) / seconds if self.frames > 1 and seconds > 0 else 0.0
        first = next(self.stamped(), None)
        if first is None:
            reason = f" that can be read: {self.report.text}" if self.report.missing else "; record it again"
            raise VideoError(f"{path}: topic {self._topic} has no image{reason}")
        self.height, self.width = first.image.shape[:2]
        self._size = self.width, self.height

    def _choose(self, kinds: dict[str, str], topic: str) -> str:
        """Return the image topic to read; raise VideoError where ``topic`` is none or is ambiguous."""
        images = sorted(name for name, kind in kinds.items() if kind in _IMAGE_TYPES)
        if topic and topic in images:
            return topic
        if not topic and len(images) == 1:
            return images[0]
        raise VideoError(
            f"{self._path}: give topic, one of its image topics ({', '.join(images) or 'it has none'}); "
            f"got {topic!r}"
        )

    def stamped(self) -> Iterator[StampedFrame]:
        """Yield the images with the stamps and frame ids of their headers, in the order of recording.

        The recorder's time replaces a stamp of zero. Images that cannot be read, and those of another size
        than the first, are missing in ``report``.
        """
        report = self.report = ReadReport(notes=list(self._files.notes))
        for reason in self._files.unreadable:
            report.miss(reason)
        stream = BagStream(report)
        with self._files.open() as reader:
            chosen = [c for c in reader.connections if c.topic == self._topic]
            messages = _Messages(reader, chosen)
            for number, raw in enumerate(messages, 1):
                try:
                    frames = list(self._frames(reader, raw, stream))
                except Exception as error:  # ImageError, and what a short message makes rosbags raise
                    raise_lack_of_memory(error)
                    report.miss(f"image {number}, recorded at {raw[1]} ns: {error}")
                    stream.lose()
                    continue
                yield from self._checked(frames, number, report)
            yield from self._checked(list(stream.end()), messages.count, report)
            if messages.damages:
                report.remedy = self._files.remedy
                lost = max(self.frames - messages.count, 1)
                report.miss(f"in damaged data: {'; '.join(messages.damages)}", count=lost)

    def _frames(self, reader: AnyReader, raw: Raw, stream: BagStream) -> Iterator[StampedFrame]:
        """Decode a message; a packet of a stream gives any number of frames. Raises ImageError and others."""
        connection, recorded, data = raw
        kind = connection.msgtype
        message: Any = reader.deserialize(data, kind)
        stamp, frame_id = stamp_and_frame(kind, message)
        if stamp == 0:
            self.report.note(_NO_STAMPS)
        if codec := stream_codec(kind, message):
            yield from stream.frames(codec, message.data, stamp or recorded, BagOrigin(recorded, frame_id))
            return
        yield StampedFrame(_KINDS[kind](message), stamp or recorded, recorded=recorded, frame_id=frame_id)

    def _checked(self, frames: list[StampedFrame], number: int, report: ReadReport) -> Iterator[StampedFrame]:
        """Yield and count the frames of the size of the first; the others are missing in ``report``."""
        for frame in frames:
            size = frame.image.shape[1], frame.image.shape[0]
            if self._size not in (size, (0, 0)):
                report.miss(
                    f"image {number}, recorded at {frame.recorded} ns: it is {size[0]}x{size[1]}, the first "
                    f"image is {self.width}x{self.height}"
                )
                continue
            report.read += 1
            yield frame

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the images in the order of recording, RGB."""
        return (frame.image for frame in self.stamped())


class _Messages:
    """Messages of some connections, in the order of recording, without those in damaged data."""

    def __init__(self, reader: AnyReader, connections: list[Connection]) -> None:
        self._reader, self._connections = reader, connections
        self.count = 0  # of the messages that were read
        self.damages: list[str] = []  # the reasons of the first stretches of damaged data

    def __iter__(self) -> Iterator[Raw]:
        start: int | None = None  # everything, also before the start that the bag states
        following = self._reader.start_time
        while True:
            try:
                for raw in self._reader.messages(connections=self._connections, start=start):
                    self.count += 1
                    following = max(following, raw[1] + 1)
                    yield raw
                return
            except Exception as error:  # decompressors and databases raise whatever they like
                raise_lack_of_memory(error)
                if len(self.damages) < _MAX_DAMAGES:
                    self.damages.append(f"{type(error).__name__}: {error}")
            if (start := self._after_damage(following)) is None:
                return
            following = start

    def _after_damage(self, start: int) -> int | None:
        """Find the first time after damaged data from which on messages can be read; None: there is none."""
        step, end = _FINEST, self._reader.end_time
        while not self._readable(start + step):
            if start + step > end:
                return None
            step *= 2
        low, high = step // 2, step
        while high - low > _FINEST:
            middle = (low + high) // 2
            low, high = (low, middle) if self._readable(start + middle) else (middle, high)
        return start + high

    def _readable(self, start: int) -> bool:
        """Tell whether the first message from a time on can be read, or there is none."""
        try:
            next(self._reader.messages(connections=self._connections, start=start), None)
        except Exception:
            return False
        return True


def _seconds(reader: AnyReader, connections: list[Connection]) -> float:
    """Measure the time, s, from the first message of some connections to their last.

    The bag itself may begin earlier and end later, with other topics; where its data are damaged, it is
    taken for the answer.
    """

    def times(*, start: int | None = None) -> Iterator[int]:
        """Yield the recording times, ns, from ``start`` on."""
        return (time for _, time, _ in reader.messages(connections=connections, start=start))

    try:
        first, back = next(times(), reader.start_time), 10**9
        while True:  # search backwards from the end in growing steps, to avoid reading all images
            start = max(reader.end_time - back, first)
            last = max(times(start=start), default=None)
            if last is not None or start == first:
                return ((last or first) - first) * 1e-9
            back *= 4
    except Exception:  # decompressors and databases raise whatever they like
        return max(reader.end_time - reader.start_time, 0) * 1e-9
