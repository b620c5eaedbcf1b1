"""Scenes of two colours, and masks of what is in them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

HEIGHT, WIDTH = 32, 64  # of masks


RED, BLUE, GREEN = (220, 30, 30), (30, 40, 210), (30, 200, 60)


def disc(column: int, radius: int = 6, size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.bool_]:
    """[H, W], in the middle row, across the seam."""
    v, u = np.mgrid[: size[0], : size[1]]
    across = (u - column + size[1] // 2) % size[1] - size[1] // 2
    return np.asarray(across**2 + (v - size[0] // 2) ** 2 <= radius**2)


def painted(mask: NDArray[np.bool_], colour: tuple[int, ...], ground: tuple[int, ...]) -> torch.Tensor:
    """Image [1, 3, H, W]."""
    image = np.where(mask[..., None], np.array(colour), np.array(ground))
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def logits(mask: NDArray[np.bool_]) -> torch.Tensor:
    return torch.from_numpy(np.where(mask, 3.0, -3.0)).float()[None, None]
