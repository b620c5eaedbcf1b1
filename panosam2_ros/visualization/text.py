"""Text in images, also with characters beyond ASCII.

OpenCV 5 brings fonts for most scripts. OpenCV 4, on robots, has ASCII only: there Pillow draws other texts in
the fonts of the system, because the font that Pillow itself brings has hardly more characters.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from panosam2_ros.geometry.image_types import ImageArray

log = logging.getLogger(__name__)

_FACE = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 29  # pixels of a font whose capitals are as high as those of OpenCV at scale 1
_NO_CHARACTER = "\U0010ffff"  # drawn as characters that a font lacks
# in the order in which they are tried; DejaVu has Latin, Greek, Cyrillic, Arabic and Hebrew letters
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "FreeSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "unifont.ttf",
)


def opencv_draws(text: str) -> bool:
    """Tell whether OpenCV itself can draw a text."""
    return text.isascii() or hasattr(cv2, "FontFace")  # which version 5 introduces with its fonts


def text_width(text: str, scale: float) -> int:
    """Return the width, pixels, of a text at a scale of OpenCV's fonts."""
    if opencv_draws(text):
        return int(cv2.getTextSize(text, _FACE, scale, 1)[0][0])
    font, drawn = _chosen(text, scale)
    return round(font.getlength(drawn)) if font else int(cv2.getTextSize(drawn, _FACE, scale, 1)[0][0])


def put_text(
    image: ImageArray,
    text: str,
    corner: tuple[int, int],  # left end of the baseline, pixels
    scale: float,
    paint: tuple[int, int, int],
) -> None:
    """Draw a text; characters for which there is no font become question marks."""
    font = None
    if not opencv_draws(text):
        font, text = _chosen(text, scale)
    if font is None:
        cv2.putText(image, text, corner, _FACE, scale, paint, 1, cv2.LINE_AA)
        return
    height, width = image.shape[:2]
    cover = Image.new("L", (width, height))
    ImageDraw.Draw(cover).text(corner, text, fill=255, font=font, anchor="ls")
    share = np.asarray(cover)[..., None]
    where = share[..., 0] > 0
    mixed = (image[where] * (255 - share[where].astype(int)) + np.array(paint) * share[where]) // 255
    image[where] = mixed.astype(np.uint8)


@lru_cache(maxsize=256)
def _chosen(text: str, scale: float) -> tuple[ImageFont.FreeTypeFont | None, str]:
    """Return the font that has most characters of a text, and the text with ``?`` for those it lacks.

    Without any font, what is not ASCII becomes ``?``.
    """
    found = [_font(name, round(_CAPITAL * scale)) for name in _FONTS]
    drawn = [(font, "".join(c if _has(font, c) else "?" for c in text)) for font in (*found, None)]
    best = min(drawn, key=lambda item: item[1].count("?"))
    if best[1] != text:
        _say_missing_once()
    return best


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """Return a font of the system, or None where it is not installed."""
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _has(font: ImageFont.FreeTypeFont | None, character: str) -> bool:
    """Tell whether a font has a character; None: OpenCV's own, which has ASCII."""
    if font is None:
        return character.isascii()
    return character.isspace() or _glyph(font, character) != _glyph(font, _NO_CHARACTER)


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    """Return the size and the pixels of a character."""
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@lru_cache(maxsize=1)
def _say_missing_once() -> None:
    """Warn, once in the life of the process, that a font is missing."""
    log.warning(
        "no font has all characters of a label, those that are missing are drawn as ?: install fonts-dejavu "
        "and fonts-noto-cjk, or OpenCV 5"
    )
