"""Messages that bring packets of video streams, from any message library."""

from __future__ import annotations

from typing import Any

from panosam2_ros.io.video_packets import codec_of

FFMPEG_PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
# the fields, for bags that do not contain the definitions of their messages
DEFINITIONS = {
    FFMPEG_PACKET: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n"
    "uint8 flags\nbool is_bigendian\nuint8[] data\n",
    COMPRESSED_VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
}


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
