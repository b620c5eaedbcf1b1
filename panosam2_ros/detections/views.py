"""Boxes found in several views of one panorama: each thing once, and whole where views cut it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.detections.association import same_thing, without_duplicates
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
    boxes = PlacedBoxes.joined(parts)
    whole, pieces = boxes.of(np.flatnonzero(~boxes.cut)), boxes.of(np.flatnonzero(boxes.cut))
    of_whole = same_thing(pieces.angular, whole.angular, _like(pieces, whole), overlap).any(1)
    pieces = pieces.of(np.flatnonzero(~of_whole))
    while (pair := _overlapping(pieces)) is not None:
        left = [row for row in range(len(pieces)) if row not in pair]
        pieces = PlacedBoxes.joined([pieces.of(left), _union(pieces.of(pair), grid)])
    return without_duplicates(PlacedBoxes.joined([whole, pieces]), overlap)


def _like(boxes: PlacedBoxes, others: PlacedBoxes) -> NDArray[np.bool_]:
    """Tell which of N boxes and M others have one class, [N, M]."""
    names = [[one == other for other in others.detected.classes] for one in boxes.detected.classes]
    return np.array(names, bool).reshape(len(boxes), len(others))


def _overlapping(pieces: PlacedBoxes) -> tuple[int, int] | None:
    """Return the rows of the best two pieces of one class that overlap; None where there are none."""
    both = _like(pieces, pieces) & (shared_solid_angles(pieces.angular, pieces.angular) > 0)
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
