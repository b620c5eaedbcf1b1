"""Conversion of camera and bag images to RGB uint8 [H, W, 3], without ROS.

Ours, because cv_bridge needs ROS, and apt's builds of it need numpy 1.x; the node asks cv_bridge, where it is
installed, for encodings that are unknown here.

Encodings are those of ``sensor_msgs/image_encodings``, and nv12. Of 16 bits the upper eight are kept. YUV is
BT.601 of limited range, as in OpenCV; yuv422 is UYVY. 8UC3, 8UC4, 16UC3 and 16UC4 do not name their colours:
they are read as BGR and BGRA, OpenCV's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.image_files import MOST_PIXELS, Bytes, CutOffError, ImageFileError, decode_file
from panosam2_ros.io.out_of_memory import raise_lack_of_memory
from panosam2_ros.io.video_packets import codec_of


class ImageError(ValueError):
    """An image that cannot be converted; the message says what was needed, what came and the remedy."""


class RawImage(Protocol):
    """The fields of sensor_msgs/Image, from any message library."""

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
    """The layout of an encoding in which all channels of a pixel are stored together."""

    channels: int
    to_rgb: int | None  # code of cv2.cvtColor; None: already RGB
    depth: int = 1  # bytes a channel
    across: int = 1  # columns that share their chroma


_COLOURS = {
    "rgb{}": (3, None),
    "bgr{}": (3, cv2.COLOR_BGR2RGB),
    "rgba{}": (4, cv2.COLOR_RGBA2RGB),
    "bgra{}": (4, cv2.COLOR_BGRA2RGB),
    "mono{}": (1, cv2.COLOR_GRAY2RGB),
    "{}UC1": (1, cv2.COLOR_GRAY2RGB),
    "{}UC3": (3, cv2.COLOR_BGR2RGB),
    "{}UC4": (4, cv2.COLOR_BGRA2RGB),
    # ROS names the pattern at row 0, column 0; OpenCV names it at row 1, column 1
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

# BT.601, limited range: Y, U, V, 1 -> R, G, B; OpenCV converts it from subsampled chroma only
_Y, _RV, _GU, _GV, _BU = 1.164, 1.596, -0.391, -0.813, 2.018
_YUV_TO_RGB = np.array([
    [_Y, 0, _RV, -16 * _Y - 128 * _RV],
    [_Y, _GU, _GV, -16 * _Y - 128 * (_GU + _GV)],
    [_Y, _BU, 0, -16 * _Y - 128 * _BU],
])  # fmt: skip


def image_to_array(image: RawImage) -> ImageArray:
    """Convert an image message to RGB [H, W, 3]; raise ImageError where that cannot be done.

    An rgb8 image without padding is not copied.
    """
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
    """Convert an image whose pixels are stored one after the other."""
    _check_multiple(image, layout.across, 1)
    pixels = pixel_bytes(image, layout.channels * layout.depth)
    if layout.depth == 2:
        pixels = _upper_bytes(pixels, big_endian=bool(image.is_bigendian))
    if layout.to_rgb is None:
        return np.ascontiguousarray(pixels)
    return _converted(pixels, layout.to_rgb)


def _upper_bytes(pixels: Bytes, *, big_endian: bool) -> Bytes:
    """Take the upper byte of 16-bit channels: [H, W, 2 C] -> [H, W, C]."""
    height, width, size = pixels.shape
    pairs = pixels.reshape(height, width * size // 2, 2)
    upper = np.asarray(cv2.extractChannel(pairs, 0 if big_endian else 1))
    return upper.reshape(height, width, size // 2)


def _half_chroma(image: RawImage, to_rgb: int) -> ImageArray:
    """Convert an image of a Y plane and, below it, a plane of UV pairs, one for every 2 x 2 pixels."""
    _check_multiple(image, 2, 2)
    rows = _rows(image, image.width, image.height * 3 // 2)
    return _converted(rows[:, : image.width], to_rgb)


def _full_chroma(image: RawImage) -> ImageArray:
    """Convert an image of a Y plane and, below it, a plane of one UV pair per pixel.

    A row of UV pairs is twice as long as the step.
    """
    height, width = image.height, image.width
    rows = _rows(image, width, 3 * height)
    pairs = rows[height:].reshape(height, 2 * image.step)[:, : 2 * width].reshape(height, width, 2)
    yuv = np.empty((height, width, 3), np.uint8)
    cv2.mixChannels([rows[:height, :width], pairs], [yuv], [0, 0, 1, 1, 2, 2])
    return np.asarray(cv2.transform(yuv, _YUV_TO_RGB), np.uint8)


def pixel_bytes(image: RawImage, size: int) -> Bytes:
    """View an image of ``size`` bytes a pixel as [H, W, size]; raise ImageError where the fields disagree."""
    row = image.width * size
    return _rows(image, row, image.height)[:, :row].reshape(image.height, image.width, size)


def _rows(image: RawImage, row: int, count: int) -> Bytes:
    """View an image's data as ``count`` rows [count, step] that hold at least ``row`` bytes each."""
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
    """Raise ImageError for a size that an encoding with subsampled chroma does not permit."""
    if image.width % across or image.height % down:
        raise ImageError(
            f"pixels of {image.encoding} share their colour: width and height must be multiples of {across} "
            f"and {down}, got {image.width}x{image.height}; set the camera driver to such a size"
        )


def compressed_to_array(image: CompressedFile, *, most_pixels: float = MOST_PIXELS) -> ImageArray:
    """Decode a jpeg or png file, of 8 or 16 bits, colour or grey, to RGB [H, W, 3].

    Raises ImageError where that cannot be done; ``most_pixels`` as of ``decode_file``.
    """
    data = np.frombuffer(image.data, np.uint8)
    # image_transport names the colours after "compressed", but not for a raw Bayer mosaic
    encoding, _, how = image.format.partition(";")
    is_mosaic = encoding.startswith("bayer_") and "bgr8" not in how
    layout = _INTERLEAVED.get(encoding.strip()) if is_mosaic else None
    try:
        decoded = decode_file(data, grey=layout is not None, most_pixels=most_pixels)
    except ImageFileError as error:
        raise ImageError(
            f"{data.size} bytes of format {image.format!r} could not be decoded: {error}; "
            f"{_remedy(error, image.format)}"
        ) from error
    to_rgb = cv2.COLOR_BGR2RGB if layout is None else layout.to_rgb
    return _converted(decoded, to_rgb)


def _remedy(error: ImageFileError, form: str) -> str:
    """Name what to do about a file that could not be decoded."""
    if isinstance(error, CutOffError):
        return "check the camera driver and the network"
    if codec_of(form):
        return "this is a packet of a video, which is decoded only in its stream, after a key frame"
    return "needed is jpeg or png: set the publisher's format, or image_transport to raw"


def _converted(pixels: NDArray[Any], to_rgb: Any) -> ImageArray:
    """Convert colours by OpenCV; raise ImageError where it refuses."""
    try:
        return np.asarray(cv2.cvtColor(pixels, to_rgb), np.uint8)
    except cv2.error as error:
        raise_lack_of_memory(error)
        raise ImageError(
            f"OpenCV cannot convert the colours of {pixels.shape[1]}x{pixels.shape[0]} pixels: "
            f"{error.err or error}; set the camera driver's pixel format to rgb8"
        ) from error
