"""Packets of video streams in ROS bags, whatever message brings them, as pictures with stamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from panosam2_ros.io.image_files import MOST_PIXELS
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.video import StampedFrame
from panosam2_ros.io.video_packets import codec_of
from panosam2_ros.io.video_stream import StreamDecoder, StreamPicture, VideoPacket

FFMPEG_PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
# the fields, for bags that do not contain the definitions of their messages
DEFINITIONS = {
    FFMPEG_PACKET: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n"
    "uint8 flags\nbool is_bigendian\nuint8[] data\n",
    COMPRESSED_VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
}
_REMEDY = (
    "record the topic reliably (ros2 bag record --qos-profile-overrides-path), and let the encoder send key "
    "frames more often"
)


@dataclass(frozen=True)
class Origin:
    """Where a picture of a bag comes from."""

    recorded: int  # ns
    frame_id: str


def stream_codec(kind: str, message: Any) -> str:
    """Return the codec of a message's packet, or its own name of one; empty for an image."""
    if kind == COMPRESSED_IMAGE:
        return codec_of(message.format)
    if kind not in DEFINITIONS:
        return ""
    name = message.encoding if kind == FFMPEG_PACKET else message.format
    return codec_of(name) or name or "(no name)"


def stamp_and_frame(kind: str, message: Any) -> tuple[int, str]:
    """Return the stamp, ns, and the frame id of a message."""
    time, frame_id = (
        (message.timestamp, message.frame_id)
        if kind == COMPRESSED_VIDEO
        else (message.header.stamp, message.header.frame_id)
    )
    return time.sec * 10**9 + time.nanosec, frame_id


class BagStream:
    """The stream of one topic of a bag, decoded in the order of recording."""

    def __init__(self, report: ReadReport) -> None:
        """Begin; pictures that are missing are counted in ``report``."""
        self._decoder = StreamDecoder(max_pixels=MOST_PIXELS, missed=self._miss)
        self._report, self._lost = report, 0

    def _miss(self, reason: str, count: int) -> None:
        self._report.remedy = self._report.remedy or _REMEDY
        self._report.miss(reason, count=count)

    def lose(self) -> None:
        """Note that a message could not be read: the pictures after it are smeared."""
        self._lost += 1

    def frames(self, codec: str, data: Any, stamp: int, origin: Origin) -> Iterator[StampedFrame]:
        """Yield the pictures that are complete with this packet."""
        lost, self._lost = self._lost, 0
        packet = VideoPacket(codec, bytes(data), stamp, tag=origin, lost=lost)
        yield from map(_stamped, self._decoder.decode(packet))

    def end(self) -> Iterator[StampedFrame]:
        """Yield the pictures that were held back."""
        yield from map(_stamped, self._decoder.finish())


def _stamped(found: StreamPicture) -> StampedFrame:
    origin: Origin = found.tag
    return StampedFrame(found.rgb(), found.stamp, recorded=origin.recorded, frame_id=origin.frame_id)
