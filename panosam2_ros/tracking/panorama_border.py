"""Masks end where a panorama ends: above and below a cropped one a search region shows no image.

There the region repeats the first or last row, and a network may go on with an object that reaches it. What
lies outside has no pixels in the label image, and must not move a bearing nor keep an object visible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector, vector_to_lonlat
from panosam2_ros.geometry.window import Logits
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.tracking.view import InputView, NetworkInput, SearchRegionView

_BESIDE = 5  # pixels across: what lies within two pixels of the border reaches it


def cut_to_panorama(
    result: PropagationResult, views: Sequence[InputView], network: NetworkInput
) -> PropagationResult:
    """Return the result without mask pixels outside the panorama; who has no others is not present."""
    if network.vertical_fov == math.pi:
        return result
    cut, logits = {}, result.host.logits
    for row, view in enumerate(views):
        if not isinstance(view, SearchRegionView):
            continue
        outside = view.region.outside(logits.shape[-1], network.vertical_fov)
        if outside is not None and (logits[row][outside] > 0).any():
            cut[row] = np.where(outside, -np.abs(logits[row]), logits[row])
    return result.answered(result.host.with_masks(cut)) if cut else result


def reaches_border(view: InputView, logits: Logits, network: NetworkInput) -> bool:
    """Return whether a mask, logits [h, w] in a view, ends where a cropped panorama ends.

    Its middle does not move as the object does.
    """
    if network.vertical_fov == math.pi:
        return False
    if not isinstance(view, SearchRegionView):
        return bool((logits[[0, -1]] > 0).any())
    outside = view.region.outside(logits.shape[-1], network.vertical_fov)
    if outside is None:
        return False
    beside = cv2.dilate(outside.astype(np.uint8), np.ones((_BESIDE, _BESIDE), np.uint8)) > 0
    return bool((logits[beside] > 0).any())


def limited_to_panorama(direction: Floats, vertical_fov: float) -> Floats:
    """Return the direction [3] at the nearest latitude that a panorama shows."""
    lon, lat = (float(angle) for angle in vector_to_lonlat(direction))
    if abs(lat) <= vertical_fov / 2:
        return direction
    return lonlat_to_vector(lon, math.copysign(vertical_fov / 2, lat))
