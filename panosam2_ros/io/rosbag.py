"""Images of ROS bags (rosbag2: mcap and sqlite3), read by the package ``rosbags``; no ROS is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.image_encodings import ImageError, compressed_to_array, image_to_array
from panosam2_ros.io.video import StampedFrame, VideoError

_KINDS: dict[str, Callable[[Any], ImageArray]] = {
    "sensor_msgs/msg/Image": image_to_array,
    "sensor_msgs/msg/CompressedImage": compressed_to_array,
}
_FILES = (".mcap", ".db3")


def is_bag(path: Path) -> bool:
    """Whether it is a rosbag2 folder or one of its files."""
    return (path / "metadata.yaml").is_file() or path.suffix in _FILES


def _seconds(reader: Any, connections: list[Any]) -> float:
    """From their first message to their last, s; other topics may have begun earlier or ended later."""

    def times(start: int | None = None) -> Iterator[int]:
        return (time for _, time, _ in reader.messages(connections=connections, start=start))

    first, back = next(times(), reader.start_time), 10**9
    while True:  # from the end, farther and farther back, so that not all images have to be read
        start = max(reader.end_time - back, first)
        last = max(times(start), default=None)
        if last is not None or start == first:
            return ((last or first) - first) * 1e-9
        back *= 4


class BagImages:
    """The images of one topic, decoded as they are read; raises VideoError for what cannot be read."""

    def __init__(self, path: Path, topic: str = "") -> None:
        # a bag's folder has the list of what is in it; its files alone have not
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
        try:
            from rosbags.highlevel import AnyReader, AnyReaderError
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise VideoError(f"{self._path} is a ROS bag: pip install rosbags ({error})") from error
        try:
            # Older bags do not carry their messages' definitions; those of images have never changed.
            with AnyReader([self._path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
                yield reader
        except AnyReaderError as error:
            raise VideoError(f"{self._path} cannot be read: {error}; try: ros2 bag reindex") from error

    def stamped(self) -> Iterator[StampedFrame]:
        """The images with the stamps and frame ids of their headers, in the order of recording."""
        with self._open() as reader:
            chosen = [c for c in reader.connections if c.topic == self._topic]
            for connection, _, data in reader.messages(connections=chosen):
                message = reader.deserialize(data, connection.msgtype)
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                try:
                    image = _KINDS[connection.msgtype](message)
                except ImageError as error:
                    raise VideoError(f"{self._path}: image of stamp {stamp} ns: {error}") from error
                yield StampedFrame(image, stamp, message.header.frame_id)

    def __iter__(self) -> Iterator[ImageArray]:
        return (frame.image for frame in self.stamped())
