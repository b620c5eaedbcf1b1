"""Boxes found in several views of one panorama: each thing once, and whole where views cut it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from panosam2_ros.detections.association import same_thing, without_duplicates
from panosam2_ros.detections.boxes import MOST_BOXES, DetectedBoxes
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
    boxes = boxes.of(np.arange(len(boxes))[:MOST_BOXES])
    whole, pieces = boxes.of(np.flatnonzero(~boxes.cut)), boxes.of(np.flatnonzero(boxes.cut))
    of_whole = same_thing(pieces.angular, whole.angular, _like(pieces, whole), overlap).any(1)
    pieces = pieces.of(np.flatnonzero(~of_whole))
    while (groups := _overlapping(pieces)) is not None:
        together = [reduce(partial(_union, grid=grid), (pieces.of([row]) for row in rows)) for rows in groups]
        pieces = PlacedBoxes.joined(together)
    return without_duplicates(PlacedBoxes.joined([whole, pieces]), overlap)


def _like(boxes: PlacedBoxes, others: PlacedBoxes) -> NDArray[np.bool_]:
    """Tell which of N boxes and M others have one class, [N, M]."""
    names = [[one == other for other in others.detected.classes] for one in boxes.detected.classes]
    return np.array(names, bool).reshape(len(boxes), len(others))


def _overlapping(pieces: PlacedBoxes) -> list[list[int]] | None:
    """Return the rows of pieces of one class that overlap, by groups; None where each is alone."""
    both = _like(pieces, pieces) & (shared_solid_angles(pieces.angular, pieces.angular) > 0)
    count, group = connected_components(both, directed=False)
    if count == len(pieces):
        return None
    return [np.flatnonzero(group == number).tolist() for number in range(count)]


def _union(one: PlacedBoxes, other: PlacedBoxes, grid: Equirect) -> PlacedBoxes:
    """Return the box round two boxes, on the panorama; it is still cut, since there may be more pieces."""
    (left, top, wide, bottom), (start, upper, width, lower) = (
        _span(b.prompts[0], grid) for b in (one, other)
    )
    start += round((left + wide / 2 - start - width / 2) / grid.width) * grid.width  # round the nearer way
    begin, end = min(left, start), max(left + wide, start + width)
    edges = np.array([[begin - 0.5, min(top, upper) - 0.5, end + 0.5, max(bottom, lower) + 0.5]])
    best = one.detected
    placed = place_on_panorama(DetectedBoxes(edges, best.scores, best.classes), grid)
    return PlacedBoxes(placed.detected, placed.angular, placed.prompts, np.array([True]))


def _span(box: Floats, grid: Equirect) -> tuple[float, float, float, float]:
    """Return first column, first row, number of columns less one, last row of a prompt's box."""
    u_min, v_min, u_max, v_max = box.tolist()
    return u_min, v_min, box_width(u_min, u_max, grid.width), v_max
