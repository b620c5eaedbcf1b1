"""Images as cameras and bags deliver them -> RGB uint8 [H, W, 3]. Nothing here imports ROS.

Names are those of ``sensor_msgs/image_encodings``, and nv12 beside them. Of 16 bits the upper eight are
kept. YUV is BT.601 of limited range, as OpenCV takes it; yuv422 is UYVY. 8UC3, 8UC4, 16UC3 and 16UC4 say
nothing of colours: they are taken for BGR and BGRA, as OpenCV has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.image_types import ImageArray

Bytes = NDArray[np.uint8]


class ImageError(ValueError):
    """An image that cannot be read; says what was needed, what came and the remedy."""


class RawImage(Protocol):
    """The fields of sensor_msgs/Image, whichever library made it."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int  # bytes from one row to the next
    data: Any  # bytes, array.array or NumPy array of uint8


class CompressedFile(Protocol):
    """The fields of sensor_msgs/CompressedImage."""

    format: str
    data: Any


@dataclass(frozen=True)
class _Interleaved:
    """All channels of a pixel lie together."""

    channels: int
    to_rgb: int | None  # of cv2.cvtColor; None: it is RGB
    depth: int = 1  # bytes of a channel
    across: int = 1  # columns that share their colour


_COLOURS = {
    "rgb{}": (3, None),
    "bgr{}": (3, cv2.COLOR_BGR2RGB),
    "rgba{}": (4, cv2.COLOR_RGBA2RGB),
    "bgra{}": (4, cv2.COLOR_BGRA2RGB),
    "mono{}": (1, cv2.COLOR_GRAY2RGB),
    "{}UC1": (1, cv2.COLOR_GRAY2RGB),
    "{}UC3": (3, cv2.COLOR_BGR2RGB),
    "{}UC4": (4, cv2.COLOR_BGRA2RGB),
    # ROS names the first two pixels of the first two rows; OpenCV those from the second row and column on
    "bayer_rggb{}": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr{}": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg{}": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg{}": (1, cv2.COLOR_BayerGB2RGB),
}
_INTERLEAVED = {
    name.format(8 * depth): _Interleaved(channels, to_rgb, depth)
    for depth in (1, 2)
    for name, (channels, to_rgb) in _COLOURS.items()
} | {
    "yuv422": _Interleaved(2, cv2.COLOR_YUV2RGB_UYVY, across=2),
    "uyvy": _Interleaved(2, cv2.COLOR_YUV2RGB_UYVY, across=2),
    "yuv422_yuy2": _Interleaved(2, cv2.COLOR_YUV2RGB_YUY2, across=2),
    "yuyv": _Interleaved(2, cv2.COLOR_YUV2RGB_YUY2, across=2),
}
_HALF_CHROMA = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
_FULL_CHROMA = "nv24"
ENCODINGS = (*_INTERLEAVED, *_HALF_CHROMA, _FULL_CHROMA)

# BT.601, limited range: Y, U, V, 1 -> R, G, B; OpenCV has this for subsampled chroma only
_Y, _RV, _GU, _GV, _BU = 1.164, 1.596, -0.391, -0.813, 2.018
_YUV_TO_RGB = np.array([
    [_Y, 0, _RV, -16 * _Y - 128 * _RV],
    [_Y, _GU, _GV, -16 * _Y - 128 * (_GU + _GV)],
    [_Y, _BU, 0, -16 * _Y - 128 * _BU],
])  # fmt: skip


def image_to_array(image: RawImage) -> ImageArray:
    """RGB [H, W, 3]; without a copy for rgb8 whose rows are not padded. Raises ImageError."""
    if image.encoding in _HALF_CHROMA:
        return _half_chroma(image, _HALF_CHROMA[image.encoding])
    if image.encoding == _FULL_CHROMA:
        return _full_chroma(image)
    if image.encoding not in _INTERLEAVED:
        raise ImageError(
            f"encoding {image.encoding!r} is not understood; needed is one of {', '.join(ENCODINGS)}: set "
            "the camera driver's pixel format to one of these"
        )
    return _interleaved(image, _INTERLEAVED[image.encoding])


def _interleaved(image: RawImage, layout: _Interleaved) -> ImageArray:
    _check_multiple(image, layout.across, 1)
    pixels = pixel_bytes(image, layout.channels * layout.depth)
    if layout.depth == 2:
        pixels = _upper_bytes(pixels, bool(image.is_bigendian))
    if layout.to_rgb is None:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(pixels, layout.to_rgb), np.uint8)


def _upper_bytes(pixels: Bytes, big_endian: bool) -> Bytes:
    """[H, W, C] of [H, W, 2 C]."""
    height, width, size = pixels.shape
    pairs = pixels.reshape(height, width * size // 2, 2)
    upper = np.asarray(cv2.extractChannel(pairs, 0 if big_endian else 1))
    return upper.reshape(height, width, size // 2)


def _half_chroma(image: RawImage, to_rgb: int) -> ImageArray:
    """A plane of Y, below it one of UV pairs for every 2 x 2 pixels."""
    _check_multiple(image, 2, 2)
    rows = _rows(image, image.width, image.height * 3 // 2)
    return np.asarray(cv2.cvtColor(rows[:, : image.width], to_rgb), np.uint8)


def _full_chroma(image: RawImage) -> ImageArray:
    """A plane of Y, below it one of a UV pair for every pixel, in rows of twice the step."""
    height, width = image.height, image.width
    rows = _rows(image, width, 3 * height)
    pairs = rows[height:].reshape(height, 2 * image.step)[:, : 2 * width].reshape(height, width, 2)
    yuv = np.empty((height, width, 3), np.uint8)
    cv2.mixChannels([rows[:height, :width], pairs], [yuv], [0, 0, 1, 1, 2, 2])
    return np.asarray(cv2.transform(yuv, _YUV_TO_RGB), np.uint8)


def pixel_bytes(image: RawImage, size: int) -> Bytes:
    """[H, W, size], a view of an image of ``size`` bytes a pixel; ImageError where the numbers disagree."""
    row = image.width * size
    return _rows(image, row, image.height)[:, :row].reshape(image.height, image.width, size)


def _rows(image: RawImage, row: int, count: int) -> Bytes:
    """[count, step], a view; a row needs ``row`` bytes."""
    size = f"{image.width}x{image.height} {image.encoding}"
    if image.width == 0 or image.height == 0:
        raise ImageError(f"the image has no pixels: {size}; the camera driver must fill width and height")
    if image.step < row:
        raise ImageError(
            f"step {image.step} is too small: a row of {size} has {row} bytes; the camera driver must fill "
            "step with the bytes from one row to the next"
        )
    if len(image.data) < image.step * count:
        raise ImageError(
            f"the data are too short: {size} with step {image.step} needs {image.step * count} bytes, got "
            f"{len(image.data)}; check the camera driver's size and encoding"
        )
    return np.frombuffer(image.data, np.uint8, image.step * count).reshape(count, image.step)


def _check_multiple(image: RawImage, across: int, down: int) -> None:
    if image.width % across or image.height % down:
        raise ImageError(
            f"pixels of {image.encoding} share their colour: width and height must be multiples of {across} "
            f"and {down}, got {image.width}x{image.height}; set the camera driver to such a size"
        )


def compressed_to_array(image: CompressedFile) -> ImageArray:
    """RGB [H, W, 3] of a jpeg or png file, of 8 or 16 bits, colour or grey. Raises ImageError."""
    data = np.frombuffer(image.data, np.uint8)
    # A mosaic that was compressed as it is: image_transport names no colours behind "compressed" then
    kept, _, how = image.format.partition(";")
    layout = _INTERLEAVED.get(kept.strip()) if kept.startswith("bayer_") and "bgr8" not in how else None
    colours = cv2.IMREAD_COLOR if layout is None else cv2.IMREAD_GRAYSCALE
    # How the camera was held (EXIF) is no matter of the projection.
    decoded = cv2.imdecode(data, colours | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if decoded is None:
        raise ImageError(
            f"{data.size} bytes of format {image.format!r} could not be decoded; needed is jpeg or png: set "
            "the publisher's format, or image_transport to raw"
        )
    to_rgb = cv2.COLOR_BGR2RGB if layout is None else layout.to_rgb
    return np.asarray(cv2.cvtColor(decoded, to_rgb), np.uint8)
