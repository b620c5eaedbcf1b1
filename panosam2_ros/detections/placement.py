"""Boxes of an image laid onto the sphere, and onto the panorama as boxes of prompts."""

from __future__ import annotations

import numpy as np

from panosam2_ros.detections.boxes import (
    DetectedBoxes,
    clipped,
    ends_at_border,
    ends_at_seam,
    joined_at_seam,
)
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.geometry.angular_box import AngularBoxes
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.geometry.sphere import Floats, normalised

_POINTS = 33  # on each line that says how far a box reaches
_NO_MEAN = 1e-6  # length of a mean vector below which it has no direction
_POLES = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])  # up and down in optical axes


def place_on_panorama(boxes: DetectedBoxes, grid: Equirect) -> PlacedBoxes:
    """Place boxes of the panorama itself; halves at the seam are joined first."""
    boxes = joined_at_seam(clipped(boxes, grid.width, grid.height, wraps=True), grid.width)
    left, right = ends_at_seam(boxes, grid.width)
    return PlacedBoxes(boxes, _of_panorama(boxes, grid), _prompt_boxes(boxes.edges, grid), left | right)


def place_through_view(boxes: DetectedBoxes, view: PerspectiveView, grid: Equirect) -> PlacedBoxes:
    """Place boxes of a perspective view of the panorama."""
    boxes = clipped(boxes, view.width, view.height, wraps=False)
    cut = ends_at_border(boxes, view.width, view.height)
    u_min, v_min, u_max, v_max = boxes.edges.T[..., None]
    u, v = (u_min + u_max) / 2, (v_min + v_max) / 2
    points = view.pixel_to_vector(
        np.concatenate([u_min, u_max, u, u], 1), np.concatenate([v, v, v_min, v_max], 1)
    )
    angular = AngularBoxes.around(view.pixel_to_vector(u[:, 0], v[:, 0]), points)
    at = np.linspace(0, 1, _POINTS)
    across, along, ones = u_min + at * (u_max - u_min), v_min + at * (v_max - v_min), np.ones_like(at)
    outlines = view.pixel_to_vector(
        np.concatenate([across, across, u_min * ones, u_max * ones], 1),
        np.concatenate([v_min * ones, v_max * ones, along, along], 1),
    )
    edges = [
        _outline_edges(line, _poles_within(view, box), grid)
        for line, box in zip(outlines, boxes.edges, strict=True)
    ]
    return PlacedBoxes(boxes, angular, _prompt_boxes(np.reshape(edges, (-1, 4)), grid), cut)


def _of_panorama(boxes: DetectedBoxes, grid: Equirect) -> AngularBoxes:
    """Return the extents on the sphere of boxes of a panorama.

    The middle of each side counts: a thing near a pole that fills its box leaves the corners empty.
    """
    u_min, v_min, u_max, v_max = boxes.edges.T[..., None]
    u, v = (u_min + u_max) / 2, (v_min + v_max) / 2
    at, ones = np.linspace(0, 1, _POINTS), np.ones(_POINTS)
    across = u_min + at * (u_max - u_min)
    wide = boxes.sizes[:, :1] > grid.width / 2
    # of a wide one, such as that of a thing over a pole, all of its level sides
    upper = grid.pixel_to_vector(np.where(wide, across, u * ones), v_min * ones)
    lower = grid.pixel_to_vector(np.where(wide, across, u * ones), v_max * ones)
    level = grid.pixel_to_vector(across, v * ones)
    centres = grid.pixel_to_vector(u[:, 0], v[:, 0])
    mean = np.concatenate([upper, level, lower], 1).mean(1)
    turned = wide & (np.linalg.norm(mean, axis=-1, keepdims=True) > _NO_MEAN)
    centres = normalised(np.where(turned, mean, centres))
    return AngularBoxes.around(centres, np.concatenate([upper, level, lower], 1))


def _prompt_boxes(edges: Floats, grid: Equirect) -> Floats:
    """Return the boxes [N, 4] of prompts: indices of the outermost pixels, with u_min > u_max on the seam."""
    width, height = grid.width, grid.height
    u_min, v_min, u_max, v_max = edges.T
    whole = u_max - u_min >= width - 1
    half = np.maximum((u_max - u_min - 1) / 2, 0.5)  # a prompt's box has an area
    middle = (u_min + u_max) / 2
    left, right = ((middle + side + 0.5) % width - 0.5 for side in (-half, half))
    left, right = np.where(whole, 0.0, left), np.where(whole, width - 1.0, right)
    row, rows = (v_min + v_max) / 2, np.maximum((v_max - v_min - 1) / 2, 0.5)
    row = row.clip(0.5, height - 1.5)
    top, bottom = (row - rows).clip(0, height - 1), (row + rows).clip(0, height - 1)
    return np.stack([left, top, right, bottom], -1)


def _poles_within(view: PerspectiveView, edges: Floats) -> tuple[bool, bool]:
    """Tell whether a view's box holds the upper pole, and the lower one."""
    u, v = view.vector_to_pixel(_POLES)
    upper, lower = (u >= edges[0]) & (u <= edges[2]) & (v >= edges[1]) & (v <= edges[3])
    return bool(upper), bool(lower)


def _outline_edges(outline: Floats, poles: tuple[bool, bool], grid: Equirect) -> Floats:
    """Return the edges [4] of the box of a panorama round an outline [P, 3] that may hold poles."""
    u, v = grid.vector_to_pixel(outline)
    top, bottom = max(v.min(), -0.5), min(v.max(), grid.height - 0.5)
    if any(poles):
        upper, lower = poles
        return np.array(
            [-0.5, -0.5 if upper else top, grid.width - 0.5, grid.height - 0.5 if lower else bottom]
        )
    columns = np.sort(u)
    gaps = np.diff(columns, append=columns[0] + grid.width)
    widest = int(np.argmax(gaps))  # the box has all columns but those of the widest gap
    begin = columns[(widest + 1) % columns.size]
    return np.array([begin, top, begin + grid.width - gaps[widest], bottom])
