"""Windows of a panorama around objects: as wide as high on the sphere, continuous across the seam.

Near the poles a window has many columns for its rows, so that things look in it as they do at the equator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from panosam2_ros.geometry.circular import mean_column
from panosam2_ros.geometry.equirect import box_width, mask_box
from panosam2_ros.geometry.image_pyramid import SUBPIXELS, ImagePyramid, sample
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats

MARGIN = 1.5  # a window's side as a multiple of its object's extent, ...
MORE = 4.0  # ... plus this many pixels of the mask
Logits = NDArray[np.float32]  # [h, w]; > 0 is the object
LEAST_COSINE = 0.1  # lower bound of cos(latitude), which limits how many columns a window has near the poles


@dataclass(frozen=True)
class Window:
    """A rectangle, as fractions of the panorama's height and width; it may extend past the seam."""

    top: float
    left: float
    height: float
    width: float

    @classmethod
    def around(cls, mask: NDArray[np.bool_], *, vertical_fov: float = math.pi) -> Window | None:
        """Return the window around a mask [H, W]; None for an empty mask.

        The panorama of the mask is ``vertical_fov`` rad high.
        """
        box = mask_box(mask)
        if box is None:
            return None
        rows, columns = mask.shape
        u_min, v_min, u_max, v_max = box
        high, wide = v_max - v_min + 1, box_width(u_min, u_max, columns) + 1
        centre = (v_min + v_max + 1) / 2 / rows, (u_min + wide / 2) / columns
        window = cls.covering(centre, (high / rows, wide / columns), vertical_fov, more=MORE / rows)
        if window.width == 1:  # all columns, as near a pole, where a box has no middle: centred on the mask
            counts = torch.from_numpy(mask.sum(0, dtype=np.float64))
            window = replace(window, left=(float(mean_column(counts[None])) + 0.5) / columns - 0.5)
        return window

    @classmethod
    def covering(
        cls,
        centre: tuple[float, float],  # v, u
        extent: tuple[float, float],  # height, width
        vertical_fov: float,  # rad, of the panorama
        *,
        more: float = 0.0,  # added to the side
    ) -> Window:
        """Return the window around an extent, with a margin; all in fractions of the panorama."""
        (middle_v, middle_u), (high, wide) = centre, extent
        cosine = max(math.cos((middle_v - 0.5) * vertical_fov), LEAST_COSINE)
        across = cosine * 2 * math.pi / vertical_fov  # converts fractions of the width to those of the height
        side = MARGIN * max(high, wide * across) + more
        height, width = min(side, 1.0), min(side / across, 1.0)
        top = min(max(middle_v - height / 2, 0.0), 1 - height)
        return cls(top, middle_u - width / 2, height, width)

    def pixels(self, pyramid: ImagePyramid, size: int, *, vertical_fov: float = math.pi) -> ImageArray:
        """Sample an image in this window, [size, size, 3]."""
        image, offset = pyramid.at(size / (self.height * vertical_fov))
        rows, columns = self._samples(image.shape[0], image.shape[1], size)
        u = np.rint((columns + offset) * SUBPIXELS).astype(np.int32)
        v = np.rint(rows * SUBPIXELS).astype(np.int32)
        return sample(image, *np.meshgrid(u, v))

    def cut(self, logits: Logits, size: int) -> Logits:
        """Resample this window of a panorama's logits [h, w] bilinearly to [size, size]."""
        rows, columns = self._samples(logits.shape[0], logits.shape[1], size)
        u, v = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        return np.asarray(cv2.remap(logits, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)

    def _samples(self, height: int, width: int, size: int) -> tuple[Floats, Floats]:
        """Compute the rows, limited to the panorama, and columns of ``size`` samples, in pixel indices."""
        at = (np.arange(size) + 0.5) / size
        rows = (self.top + at * self.height) * height - 0.5
        return rows.clip(0, height - 1), (self.left + at * self.width) * width - 0.5


@dataclass(frozen=True, eq=False)
class MaskPatch:
    """Mask logits in a window of the panorama."""

    logits: Logits  # [S, S]; > 0 is the object
    window: Window

    def mask_in(self, window: Window, size: int) -> NDArray[np.bool_]:
        """Sample the mask in another window, [size, size], by nearest neighbour; False outside of its own."""
        count, own, at = len(self.logits), self.window, (np.arange(size) + 0.5) / size
        down = (window.top + at * window.height - own.top) / own.height
        along = (window.left + at * window.width - own.left) % 1.0 / own.width
        rows, columns = (np.floor(x * count).astype(np.int64) for x in (down, along))
        inside = np.logical_and.outer((rows >= 0) & (rows < count), columns < count)
        shown = self.logits[np.ix_(rows.clip(0, count - 1), columns.clip(0, count - 1))] > 0
        return np.asarray(shown & inside)
