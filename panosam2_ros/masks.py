"""From mask logits at stride 4 to masks at the image's size, a crop at a time.

No object ever has a float tensor of the whole image: only the region round its mask is brought
to the image's size, bilinearly and across the seam, by two small matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panosam2_ros.equirect import Equirect, box_width, mask_box
from panosam2_ros.periodic import resize_matrix


@dataclass(frozen=True)
class MaskRegion:
    """Mask logits at the image's size, of the part of the image round a mask."""

    logits: NDArray[np.float32]  # [h, w]; > 0 is the object
    top: int  # row of logits[0]
    left: int  # column of logits[:, 0]; columns go on past the seam
    width: int  # of the image

    def column_slices(self) -> Iterator[tuple[slice, slice]]:
        """Pairs of columns in the image and in ``logits``: two where the region meets the seam."""
        count = self.logits.shape[1]
        before = min(count, self.width - self.left)
        yield slice(self.left, self.left + before), slice(0, before)
        if before < count:
            yield slice(0, count - before), slice(before, count)

    @property
    def rows(self) -> slice:
        """Rows in the image."""
        return slice(self.top, self.top + self.logits.shape[0])

    def mask(self, height: int) -> NDArray[np.bool_]:
        """The mask in the whole image, [height, width]."""
        mask = np.zeros((height, self.width), bool)
        for image, own in self.column_slices():
            mask[self.rows, image] = self.logits[:, own] > 0
        return mask


def upsample_region(
    mask_logits: Tensor,  # [h, w], stride 4
    grid: Equirect,
) -> MaskRegion | None:
    """The mask's surroundings at the size of ``grid``; None where the mask is empty."""
    box = mask_box((mask_logits > 0).cpu().numpy())
    if box is None:
        return None
    height, width = mask_logits.shape
    top, bottom = _span(box[1], box[3] - box[1], height, grid.height)
    left, right = _span(box[0], round(box_width(box[0], box[2], width)), width, grid.width)
    top, bottom = max(top, 0), min(bottom, grid.height)
    right = min(right, left + grid.width)
    rows = resize_matrix(height, grid.height, False, mask_logits)[top:bottom]
    columns = resize_matrix(width, grid.width, True, mask_logits)
    columns = columns[torch.arange(left, right, device=columns.device) % grid.width]
    logits = (rows @ mask_logits @ columns.T).float().cpu().numpy()
    return MaskRegion(logits, top, left % grid.width, grid.width)


def _span(first: int, extent: int, source: int, target: int) -> tuple[int, int]:
    """Range of target pixels that source pixels first..first + extent can reach."""
    scale = target / source
    return int((first - 1) * scale), int((first + extent + 2) * scale) + 1


def label_image(
    regions: dict[int, MaskRegion],  # by object id
    grid: Equirect,
) -> NDArray[np.uint16]:
    """[H, W] object ids, 0 = none; where masks overlap a pixel goes to the highest logit."""
    labels = np.zeros((grid.height, grid.width), np.uint16)
    best = np.zeros((grid.height, grid.width), np.float32)
    for obj_id, region in regions.items():
        for image, own in region.column_slices():
            logits, highest = region.logits[:, own], best[region.rows, image]
            wins = logits > highest
            np.copyto(highest, logits, where=wins)
            np.copyto(labels[region.rows, image], obj_id, where=wins)
    return labels
