"""Windows of a panorama round objects: as wide as they are high on the sphere, and across the seam.

Near the poles a window has many columns for its rows, so that in it things look as they do at the equator.
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
MORE = 4.0  # ... and pixels of the mask on top
Logits = NDArray[np.float32]  # [h, w]; > 0 is the object
LEAST_COSINE = 0.1  # of the latitude by which columns are stretched


@dataclass(frozen=True)
class Window:
    """A rectangle in shares of the panorama's height and width; it goes on past the seam."""

    top: float
    left: float
    height: float
    width: float

    @classmethod
    def around(cls, mask: NDArray[np.bool_], vertical_fov: float = math.pi) -> Window | None:
        """The window round a mask [H, W] of a panorama, ``vertical_fov`` rad high; None where it is empty."""
        box = mask_box(mask)
        if box is None:
            return None
        rows, columns = mask.shape
        u_min, v_min, u_max, v_max = box
        high, wide = v_max - v_min + 1, box_width(u_min, u_max, columns) + 1
        middle_v, middle_u = (v_min + v_max + 1) / 2 / rows, (u_min + wide / 2) / columns
        window = cls.covering(middle_v, middle_u, high / rows, wide / columns, vertical_fov, MORE / rows)
        if window.width == 1:  # cut open where the least of it is, as near a pole, where a box says nothing
            share = torch.from_numpy(mask.sum(0, dtype=np.float64))
            window = replace(window, left=(float(mean_column(share[None])) + 0.5) / columns - 0.5)
        return window

    @classmethod
    def covering(
        cls, middle_v: float, middle_u: float, high: float, wide: float, vertical_fov: float, more: float = 0
    ) -> Window:
        """The window round what is ``high`` and ``wide``, and a margin; all in shares of the panorama."""
        cosine = max(math.cos((middle_v - 0.5) * vertical_fov), LEAST_COSINE)
        across = cosine * 2 * math.pi / vertical_fov  # a share of the width as one of the height
        side = MARGIN * max(high, wide * across) + more
        height, width = min(side, 1.0), min(side / across, 1.0)
        top = min(max(middle_v - height / 2, 0.0), 1 - height)
        return cls(top, middle_u - width / 2, height, width)

    def cut(self, panorama: Tensor, size: int) -> Tensor:
        """This window of a panorama [C, H, W], resampled to float [C, size, size].

        Bilinear where it grows, averaged with a triangle of at least four pixels where it shrinks.
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
    """Mask logits of a window of the panorama."""

    logits: Logits  # [S, S]; > 0 is the object
    window: Window


def _taps(start: float, extent: float, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Source pixels [n] that ``size`` samples of start..start + extent need, and their weights [size, n].

    Where there are more than four for a sample every second, third ... is enough.
    """
    step = extent / size
    centre = start + (np.arange(size) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    stride = max(1, int(step / 2))
    source = np.arange(math.floor(centre[0] - reach), math.ceil(centre[-1] + reach) + 1, stride)
    weights = np.maximum(1 - np.abs(source - centre[:, None]) / reach, 0)
    return source, (weights / weights.sum(1, keepdims=True)).astype(np.float32)
