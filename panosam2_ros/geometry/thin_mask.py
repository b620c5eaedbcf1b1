"""Thin parts of masks, kept where coarser pixels would lose them."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.search_region import SearchRegion

_PART = 0.3  # of its neighbours' largest share, from which a pixel of a thin part is in the mask


def region_mask(
    region: SearchRegion, mask: NDArray[np.bool_], size: int, *, vertical_fov: float = math.pi
) -> NDArray[np.bool_]:
    """Sample a panorama's mask [H, W] in a region, [size, size], with thin parts that samples miss.

    A sample shows the nearest pixel; pixels of parts that are thinner than two samples are drawn where they
    lie, except beside thicker parts.
    """
    shown = region.mask(mask, size, vertical_fov=vertical_fov)
    grid = Equirect(mask.shape[1], mask.shape[0], vertical_fov)
    thick = _thick_part(mask, region, size, grid)
    rows, columns = np.nonzero(mask & ~thick)
    places = np.rint(region.project(grid.pixel_to_vector(columns, rows), size)).astype(int)
    x, y = places[((places >= 0) & (places < size)).all(1)].T
    sampled = region.mask(thick, size, vertical_fov=vertical_fov).astype(np.uint8)
    beside = cv2.dilate(sampled, np.ones((3, 3), np.uint8)) > 0
    shown[y, x] |= ~beside[y, x]
    return shown


def _thick_part(
    mask: NDArray[np.bool_], region: SearchRegion, size: int, grid: Equirect
) -> NDArray[np.bool_]:
    """Return the mask [H, W] without the parts that are thinner than about two of the region's pixels."""
    thick, box = np.zeros_like(mask), mask_box(mask)
    if box is None:
        return thick
    pixel = 4 * math.tan(region.fov / 4) / size  # rad, in its middle, where it is the largest
    level = max(math.hypot(*region.axes[2, ::2]), 0.1)  # cosine of the latitude
    high = 2 * math.ceil(pixel * grid.height / grid.vertical_fov) + 1
    wide = 2 * math.ceil(pixel * grid.width / (2 * math.pi) / level) + 1
    rows, columns = slice(box[1], box[3] + 1), np.arange(box[0], box[2] + 1)
    if box[0] > box[2]:
        columns = np.arange(box[0], box[2] + 1 + grid.width) % grid.width
    part, kernel = mask[rows][:, columns].astype(np.uint8), np.ones((high, wide), np.uint8)
    thick[rows, columns] = cv2.morphologyEx(part, cv2.MORPH_OPEN, kernel, borderValue=0) > 0
    return thick


def with_thin_parts(share: NDArray[np.float32], *, wrap: bool) -> NDArray[np.float32]:
    """Raise the shares [h, w], 0..1, that a mask covers of pixels, so that thin parts have more than a half.

    Where no pixel of 3x3 is covered by more than half, those that the mask covers most are raised above it:
    a part thinner than half a pixel is then about one pixel wide. ``wrap``: the left and right sides are
    neighbours.
    """
    most = maximum_filter(share, 3, mode=("nearest", "wrap" if wrap else "nearest"))
    relative = share / np.maximum(most, 1e-6)
    thin = (most <= 0.5) & (relative >= _PART) & (share > 0)
    return np.asarray(np.where(thin, 0.5 + relative / 2, share), np.float32)
