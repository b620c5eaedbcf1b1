"""Connected parts of masks on the sphere."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect, exact_fov


def connected_components(
    mask: NDArray[np.bool_], connectivity: int, vertical_fov: float
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Connected parts [h, w], 0 = not in the mask, and the solid angle of each (of part 0 too).

    ``connectivity`` 8 or 4: whether corners join. They do so across the seam and at the poles, too.
    """
    height, width = mask.shape
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    parts, names = np.asarray(labels), np.arange(count)
    for a, b in _neighbours_outside(parts, connectivity == 8, exact_fov(vertical_fov) == math.pi):
        if a and b:
            names[names == names[b]] = names[a]
    parts = names[parts].astype(np.int32)
    angles = Equirect(2 * height, height, vertical_fov).pixel_solid_angles()  # networks may be square
    return parts, np.asarray(np.bincount(parts.ravel(), angles.repeat(width), count), float)


def _neighbours_outside(parts: NDArray[np.int32], corners: bool, poles: bool) -> NDArray[np.int32]:
    """Pairs [N, 2] of parts that meet where the image ends."""
    first, last = parts[:, 0], parts[:, -1]
    meetings = [(first, last)]
    if corners:
        meetings += [(first[1:], last[:-1]), (first[:-1], last[1:])]
    if corners and poles:
        meetings += [(np.full_like(row, row.max()), row) for row in (parts[0], parts[-1])]
    return np.unique(np.concatenate([np.stack(pair, 1) for pair in meetings]), axis=0)
