"""The ways in which images come: their topics and types, and packets of video streams among them.

Names are those of ROS's image_transport and its plugins: ``compressed``, ``ffmpeg`` (package
ffmpeg_image_transport) and ``foxglove`` (package foxglove_compressed_video_transport).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from panosam2_ros.io.stream_messages import (
    COMPRESSED_IMAGE,
    COMPRESSED_VIDEO,
    FFMPEG_PACKET,
    stamp_and_frame,
    stream_codec,
)
from panosam2_ros.io.video_stream import MAX_PACKET, VideoPacket
from panosam2_ros.ros.conversion.messages import ns_to_stamp

_RAW = "sensor_msgs/msg/Image"
_OPTIONAL = {"ffmpeg": FFMPEG_PACKET, "foxglove": COMPRESSED_VIDEO}


@dataclass(frozen=True)
class ImageTransport:
    """A way in which images come."""

    name: str
    kind: type[Any]  # of the messages
    type_name: str
    stream: bool  # always packets of a video, not only sometimes

    def topic(self, base: str) -> str:
        """Return the topic of this transport for a base name, which may be the topic itself."""
        if self.name == "raw" or base.endswith(f"/{self.name}"):  # image:=/image/compressed names it already
            return base
        return f"{base}/{self.name}"

    def stamp_and_frame(self, msg: Any) -> tuple[int, str]:
        """Return the stamp, ns, and the frame id of a message."""
        return stamp_and_frame(self.type_name, msg)

    def packet(self, msg: Any, *, lost: int) -> VideoPacket | None:
        """Return the packet of a message, with its header as a tag; None for an image."""
        codec = stream_codec(self.type_name, msg)
        if not codec:
            return None
        stamp, frame_id = self.stamp_and_frame(msg)
        data = bytes(msg.data[: MAX_PACKET + 1])  # one that is longer is refused
        return VideoPacket(codec, data, stamp, tag=frame_id, lost=lost)


def image_transport(name: str) -> ImageTransport:
    """Return a transport by its name; raise ImportError with the remedy where its messages are missing."""
    if name not in _OPTIONAL:
        kind, type_name = (CompressedImage, COMPRESSED_IMAGE) if name == "compressed" else (Image, _RAW)
        return ImageTransport(name, kind, type_name, stream=False)
    package, _, message = _OPTIONAL[name].split("/")
    try:
        kind = getattr(importlib.import_module(f"{package}.msg"), message)
    except ImportError as error:
        raise ImportError(
            f"image_transport is {name}, and package {package} is missing ({error}): sudo apt install "
            f"ros-$ROS_DISTRO-{package.replace('_', '-')}, source the workspace and start this node again"
        ) from error
    return ImageTransport(name, kind, _OPTIONAL[name], stream=True)


def header_of(stamp: int, frame_id: str) -> Header:
    """Return a header of a stamp, ns."""
    return Header(stamp=ns_to_stamp(stamp), frame_id=frame_id)
