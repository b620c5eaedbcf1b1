"""A panorama at the scales at which search regions sample it."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.image_types import ImageArray

SUBPIXELS = cv2.INTER_TAB_SIZE  # steps of a pixel in which OpenCV samples
LEAST_ROWS = 4  # of a level that has a coarser one


class ImagePyramid:
    """Levels of an image, averaged over 2, 4 ... pixels in both directions, against aliasing.

    Each level has half the rows of the one before, but all columns: which columns are averaged would
    otherwise depend on the position of the seam. So an object looks the same however the panorama is rolled.
    """

    def __init__(self, image: ImageArray) -> None:
        """Start with the image; its levels are computed when they are first needed."""
        self._levels = [image]

    def at(self, density: float) -> tuple[ImageArray, float]:
        """Return the coarsest level that still has about ``density`` pixels per rad of longitude.

        Also returns the level's column offset: what a pixel shows lies that many columns to its left.
        """
        height, width = self._levels[0].shape[:2]
        index = level_index(width, height, density)
        while len(self._levels) <= index:
            self._levels.append(_halved(self._levels[-1], 2 ** (len(self._levels) - 1)))
        return self._levels[index], column_offset(index)


def level_index(width: int, height: int, density: float) -> int:
    """Return which level of an image is the coarsest that still has about ``density`` pixels per rad."""
    index = 0
    while width > 1.5 * density * 2 * math.pi * 2**index and height >> index >= LEAST_ROWS:
        index += 1
    return index


def column_offset(index: int) -> float:
    """Return how many columns to the left of a level's pixel that lies which it shows."""
    return ((1 << index) - 1) / 2


def _halved(level: ImageArray, span: int) -> ImageArray:
    """Average pairs of rows, and every column with the one ``span`` to its left, across the seam."""
    rows = np.asarray(cv2.addWeighted(level[:-1:2], 0.5, level[1::2], 0.5, 0), np.uint8)
    flat, step = rows.reshape(len(rows), -1), span * rows[0, 0].size  # three times as fast as with channels
    both = np.empty_like(flat)
    cv2.addWeighted(flat[:, step:], 0.5, flat[:, :-step], 0.5, 0, dst=both[:, step:])
    cv2.addWeighted(flat[:, :step], 0.5, flat[:, -step:], 0.5, 0, dst=both[:, :step])
    return both.reshape(rows.shape)


def sample(image: ImageArray, u: NDArray[np.int32], v: NDArray[np.int32]) -> ImageArray:
    """Sample a panorama [H, W, 3] bilinearly, across the seam, at places [h, w] in subpixels."""
    whole = np.empty((*u.shape, 2), np.int16)
    whole[..., 0], whole[..., 1] = u // SUBPIXELS, v // SUBPIXELS
    fraction = (v % SUBPIXELS * SUBPIXELS + u % SUBPIXELS).astype(np.uint16)
    return np.asarray(
        cv2.remap(image, whole, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.uint8
    )
