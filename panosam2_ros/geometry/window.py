"""Windows of a panorama around objects: as wide as high on the sphere, continuous across the seam.

Near the poles a window has many columns for its rows, so that things look in it as they do at the equator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panosam2_ros.geometry.circular import mean_column
from panosam2_ros.geometry.equirect import box_width, mask_box

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

    def cut(self, panorama: Tensor, size: int) -> Tensor:
        """Resample this window of a panorama [C, H, W] to float [C, size, size].

        Bilinear where it is enlarged, averaged with a triangular filter of at least four pixels where it is
        shrunk.
        """
        height, width = panorama.shape[-2:]
        rows, down = _taps(self.top * height, self.height * height, size)
        columns, across = _taps(self.left * width, self.width * width, size)
        inside = (rows >= 0) & (rows < height)
        down = down[:, inside]
        down /= down.sum(1, keepdims=True)
        rows = rows[inside]
        stride = rows[1] - rows[0] if len(rows) > 1 else 1
        part = panorama[:, rows[0] : rows[-1] + 1 : stride][..., torch.from_numpy(columns % width)].float()
        left, right = (torch.from_numpy(m).to(part) for m in (down, across))
        return left @ part @ right.T


@dataclass(frozen=True, eq=False)
class MaskPatch:
    """Mask logits in a window of the panorama."""

    logits: Logits  # [S, S]; > 0 is the object
    window: Window


def _taps(start: float, extent: float, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the source pixels [n] of ``size`` samples of start..start + extent, and weights [size, n].

    Where a sample covers more than four source pixels only every second, third ... is used.
    """
    step = extent / size
    centre = start + (np.arange(size) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    stride = max(1, int(step / 2))
    source = np.arange(math.floor(centre[0] - reach), math.ceil(centre[-1] + reach) + 1, stride)
    weights = np.maximum(1 - np.abs(source - centre[:, None]) / reach, 0)
    return source, (weights / weights.sum(1, keepdims=True)).astype(np.float32)
