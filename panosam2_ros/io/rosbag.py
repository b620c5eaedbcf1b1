"""Images of ROS bags (rosbag2: mcap and sqlite3), read by the package ``rosbags``, without ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.image_encodings import ImageError, compressed_to_array, image_to_array
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.video import StampedFrame, VideoError

_KINDS: dict[str, Callable[[Any], ImageArray]] = {
    "sensor_msgs/msg/Image": image_to_array,
    "sensor_msgs/msg/CompressedImage": compressed_to_array,
}
_FILES = (".mcap", ".db3")


def is_bag(path: Path) -> bool:
    """Tell whether a path is a rosbag2 folder or one of its files."""
    return (path / "metadata.yaml").is_file() or path.suffix in _FILES


def _seconds(reader: Any, connections: list[Any]) -> float:
    """Measure the time, s, from the first message of some connections to their last.

    The bag itself may begin earlier and end later, with other topics.
    """

    def times(*, start: int | None = None) -> Iterator[int]:
        """Yield the recording times, ns, from ``start`` on."""
        return (time for _, time, _ in reader.messages(connections=connections, start=start))

    first, back = next(times(), reader.start_time), 10**9
    while True:  # search backwards from the end in growing steps, to avoid reading all images
        start = max(reader.end_time - back, first)
        last = max(times(start=start), default=None)
        if last is not None or start == first:
            return ((last or first) - first) * 1e-9
        back *= 4


class BagImages:
    """The images of one topic of a bag, decoded while reading."""

    report = ReadReport()

    def __init__(self, path: Path, *, topic: str = "") -> None:
        """Open a bag and choose its topic; empty: the only image topic. Raises VideoError."""
        # the metadata that lists a bag's contents lie in its folder, beside its files
        self._path = path.parent if path.is_file() and (path.parent / "metadata.yaml").exists() else path
        with self._open() as reader:
            self._topic = self._choose({c.topic: c.msgtype for c in reader.connections}, topic)
            of_topic = reader.topics[self._topic]
            self.frames = int(of_topic.msgcount)
            seconds = _seconds(reader, of_topic.connections)
        self.rate = (self.frames - 1) / seconds if self.frames > 1 and seconds > 0 else 0.0
        first = next(iter(self.stamped()), None)
        if first is None:
            raise VideoError(f"{path}: topic {self._topic} has no image; record it again")
        self.height, self.width = first.image.shape[:2]

    def _choose(self, kinds: dict[str, str], topic: str) -> str:
        """Return the image topic to read; raise VideoError where ``topic`` is none or is ambiguous."""
        images = sorted(name for name, kind in kinds.items() if kind in _KINDS)
        if topic and topic in images:
            return topic
        if not topic and len(images) == 1:
            return images[0]
        raise VideoError(
            f"{self._path}: give topic, one of its image topics ({', '.join(images) or 'it has none'}); "
            f"got {topic!r}"
        )

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Open the bag for reading; raise VideoError with the remedy where that fails."""
        try:
            from rosbags.highlevel import AnyReader, AnyReaderError
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise VideoError(f"{self._path} is a ROS bag: pip install rosbags ({error})") from error
        try:
            # Older bags do not contain their message definitions; those of images have never changed.
            with AnyReader([self._path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
                yield reader
        except AnyReaderError as error:
            raise VideoError(f"{self._path} cannot be read: {error}; try: ros2 bag reindex") from error

    def stamped(self) -> Iterator[StampedFrame]:
        """Yield the images with the stamps and frame ids of their headers, in the order of recording.

        Raises VideoError for an image that cannot be decoded.
        """
        with self._open() as reader:
            chosen = [c for c in reader.connections if c.topic == self._topic]
            for connection, _, data in reader.messages(connections=chosen):
                message = reader.deserialize(data, connection.msgtype)
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                try:
                    image = _KINDS[connection.msgtype](message)
                except ImageError as error:
                    raise VideoError(f"{self._path}: image of stamp {stamp} ns: {error}") from error
                yield StampedFrame(image, stamp, frame_id=message.header.frame_id)

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the images in the order of recording, RGB."""
        return (frame.image for frame in self.stamped())
