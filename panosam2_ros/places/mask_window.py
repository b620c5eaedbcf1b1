"""Distances of pixels to the edge of a mask, in a window round the mask that may cross the seam."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box

_LEAST_COSINE = 0.1  # of a latitude: nearer to a pole columns are not made any narrower


@dataclass(frozen=True, eq=False)
class MaskWindow:
    """A mask cut out with a border, with every pixel's angle to the mask's edge.

    Columns are scaled with the cosine of the middle latitude, so that angles are the same both ways.
    """

    top: int
    left: int
    height: int
    width: int
    columns: int  # of the panorama
    depth: NDArray[np.float32]  # [h, w'] rad to the mask's edge: positive inside, negative outside

    @classmethod
    def around(cls, mask: NDArray[np.bool_], grid: Equirect, border: float) -> MaskWindow | None:
        """Cut a mask [H, W] out with ``border`` rad on every side; None for an empty mask."""
        box = mask_box(mask)
        if box is None:
            return None
        u_min, v_min, u_max, v_max = box
        pixel = grid.vertical_fov / grid.height
        down = math.ceil(border / pixel) + 1
        latitude = grid.pixel_to_lonlat(0, (v_min + v_max) / 2)[1]
        cosine = max(float(np.cos(latitude)), _LEAST_COSINE)
        across = math.ceil(border / (2 * math.pi / grid.width * cosine)) + 1
        top, bottom = max(v_min - down, 0), min(v_max + down, grid.height - 1)
        width = min(int(box_width(u_min, u_max, grid.width)) + 1 + 2 * across, grid.width)
        left = (u_min - across) % grid.width
        columns = np.arange(left, left + width) % grid.width
        block = mask[top : bottom + 1, columns].view(np.uint8)
        narrow = max(round(width * cosine * (2 * math.pi / grid.width) / pixel), 1)
        block = cv2.resize(block, (narrow, block.shape[0]), interpolation=cv2.INTER_NEAREST)
        return cls(
            top, left, bottom - top + 1, width, grid.width, _signed_distance(block) * np.float32(pixel)
        )

    def depths(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the depth, rad, at pixels [N] of the panorama; -inf outside the window."""
        row, column = rows - self.top, (columns - self.left) % self.columns
        inside = (row >= 0) & (row < self.height) & (column < self.width)
        at = np.minimum(column[inside] * self.depth.shape[1] // self.width, self.depth.shape[1] - 1)
        found = np.full(len(rows), -np.inf, np.float32)
        found[inside] = self.depth[row[inside], at]
        return found


def _signed_distance(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return each pixel's distance, pixels, to the mask's edge, which lies between pixels."""
    precise = cv2.DIST_MASK_PRECISE
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, precise)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, precise)
    return np.asarray(np.where(mask > 0, inside - 0.5, 0.5 - outside), np.float32)
