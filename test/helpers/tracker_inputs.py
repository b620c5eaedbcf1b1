"""Images without meaning, and masks given in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from panosam2_ros import Prompt

Image = NDArray[np.uint8]


def picture(seed: int = 0, width: int = 256, height: int = 128) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def mask_prompt(u: int, v: int, **options: int | str | bool) -> Prompt:
    mask = np.zeros((128, 256), bool)
    mask[v : v + 24, np.arange(u, u + 32) % 256] = True
    return Prompt(mask=mask, **options)  # type: ignore[arg-type]
