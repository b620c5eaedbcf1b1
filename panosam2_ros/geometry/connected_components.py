"""Connected components of masks of panoramas, on the sphere, and of search regions.

Ours around OpenCV's, because no library joins components across the seam and over the poles.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect, exact_fov


def connected_components(
    mask: NDArray[np.bool_], connectivity: int, vertical_fov: float | None
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Label the connected components of a mask [h, w], and measure them.

    Returns labels [h, w], 0 = not in the mask, and the size of each label, of 0 too: the solid angle, sr, in
    a panorama that is ``vertical_fov`` rad high; the number of pixels in a plane, where that is None.
    ``connectivity`` is 8 or 4: with 8 pixels that touch at corners are connected, in panoramas also across
    the seam and at the poles. A label that was joined to another one has no pixels and the size 0.
    """
    height, width = mask.shape
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    parts, names = np.asarray(labels), np.arange(count)
    if vertical_fov is None:
        return parts, np.bincount(parts.ravel(), minlength=count).astype(float)
    full_sphere = exact_fov(vertical_fov) == math.pi
    for a, b in _adjacent_across_borders(parts, corners=connectivity == 8, full_sphere=full_sphere):
        if a and b:
            names[names == names[b]] = names[a]
    parts = names[parts].astype(np.int32)
    # the mask of a network with a square input has another aspect ratio; only the rows' height matters
    angles = Equirect(2 * height, height, vertical_fov).pixel_solid_angles()
    return parts, np.asarray(np.bincount(parts.ravel(), angles.repeat(width), count), float)


def _adjacent_across_borders(
    parts: NDArray[np.int32], *, corners: bool, full_sphere: bool
) -> NDArray[np.int32]:
    """List the pairs [N, 2] of labels that are adjacent across the seam or, of a full sphere, at a pole."""
    first, last = parts[:, 0], parts[:, -1]
    adjacent = [(first, last)]
    if corners:
        adjacent += [(first[1:], last[:-1]), (first[:-1], last[1:])]
    if corners and full_sphere:
        adjacent += [(np.full_like(row, row.max()), row) for row in (parts[0], parts[-1])]
    return np.unique(np.concatenate([np.stack(pair, 1) for pair in adjacent]), axis=0)
