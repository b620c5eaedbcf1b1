"""Whether an image's content fits the projection that it is said to have.

Ours, by three facts. The corners beside image circles are black and their rims are not. A panorama has a
picture in these corners, and its columns join where its halves meet. In the chroma planes of YUV images,
which a grey image shows in its lower third, one row lies beside the next (I420), or U and V take turns
(NV12): halves of a row are alike there, or pixels with the next but one, and nowhere else.
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
_LEAST_LIT = 0.5  # share of a panorama's pixels in the corners that are not black
_LEAST_SPREAD = 6.0  # standard deviation there, of 255: cameras may paint what lies beside the circles
_JOINED = 6.0  # largest difference of columns that join, by that of others; stitching and codecs add to it
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


@dataclass(frozen=True)
class PanoramaEvidence:
    """How an image looks beside two circles, and where its halves meet."""

    lit_outside: float  # share of the pixels beside two circles that are not black
    spread_outside: float  # standard deviation of their brightness, of 255
    widest_step: float  # larger difference of the columns at both borders of the halves; others: 1

    @property
    def is_panorama(self) -> bool:
        """Whether one panorama explains the image better than two fisheye circles do."""
        lit = self.lit_outside >= _LEAST_LIT and self.spread_outside >= _LEAST_SPREAD
        return lit and self.widest_step <= _JOINED


def two_circles(image: ImageArray) -> CircleEvidence:
    """Measure how much an RGB image [H, W, 3] looks like two fisheye circles beside each other."""
    small = _subsampled(image)
    distance = _circle_distance(small)
    black = small.max(-1) <= _BLACK
    outside, rim = distance > _OUTSIDE, (distance > _RIM) & (distance < _INSIDE)
    if not (outside.any() and rim.any()):  # of a few pixels
        return CircleEvidence(0.0, 0.0)
    return CircleEvidence(float(black[outside].mean()), 1 - float(black[rim].mean()))


def one_panorama(image: ImageArray) -> PanoramaEvidence:
    """Measure how much an RGB image [H, W, 3] looks like a panorama and not like two fisheye circles."""
    small = _subsampled(image)
    brightness = small[_circle_distance(small) > _OUTSIDE].max(-1)
    if not brightness.size:  # of a few pixels
        return PanoramaEvidence(0.0, 0.0, np.inf)
    lit = float((brightness > _BLACK).mean())
    return PanoramaEvidence(lit, float(brightness.std()), _widest_step(image))


def _circle_distance(image: ImageArray) -> NDArray[np.floating]:
    """Return distances [H, W] from the centre of a circle in each half of an image; 1: its edge."""
    height, width = image.shape[:2]
    u = (np.arange(width) + 0.5) % (width / 2) - width / 4
    v = np.arange(height) + 0.5 - height / 2
    return np.asarray(np.hypot(u, v[:, None]) / min(width / 4, height / 2))


def _widest_step(image: ImageArray) -> float:
    """Measure how much columns differ where the halves meet, in the middle and round the back."""
    width = image.shape[1]
    step = max(1, width // _COLUMNS)
    lines = image[:: max(1, image.shape[0] // (2 * _ROWS))]

    def difference(left: NDArray[np.intp]) -> NDArray[np.floating]:
        pairs = lines[:, left].astype(np.float32) - lines[:, (left + 1) % width]
        return np.asarray(np.abs(pairs).mean((0, 2)))

    usual = float(np.median(difference(np.arange(0, width - 1, step))))
    borders = difference(np.array([width // 2 - 1, width - 1]))
    return float(borders.max() / max(usual, _LEAST_CONTRAST))


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
