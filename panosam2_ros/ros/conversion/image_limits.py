"""How large an image message may be, judged before anything of it is decoded or copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.io.image_files import ImageFileError, stated_size
from panosam2_ros.io.printable import printable
from panosam2_ros.ros.conversion.stream_image import StreamImage

MAX_FRAME_ID = 255  # characters
_MAX_ENCODING = 100  # characters of an image's encoding or format


class ImageLimits:
    """The largest image that is taken; ``max_mpixels`` is in millions of pixels."""

    def __init__(self, max_mpixels: float) -> None:
        self._most = max_mpixels

    def check(self, msg: Any) -> None:
        """Raise ImageError for an image or a picture of a video with too many pixels or too long texts."""
        texts = [("frame_id", msg.header.frame_id, MAX_FRAME_ID)]
        if isinstance(msg, CompressedImage):
            texts.append(("format", msg.format, _MAX_ENCODING))
        elif isinstance(msg, Image):
            texts.append(("encoding", msg.encoding, _MAX_ENCODING))
        for name, text, most in texts:
            if len(text) > most:
                raise ImageError(
                    f"an image's {name} has at most {most} characters, got {len(text)}: set it in the camera "
                    "driver"
                )
        width, height = _size(msg)
        if width * height > self._most * 1e6:
            raise ImageError(
                f"an image has at most {self._most:g} million pixels (max_image_mpixels), got "
                f"{width}x{height}: set the camera driver to a smaller size, or raise max_image_mpixels"
            )


def _size(msg: Any) -> tuple[int, int]:
    """Return width and height; raise ImageError for a file that states none."""
    if isinstance(msg, StreamImage):
        return msg.picture.size
    return _compressed_size(msg) if isinstance(msg, CompressedImage) else (msg.width, msg.height)


def _compressed_size(msg: CompressedImage) -> tuple[int, int]:
    """Return width and height by the header of a jpeg or png file; raise ImageError for another file."""
    try:
        size = stated_size(np.frombuffer(msg.data, np.uint8))
    except ImageFileError as error:
        raise ImageError(
            f"an image of format {msg.format!r} cannot be used: {error}; check the publisher and the "
            "connection"
        ) from error
    if size is not None:
        return size
    remedy = "needed is jpeg or png, or h264 or hevc: set the publisher's format, or image_transport to raw"
    raise ImageError(
        f"{len(msg.data)} bytes of format {printable(repr(msg.format))} could not be decoded: {remedy}"
    )
