"""Decoding of image files: of a folder, or in a message."""

from __future__ import annotations

import logging
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
_EXIF_ORIENTATION = 0x0112


class ImageFileError(ValueError):
    """An image file that cannot be decoded; the message says why."""


class CutOffError(ImageFileError):
    """An image file that ends too early."""


def decode_file(data: Bytes, *, grey: bool = False) -> NDArray[Any]:
    """Decode an image file of any format that OpenCV knows to BGR [H, W, 3], or to grey [H, W].

    An EXIF orientation is not applied, because it must not turn a panorama; a warning says so once. Raises
    ImageFileError for a file that is cut off or that OpenCV cannot decode.
    """
    if not data.size:
        raise ImageFileError("there are no data")
    if _is_cut_off(data):
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


def _is_cut_off(data: Bytes) -> bool:
    """Tell whether a jpeg file lacks its end: some versions of OpenCV decode half a picture then."""
    if data[:2].tobytes() != b"\xff\xd8":
        return False
    start = 2  # of the entropy-coded data: a thumbnail before them has an end of its own
    while start + 4 <= data.size and data[start] == 0xFF:
        marker, length = data[start + 1], int(data[start + 2]) << 8 | int(data[start + 3])
        start += 2 + length
        if marker == 0xDA:  # start of scan
            break
    end = max(start, data.size - _TAIL)
    # padding may follow the end, in drivers that send buffers of one size
    return all(data[place:].tobytes().rfind(b"\xff\xd9") < 0 for place in (end, start))


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
