"""Decoding of image files: of a folder, or in a message."""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from panosam2_ros.io.out_of_memory import raise_lack_of_memory
from panosam2_ros.io.printable import printable

Bytes = NDArray[np.uint8]

log = logging.getLogger(__name__)
_TAIL = 1 << 16  # bytes at an end of a file that are searched first
MOST_PIXELS = 200_000_000  # a damaged or malicious header must not claim gigabytes
# by their first bytes; not by Image.open, which has a limit of its own
_READERS: tuple[tuple[bytes, Any], ...] = ((b"\xff\xd8", JpegImageFile), (b"\x89PNG", PngImageFile))
_START_OF_SCAN = 0xDA
_EXIF_ORIENTATION = 0x0112


class ImageFileError(ValueError):
    """An image file that cannot be decoded; the message says why."""


class CutOffError(ImageFileError):
    """An image file that ends too early."""


def stated_size(data: Bytes) -> tuple[int, int] | None:
    """Return width and height by the header of a jpeg or png file; None for another format.

    Raises ImageFileError for a header that cannot be read.
    """
    head = data[:4].tobytes()
    reader = next((reader for magic, reader in _READERS if head.startswith(magic)), None)
    if reader is None:
        return None
    try:
        width, height = reader(BytesIO(data.data)).size
    except Exception as error:  # Pillow raises many kinds for headers that are damaged
        raise ImageFileError(f"its header cannot be read: {printable(str(error), most=100)}") from error
    return width, height


def decode_file(data: Bytes, *, grey: bool = False, most_pixels: float = MOST_PIXELS) -> NDArray[Any]:
    """Decode an image file of any format that OpenCV knows to BGR [H, W, 3], or to grey [H, W].

    An EXIF orientation is not applied, because it must not turn a panorama; a warning says so once. Raises
    ImageFileError for a file that is cut off or too large, or that OpenCV cannot decode.
    ``most_pixels``: more are not decoded; infinite where the size was checked before.
    """
    if not data.size:
        raise ImageFileError("there are no data")
    scan = _scan_of_jpeg(data)
    if scan is not None and _is_cut_off(data, scan):
        raise CutOffError("the jpeg file is cut off, its end is missing")
    size = stated_size(data) if math.isfinite(most_pixels) else None
    if size is not None and size[0] * size[1] > most_pixels:
        stated = f"{size[0]}x{size[1]} pixels"
        raise ImageFileError(f"its header states {stated}, at most {most_pixels:g} are decoded")
    _warn_of_orientation(data)
    flags = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    try:
        decoded = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise_lack_of_memory(error)
        raise ImageFileError(f"OpenCV says: {error.err or error}") from error
    if decoded is None:
        raise ImageFileError("OpenCV does not know the format, or the data are damaged")
    return np.asarray(decoded)


def _scan_of_jpeg(data: Bytes) -> int | None:
    """Return where the entropy-coded data of a jpeg file begin; None for another format."""
    if data[:2].tobytes() != b"\xff\xd8":
        return None
    place = 2
    while place + 4 <= data.size and data[place] == 0xFF:
        marker, length = int(data[place + 1]), int.from_bytes(data[place + 2 : place + 4].tobytes(), "big")
        place += 2 + length
        if marker == _START_OF_SCAN:
            break
    return place


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
