"""Refinement of a small network's mask boundaries in the camera's own pixels by OpenCV's GrabCut.

Ours, not the paper's. In the masks of a network with an input of 512x256 pixels an object of 8 degrees is six
pixels wide, whatever the camera's resolution, and corners and gaps are lost. In a window around the mask
the colours inside and outside locate the boundary: GrabCut, Rother et al. 2004,
doi 10.1145/1186562.1015720. The tracker's memory keeps the network's own masks.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.window import Logits, MaskPatch, Window

# Chosen on masks of training clips, whose mean IoU with the ground truth rises from 0.753 to 0.809.
_INSIDE = 1 / 20  # of a window's side: deeper inside the mask every pixel is the object ...
_OUTSIDE = 1 / 8  # ... and farther outside none is
# On frames of five sequences of val (box prompts) windows of 96 pixels, cut in one go, have a mean J of 0.763
# in 5.2 ms; learned at a half and cut at 88, smoothness 1.0, 0.768 in 3.2 ms; cut at 80, 0.763 in 2.7 ms.
LARGEST_WINDOW = 88  # pixels
_LEARNING_SIZE = 44  # side, pixels, about, of the windows in which colours are learned
_SMOOTHNESS = 0.7  # standard deviation, pixels, of the boundary; lines of one pixel stay
_MIN_IOU = 0.4  # of the refined mask with the network's; one with less is discarded


def refine_boundaries(
    pyramid: ImagePyramid, masks: Mapping[int, Logits | MaskPatch], size: int, vertical_fov: float
) -> dict[int, MaskPatch]:
    """Refine objects' masks in windows of ``size`` x ``size`` pixels, and return them by id.

    ``pyramid``: of an RGB image; ``masks`` are logits [h, w] of the same panorama, or windows of ``size``.
    Pixels of one object are background for the others. Objects are omitted whose mask is empty or whose
    refined mask differs too much. The result is deterministic.
    """
    patches, refined = {}, {}
    for obj_id, own in masks.items():
        patch = own if isinstance(own, MaskPatch) else _patch(own, size, vertical_fov)
        if patch is not None:
            patches[obj_id] = patch
    for obj_id, patch in patches.items():
        coarse, window = patch.logits, patch.window
        others = np.zeros((size, size), bool)
        for other_id, other in patches.items():
            if other_id != obj_id:
                others |= other.mask_in(window, size)
        mask = _grab_cut(window.pixels(pyramid, size, vertical_fov=vertical_fov), coarse > 0, others)
        if mask is not None:
            # one magnitude for all pixels puts the boundary half way between them
            strength = np.float32(coarse[coarse > 0].mean())
            signs = cv2.GaussianBlur(np.where(mask, strength, -strength), (0, 0), _SMOOTHNESS)
            refined[obj_id] = MaskPatch(np.asarray(signs, np.float32), window)
    return refined


def _patch(logits: Logits, size: int, vertical_fov: float) -> MaskPatch | None:
    """Cut the window around a mask out of its logits; None for an empty mask."""
    window = Window.around(logits > 0, vertical_fov=vertical_fov)
    if window is None:
        return None
    return MaskPatch(window.cut(logits, size), window)


def _grab_cut(
    image: ImageArray, found: NDArray[np.bool_], others: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    """Refine a mask [S, S] by the colours of an image [S, S, 3], beside the masks of ``others`` [S, S].

    The colours are learned at a lower resolution; then only the part is cut that may be the object. None
    where nothing is certainly the object or the background, or where the result differs too much.
    """
    labels = _grab_cut_labels(found)
    labels[others & ~found] = cv2.GC_BGD
    step = max(len(found) // _LEARNING_SIZE, 1)
    coarse = np.ascontiguousarray(labels[::step, ::step])
    if not _has_both(labels) or not _has_both(coarse):
        return None
    small = cv2.resize(image, coarse.shape[::-1], interpolation=cv2.INTER_AREA)
    colours = np.zeros((1, 65)), np.zeros((1, 65))  # OpenCV's mixtures of Gaussians
    cv2.setRNGSeed(0)  # which start at random
    cv2.grabCut(small, coarse, None, *colours, 0, cv2.GC_INIT_WITH_MASK)
    left, top, width, height = cv2.boundingRect((labels != cv2.GC_BGD).astype(np.uint8))
    part = (slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1))
    cut = np.ascontiguousarray(labels[part])
    cv2.grabCut(np.ascontiguousarray(image[part]), cut, None, *colours, 1, cv2.GC_EVAL_FREEZE_MODEL)
    mask = np.zeros_like(found)
    mask[part] = cut & 1
    iou = (mask & found).sum() / (mask | found).sum()
    return mask if iou >= _MIN_IOU else None


def _grab_cut_labels(found: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return what is certainly or probably the object or the background, as OpenCV names it."""
    side, kernel, own = len(found), np.ones((3, 3), np.uint8), found.astype(np.uint8)
    inside = cv2.erode(own, kernel, iterations=round(side * _INSIDE), borderValue=0)
    near = cv2.dilate(own, kernel, iterations=round(side * _OUTSIDE))
    labels = np.where(own, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[inside > 0], labels[near == 0] = cv2.GC_FGD, cv2.GC_BGD
    return np.asarray(labels, np.uint8)


def _has_both(labels: NDArray[np.uint8]) -> bool:
    """Return whether some pixels may be the object, and some the background."""
    foreground = labels & 1  # GC_FGD and GC_PR_FGD are odd
    return bool(foreground.any() and not foreground.all())
