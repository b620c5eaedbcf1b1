"""Outlines of what a small network finds, redrawn from the camera's own pixels by OpenCV's GrabCut.

Ours, not the paper's. A network that sees 512x256 pixels gives an object of 8 degrees six pixels of its
masks across, whatever the camera's resolution, and follows corners and gaps badly. In a window round its
mask the colours inside and outside say where the outline is: GrabCut, Rother et al. 2004,
doi 10.1145/1186562.1015720.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from panosam2_ros.equirect import Equirect
from panosam2_ros.masks import Logits, paint
from panosam2_ros.windows import Window

# Chosen on masks of training clips, whose mean IoU with the truth rises from 0.753 to 0.809.
_INSIDE = 1 / 20  # of a window's side: deeper in the mask all is the object ...
_OUTSIDE = 1 / 8  # ... and farther away nothing is
_ITERATIONS = 1  # 2 and 4 are no better
_FINER = 2  # times, a mask is drawn before its pixels' shares are taken
_LEAST_IOU = 0.4  # with the network's mask; another one is not its outline


@dataclass(frozen=True)
class Outline:
    """A mask in a window of a panorama."""

    logits: Logits  # [S, S]; > 0 is the object, all of one magnitude: the outline is half way between
    window: Window

    def drawn(self, logits: Logits, turn: float = 0.0) -> Logits:
        """This mask as logits like these, [h, w] of a whole panorama, magnitudes falling at its outline.

        ``turn``: share of its width by which that panorama is rolled right.
        """
        height, width = logits.shape
        grid = Equirect(_FINER * width, _FINER * height)
        window = replace(self.window, left=self.window.left + turn)
        _, regions = paint({1: self.logits}, grid, {1: window})
        if not regions:
            return np.full_like(logits, -self.logits.max())
        mask = regions[1].whole(grid.height).astype(np.float32)
        share = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        return (2 * share - 1) * self.logits.max()


def redrawn(
    image: NDArray[np.uint8], logits: Logits, size: int, vertical_fov: float, turn: float = 0.0
) -> Outline | None:
    """An object's mask in a window of ``size`` x ``size`` pixels.

    From logits [h, w] and an RGB image [H, W, 3] of one panorama, the logits rolled right by ``turn`` of its
    width. None where the mask is empty, or where the colours say something else. The same image and logits
    always give the same.
    """
    seen = Window.around(logits > 0, vertical_fov)
    if seen is None:
        return None
    window = replace(seen, left=seen.left - turn)
    coarse = seen.cut(torch.from_numpy(logits)[None], size)[0].numpy()
    pixels = window.cut(torch.from_numpy(image).permute(2, 0, 1), size)
    look = pixels.permute(1, 2, 0).round().to(torch.uint8).contiguous().numpy()
    mask = _grab_cut(look, coarse > 0)
    if mask is None:
        return None
    strength = np.float32(coarse[coarse > 0].mean())
    return Outline(np.where(mask, strength, -strength), window)


def _grab_cut(image: NDArray[np.uint8], found: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The mask [S, S] that the colours of an image [S, S, 3] say, near the one that was found; or None."""
    side, kernel, own = len(found), np.ones((3, 3), np.uint8), found.astype(np.uint8)
    inside = cv2.erode(own, kernel, iterations=round(side * _INSIDE), borderValue=0)
    near = cv2.dilate(own, kernel, iterations=round(side * _OUTSIDE))
    labels = np.where(own, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[inside > 0], labels[near == 0] = cv2.GC_FGD, cv2.GC_BGD
    foreground = labels & 1  # GC_FGD and GC_PR_FGD are odd
    if foreground.all() or not foreground.any():
        return None
    cv2.setRNGSeed(0)  # its mixtures of colours start from random ones
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(image, labels, None, *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    mask = (labels & 1).astype(bool)
    agree = (mask & found).sum() / (mask | found).sum()
    return mask if agree >= _LEAST_IOU else None
