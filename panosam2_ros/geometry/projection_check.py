"""Whether an image's content fits the projection that it is said to have.

Ours, by two facts. The corners beside image circles are black and their rims are not. In the chroma planes of
YUV images, which a grey image shows in its lower third, one row lies beside the next (I420), or U and V take
turns (NV12): halves of a row are alike there, or pixels with the next but one, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.image_types import ImageArray

_COLUMNS = 256  # that are looked at, of an image
_BLACK = 24  # largest value of a channel outside image circles; of 255, with noise and compression
_OUTSIDE, _INSIDE = 1.1, 0.9  # of a circle's radius: no camera's circles fit exactly
_RIM = 0.7  # from here to _INSIDE something must be seen: a panorama at night has black corners, too
_MOST_OUTSIDE, _LEAST_RIM = 0.95, 0.6  # shares: black outside, not black in the rim
_ROWS = 32  # of each part of a grey image that are looked at
_ALIKE, _UNLIKE = 0.35, 0.6  # differences as multiples of a row's standard deviation
_LEAST_CONTRAST = 1.0  # standard deviation of rows in which something can be seen


@dataclass(frozen=True)
class CircleEvidence:
    """How an image looks outside and inside two circles."""

    black_outside: float  # share of the pixels
    lit_rim: float  # share of the pixels just inside

    @property
    def are_circles(self) -> bool:
        """Whether two image circles explain the image better than a panorama does."""
        return self.black_outside >= _MOST_OUTSIDE and self.lit_rim >= _LEAST_RIM


def two_circles(image: ImageArray) -> CircleEvidence:
    """Measure how much an RGB image [H, W, 3] looks like two fisheye circles beside each other."""
    small = _subsampled(image)
    height, width = small.shape[:2]
    radius = min(width / 4, height / 2)
    u = (np.arange(width) + 0.5) % (width / 2) - width / 4
    v = np.arange(height) + 0.5 - height / 2
    distance = np.hypot(u, v[:, None]) / radius
    black = small.max(-1) <= _BLACK
    outside, rim = distance > _OUTSIDE, (distance > _RIM) & (distance < _INSIDE)
    if not (outside.any() and rim.any()):  # of a few pixels
        return CircleEvidence(0.0, 0.0)
    return CircleEvidence(float(black[outside].mean()), 1 - float(black[rim].mean()))


def is_planar_yuv(grey: NDArray[np.uint8]) -> bool:
    """Return whether a grey image [H, W] is one of planes: brightness above, chroma in its lower third."""
    border = grey.shape[0] * 2 // 3
    above, below = _rows(grey[:border]), _rows(grey[border:])
    if (
        min(above.shape[0], below.shape[0]) < 2
        or min(above.std(1).mean(), below.std(1).mean()) < _LEAST_CONTRAST
    ):
        return False
    halves = _half_row_difference(below) < _ALIKE and _half_row_difference(above) > _UNLIKE
    interleaved = _alternates(below) and not _alternates(above)
    return bool(halves or interleaved)


def _rows(part: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return some rows of a part of an image, of an even width."""
    step = max(1, part.shape[0] // _ROWS)
    return part[::step, : part.shape[1] // 2 * 2].astype(np.float32)


def _half_row_difference(rows: NDArray[np.float32]) -> float:
    """Return how much the left and the right half of rows differ, as a multiple of their contrast."""
    left, right = np.split(rows, 2, axis=1)
    contrast = (left.std(1) + right.std(1)).mean() / 2
    return float(np.abs(left - right).mean() / max(contrast, 1e-6))


def _alternates(rows: NDArray[np.float32]) -> bool:
    """Return whether pixels are more like the next but one than like the next."""
    next_one, next_but_one = (np.abs(rows[:, n:] - rows[:, :-n]).mean() for n in (1, 2))
    return bool(next_one > max(2 * next_but_one, _LEAST_CONTRAST))


def _subsampled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return every n-th pixel in both directions; a view."""
    step = max(1, image.shape[1] // _COLUMNS)
    return image[::step, ::step]
