"""Boxes found in several views of one panorama: each thing once, and whole where views cut it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.detections.association import without_duplicates
from panosam2_ros.detections.boxes import DetectedBoxes
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.detections.placement import place_on_panorama
from panosam2_ros.geometry.angular_box import shared_solid_angles
from panosam2_ros.geometry.equirect import Equirect, box_width
from panosam2_ros.geometry.sphere import Floats


def join_views(parts: Sequence[PlacedBoxes], grid: Equirect, overlap: float) -> PlacedBoxes:
    """Return the things that boxes of overlapping views show, by falling score.

    A box that a border cuts counts only where no whole box of its thing was found. Pieces of one class that
    overlap are of one thing, which is as large as all of them together.
    """
    boxes = without_duplicates(PlacedBoxes.joined(parts), overlap)
    while (pair := _pieces(boxes)) is not None:
        first, second = pair
        left = [row for row in range(len(boxes)) if row not in pair]
        boxes = PlacedBoxes.joined([boxes.of(left), _union(boxes.of([first, second]), grid)])
    return without_duplicates(boxes, overlap)


def _pieces(boxes: PlacedBoxes) -> tuple[int, int] | None:
    """Return the rows of the best two pieces of one thing; None where there are none."""
    names = np.array(boxes.detected.classes)
    both: NDArray[np.bool_] = (names[:, None] == names) & boxes.cut[:, None] & boxes.cut
    both &= shared_solid_angles(boxes.angular, boxes.angular) > 0
    rows, columns = np.nonzero(np.triu(both, 1))
    return (int(rows[0]), int(columns[0])) if rows.size else None


def _union(pieces: PlacedBoxes, grid: Equirect) -> PlacedBoxes:
    """Return the box round two boxes, on the panorama; it is still cut, since there may be more pieces."""
    (left, top, wide, bottom), other = (_span(box, grid) for box in pieces.prompts)
    turns = round((left + wide / 2 - other[0] - other[2] / 2) / grid.width)
    begin = min(left, other[0] + turns * grid.width)
    end = max(left + wide, other[0] + turns * grid.width + other[2])
    edges = np.array([[begin - 0.5, min(top, other[1]) - 0.5, end + 0.5, max(bottom, other[3]) + 0.5]])
    best = pieces.detected.of([0])
    placed = place_on_panorama(DetectedBoxes(edges, best.scores, best.classes), grid)
    return PlacedBoxes(placed.detected, placed.angular, placed.prompts, np.array([True]))


def _span(box: Floats, grid: Equirect) -> tuple[float, float, float, float]:
    """Return first column, first row, number of columns less one, last row of a prompt's box."""
    u_min, v_min, u_max, v_max = box.tolist()
    return u_min, v_min, box_width(u_min, u_max, grid.width), v_max
