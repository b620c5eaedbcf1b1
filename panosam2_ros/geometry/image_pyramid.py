"""A panorama at the scales at which search regions look at it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from panosam2_ros.geometry.image_types import ImageArray


class ImagePyramid:
    """An image, averaged over 2, 4 ... pixels both ways, so that what is sampled coarsely is averaged first.

    Its rows are halved each time. Its columns are not: which of them came together would hang on where the
    seam lies. So an object looks the same however the panorama is turned.
    """

    def __init__(self, image: ImageArray) -> None:
        self._levels = [image]

    def at(self, density: float) -> tuple[ImageArray, float]:
        """The coarsest level with ``density`` (pixels per rad of longitude) or little less.

        And by how many columns what its pixels show lies left of them.
        """
        index, width = 0, self._levels[0].shape[1]
        while width > 1.5 * density * 2 * math.pi * 2**index and len(self._levels[index]) >= 4:
            if index + 1 == len(self._levels):
                self._levels.append(_halved(self._levels[index], 2**index))
            index += 1
        return self._levels[index], (2**index - 1) / 2


def _halved(level: ImageArray, span: int) -> ImageArray:
    """Averages over two rows and, at the lower right of both, over columns ``span`` apart."""
    rows = cv2.addWeighted(level[:-1:2], 0.5, level[1::2], 0.5, 0)
    flat, step = rows.reshape(len(rows), -1), span * rows[0, 0].size  # three times as fast as with channels
    both = np.empty_like(flat)
    cv2.addWeighted(flat[:, step:], 0.5, flat[:, :-step], 0.5, 0, dst=both[:, step:])
    cv2.addWeighted(flat[:, :step], 0.5, flat[:, -step:], 0.5, 0, dst=both[:, :step])
    return both.reshape(rows.shape)
