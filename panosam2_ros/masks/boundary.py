"""Outlines of what a small network finds, redrawn from the camera's own pixels by OpenCV's GrabCut.

Ours, not the paper's. A network that sees 512x256 pixels gives an object of 8 degrees six pixels of its
masks across, whatever the camera's resolution, and follows corners and gaps badly. In a window round its
mask the colours inside and outside say where the outline is: GrabCut, Rother et al. 2004,
doi 10.1145/1186562.1015720. What is remembered of an object is what the network saw.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from panosam2_ros.geometry.window import Logits, MaskPatch, Window

# Chosen on masks of training clips, whose mean IoU with the truth rises from 0.753 to 0.809.
_INSIDE = 1 / 20  # of a window's side: deeper in the mask all is the object ...
_OUTSIDE = 1 / 8  # ... and farther away nothing is
_ITERATIONS = 1  # 2 and 4 are no better
_LEAST_IOU = 0.4  # with the network's mask; another one is not its outline


def refine_boundaries(
    image: NDArray[np.uint8], masks: Mapping[int, Logits | MaskPatch], size: int, vertical_fov: float
) -> dict[int, MaskPatch]:
    """Objects' masks in windows of ``size`` x ``size`` pixels, by id.

    From an RGB image [H, W, 3] and, of the same panorama, logits [h, w] or windows of that size. Objects are
    left out whose mask is empty, or of which the colours say something else. The same input always gives the
    same.
    """
    found, pixels = {}, torch.from_numpy(image).permute(2, 0, 1)
    for obj_id, own in masks.items():
        patch = own if isinstance(own, MaskPatch) else _patch(own, size, vertical_fov)
        if patch is None:
            continue
        coarse, window = patch.logits, patch.window
        look = window.cut(pixels, size).permute(1, 2, 0).round().to(torch.uint8).contiguous().numpy()
        mask = _grab_cut(look, coarse > 0)
        if mask is not None:
            strength = np.float32(coarse[coarse > 0].mean())  # one for all: the outline is half way between
            found[obj_id] = MaskPatch(np.where(mask, strength, -strength), window)
    return found


def _patch(logits: Logits, size: int, vertical_fov: float) -> MaskPatch | None:
    """The window round a mask; None where it is empty."""
    window = Window.around(logits > 0, vertical_fov=vertical_fov)
    if window is None:
        return None
    return MaskPatch(window.cut(torch.from_numpy(logits)[None], size)[0].numpy(), window)


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
