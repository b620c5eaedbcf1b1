"""Rendering of mask logits at stride 4 to masks and a label image at the image's size.

No object needs a float array of the whole image: logits are resized bilinearly and across the seam, in
bands of rows, and only around the mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from panosam2_ros.geometry.circular import resize_matrix
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.window import Logits, MaskPatch

_BAND = 64  # rows of the image at a time


def resize_labels(labels: NDArray[np.uint16], width: int, height: int) -> NDArray[np.uint16]:
    """Resize a label image [H, W] by nearest neighbour."""
    # INTER_NEAREST samples at corners, half a pixel from where INTER_AREA puts the image
    how = cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(labels, (width, height), interpolation=how), np.uint16)


def resize_mask(mask: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """Resize a mask [H, W] by nearest neighbour; one of that size is returned as it is."""
    if mask.shape == (height, width):
        return mask
    return resize_labels(mask.astype(np.uint16), width, height) > 0


@dataclass(frozen=True, eq=False)
class MaskRegion:
    """A mask at the image's size, cropped to the part of the image around it."""

    mask: NDArray[np.bool_]  # [h, w]
    top: int  # row of mask[0]
    left: int  # column of mask[:, 0]; the region may extend past the seam
    width: int  # of the image

    def column_slices(self) -> Iterator[tuple[slice, slice]]:
        """Yield pairs of columns of the image and of ``mask``, two where the region crosses the seam."""
        count = self.mask.shape[1]
        before = min(count, self.width - self.left)
        yield slice(self.left, self.left + before), slice(0, before)
        if before < count:
            yield slice(0, count - before), slice(before, count)

    def whole(self, height: int) -> NDArray[np.bool_]:
        """Return the mask in the whole image, [height, width]."""
        mask = np.zeros((height, self.width), bool)
        for image, own in self.column_slices():
            mask[self.top : self.top + self.mask.shape[0], image] = self.mask[:, own]
        return mask


def render_label_image(
    logits: Mapping[int, Logits | MaskPatch],  # by object id; of the whole panorama, or of a window
    grid: Equirect,
) -> tuple[NDArray[np.uint16], dict[int, MaskRegion]]:
    """Render a label image [H, W] of object ids, 0 = none, and every mask that is not empty.

    Where masks overlap, the label image shows the object with the highest logit.
    """
    labels = np.zeros((grid.height, grid.width), np.uint16)
    cropped = ((obj_id, _CroppedLogits.of(own, grid)) for obj_id, own in logits.items())
    shown = {obj_id: crop for obj_id, crop in cropped if crop is not None}
    for first in range(0, grid.height, _BAND):
        band = labels[first : first + _BAND]
        best = np.zeros(band.shape, np.float32)
        for obj_id, crop in shown.items():
            crop.render(band, best, first, obj_id)
    return labels, {obj_id: crop.region for obj_id, crop in shown.items() if crop.region.mask.any()}


@dataclass(frozen=True, eq=False)
class _CroppedLogits:
    """An object's logits around its mask, resized to the image's width but not yet to its height."""

    logits: Logits  # [h, columns of region]
    low: NDArray[np.int64]  # [rows of region] the upper of the two rows of ``logits`` to interpolate
    weight: Logits  # [rows of region, 1] of the lower one
    region: MaskRegion  # filled band by band

    @classmethod
    def of(cls, logits: Logits | MaskPatch, grid: Equirect) -> _CroppedLogits | None:
        """Crop logits of the whole panorama or of a window; None for an empty mask."""
        return cls._of_patch(logits, grid) if isinstance(logits, MaskPatch) else cls._of_all(logits, grid)

    @classmethod
    def _of_patch(cls, patch: MaskPatch, grid: Equirect) -> _CroppedLogits | None:
        """Crop the logits of a window."""
        logits, window = patch.logits, patch.window
        mask = logits > 0
        if not mask.any():
            return None
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        top, bottom = _covered(rows, len(logits), window.top, window.height, grid.height)
        left, right = _covered(columns, logits.shape[1], window.left, window.width, grid.width)
        top, bottom = max(top, 0), min(bottom, grid.height)
        right = min(right, left + grid.width)
        down = _samples(range(top, bottom), grid.height, window.top, window.height, len(logits))
        along = _samples(range(left, right), grid.width, window.left, window.width, logits.shape[1])
        low, weight = _neighbours(along, logits.shape[1])
        across = logits[:, low] * (1 - weight) + logits[:, low + 1] * weight
        low, weight = _neighbours(down, len(logits))
        mask = np.zeros((bottom - top, right - left), bool)
        return cls(across, low, weight[:, None], MaskRegion(mask, top, left % grid.width, grid.width))

    @classmethod
    def _of_all(cls, logits: Logits, grid: Equirect) -> _CroppedLogits | None:
        """Crop the logits of the whole panorama."""
        box = mask_box(logits > 0)
        if box is None:
            return None
        height, width = logits.shape
        top, bottom = _span(box[1], box[3] - box[1], height, grid.height)
        left, right = _span(box[0], round(box_width(box[0], box[2], width)), width, grid.width)
        top, bottom = max(top, 0), min(bottom, grid.height)
        right = min(right, left + grid.width)
        source = torch.from_numpy(logits)
        matrix = resize_matrix(width, grid.width, source, wrap=True)
        across = source @ matrix[torch.arange(left, right) % grid.width].T
        rows = np.clip((np.arange(top, bottom) + 0.5) * height / grid.height - 0.5, 0, height - 1)
        low, weight = _neighbours(rows, height)
        mask = np.zeros((bottom - top, right - left), bool)
        return cls(across.numpy(), low, weight[:, None], MaskRegion(mask, top, left % grid.width, grid.width))

    def render(self, band: NDArray[np.uint16], best: Logits, first: int, obj_id: int) -> None:
        """Render this object into a band of the label image that begins at row ``first``.

        Fills the same rows of the region's mask, and writes the id and ``best`` where its logit is higher.
        """
        start = max(first - self.region.top, 0)
        stop = min(first + len(band) - self.region.top, len(self.low))
        if start >= stop:
            return
        low, weight = self.low[start:stop], self.weight[start:stop]
        logits = self.logits[low] * (1 - weight) + self.logits[low + 1] * weight
        np.greater(logits, 0, out=self.region.mask[start:stop])
        rows = slice(self.region.top + start - first, self.region.top + stop - first)
        for image, own in self.region.column_slices():
            wins = logits[:, own] > best[rows, image]
            np.copyto(best[rows, image], logits[:, own], where=wins)
            np.copyto(band[rows, image], obj_id, where=wins)


def _span(first: int, extent: int, source: int, target: int) -> tuple[int, int]:
    """Return the range of target pixels that source pixels first..first + extent influence."""
    scale = target / source
    return int((first - 1) * scale), int((first + extent + 2) * scale) + 1


def _covered(
    found: NDArray[np.int64], count: int, start: float, extent: float, pixels: int
) -> tuple[int, int]:
    """Return the range of the image's pixels that some of a window's ``count`` samples influence.

    ``start`` and ``extent`` of the window are fractions of the image's ``pixels``; ``found`` are the samples.
    """
    ends = start + (np.array([found[0] - 0.5, found[-1] + 1.5]) / count) * extent
    return math.floor(ends[0] * pixels), math.ceil(ends[1] * pixels)


def _samples(at: range, pixels: int, start: float, extent: float, count: int) -> NDArray[np.float64]:
    """Return the positions of pixels ``at`` among a window's ``count`` samples, limited to its ends."""
    places = ((np.array(at) + 0.5) / pixels - start) / extent * count - 0.5
    return np.asarray(places.clip(0, count - 1))


def _neighbours(places: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], Logits]:
    """Return the first of the two samples, of ``count``, around each place [n], and the second's weight."""
    low = np.minimum(places.astype(np.int64), count - 2)
    return low, (places - low).astype(np.float32)
