"""The bearing of a mask in a search region, computed in the region's own pixels.

It does not depend on the panorama's resolution, nor on whether the mask is drawn in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import Bearing, MaskMoments, MaskOutline, bearing_of, outline_corners
from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.geometry.stereographic import from_plane, pixel_directions, side_of
from panosam2_ros.geometry.window import Logits


def region_bearing(region: SearchRegion, logits: Logits, *, mask_iou: float = 1.0) -> Bearing | None:
    """Compute the bearing of the mask of logits [s, s] in a region; None for an empty mask.

    See ``mask_bearing`` for direction and covariance.
    """
    mask, size = logits > 0, len(logits)
    if not mask.any():
        return None
    pixel = side_of(region.fov) / size
    rows, columns = outline_corners(mask)
    x, y = ((at / size - 0.5) * side_of(region.fov) for at in (columns, rows))
    outline = MaskOutline(
        from_plane(x, y) @ region.axes,
        lambda points: np.array([region.shows(point, mask) for point in points]),
    )
    return bearing_of(_moments(region, mask, pixel), outline, pixel, mask_iou=mask_iou)


def _moments(region: SearchRegion, mask: NDArray[np.bool_], pixel: float) -> MaskMoments:
    """Compute the moments of a mask [s, s]; ``pixel``: side of a pixel in the plane."""
    local: Floats = pixel_directions(len(mask), region.fov)[mask]
    weights = ((1 + local[:, 2]) / 2) ** 2  # solid angle of a place of the plane
    total = float(weights.sum())
    mean, second = weights @ local / total, (local.T * weights) @ local / total
    axes = region.axes
    return MaskMoments(total * pixel**2, mean @ axes, axes.T @ second @ axes)
