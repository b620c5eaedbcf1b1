"""Decoding of image files: of a folder, or in a message."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]

log = logging.getLogger(__name__)
_TAIL = 1 << 16  # bytes at an end of a file that are searched first
_MOST_PIXELS = 200_000_000  # a damaged or malicious header must not claim gigabytes
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # which has the size of the image
_START_OF_SCAN = 0xDA
_EXIF_ORIENTATION = 0x0112


class ImageFileError(ValueError):
    """An image file that cannot be decoded; the message says why."""


class CutOffError(ImageFileError):
    """An image file that ends too early."""


def decode_file(data: Bytes, *, grey: bool = False) -> NDArray[Any]:
    """Decode an image file of any format that OpenCV knows to BGR [H, W, 3], or to grey [H, W].

    An EXIF orientation is not applied, because it must not turn a panorama; a warning says so once. Raises
    ImageFileError for a file that is cut off or too large, or that OpenCV cannot decode.
    """
    if not data.size:
        raise ImageFileError("there are no data")
    header = _header(data)
    if header.pixels > _MOST_PIXELS:
        raise ImageFileError(f"its header states {header.pixels} pixels, at most {_MOST_PIXELS} are decoded")
    if header.scan is not None and _is_cut_off(data, header.scan):
        raise CutOffError("the jpeg file is cut off, its end is missing")
    _warn_of_orientation(data)
    flags = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    try:
        decoded = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageFileError(f"OpenCV says: {error.err or error}") from error
    if decoded is None:
        raise ImageFileError("OpenCV does not know the format, or the data are damaged")
    return np.asarray(decoded)


@dataclass(frozen=True)
class _Header:
    """What the first bytes of a file say."""

    pixels: int = 0  # 0: unknown
    scan: int | None = None  # of a jpeg file: where its entropy-coded data begin


def _header(data: Bytes) -> _Header:
    """Read the header of a jpeg or png file; that of other formats is unknown."""
    if data[:8].tobytes() == b"\x89PNG\r\n\x1a\n" and data.size >= 24:
        width, height = (int.from_bytes(data[i : i + 4].tobytes(), "big") for i in (16, 20))
        return _Header(width * height)
    if data[:2].tobytes() != b"\xff\xd8":
        return _Header()
    pixels, place = 0, 2
    while place + 9 <= data.size and data[place] == 0xFF:
        marker = int(data[place + 1])
        length, height, width = (
            int.from_bytes(data[place + i : place + i + 2].tobytes(), "big") for i in (2, 5, 7)
        )
        place += 2 + length
        if marker in _START_OF_FRAME:
            pixels = width * height
        if marker == _START_OF_SCAN:
            break
    return _Header(pixels, place)


def _is_cut_off(data: Bytes, scan: int) -> bool:
    """Tell whether a jpeg file lacks its end: some versions of OpenCV decode half a picture then.

    A thumbnail before the ``scan`` has an end of its own. Padding may follow the end, in drivers that send
    buffers of one size.
    """
    end = max(scan, data.size - _TAIL)
    return all(data[place:].tobytes().rfind(b"\xff\xd9") < 0 for place in (end, scan))


@lru_cache(maxsize=1)
def _say_orientation_once() -> None:
    """Warn, once in the life of the process, that an orientation is ignored."""
    log.warning(
        "an image has an EXIF orientation, which is ignored: a panorama is not turned by it. If the picture "
        "lies on its side or upside down, set the camera's roll instead"
    )


def _warn_of_orientation(data: Bytes) -> None:
    """Warn of the first image whose EXIF orientation would turn it."""
    if b"Exif\0\0" not in data[:_TAIL].tobytes():
        return
    try:
        with Image.open(BytesIO(data.data)) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
    except Exception:  # whatever Pillow raises for damaged metadata: they are not needed
        return
    if turned:
        _say_orientation_once()
