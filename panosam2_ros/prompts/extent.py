"""Where on the sphere a prompt points, and how large what it points at is."""

from __future__ import annotations

import numpy as np

from panosam2_ros.geometry.equirect import Equirect, box_width
from panosam2_ros.geometry.search_region import UNKNOWN_SIZE, TargetExtent
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.model.mask_decoder import FOREGROUND
from panosam2_ros.prompts.prompt import Prompt

_SIDE_POINTS = 33  # on each side of a box, which is no rectangle any more in a search region


def box_outline(box: tuple[float, float, float, float], grid: Equirect) -> Floats:
    """Return directions [N, 3] along the sides of a box, those of the level sides first."""
    u_min, v_min, u_max, v_max = box
    at = np.linspace(0, 1, _SIDE_POINTS)
    u, v = u_min + at * box_width(u_min, u_max, grid.width), v_min + at * (v_max - v_min)
    ones = np.ones_like(at)
    sides = [(u, v_min * ones), (u, v_max * ones), (u_min * ones, v), (u[-1] * ones, v)]
    return np.concatenate([grid.pixel_to_vector(*side) for side in sides])


def prompted_directions(prompt: Prompt, grid: Equirect) -> Floats:
    """Return the directions [N, 3] of the points and the box's outline of a prompt without a mask."""
    parts = [grid.pixel_to_vector(*prompt.points.T)] if len(prompt.points) else []
    return np.concatenate([*parts, *([box_outline(prompt.box, grid)] if prompt.box is not None else [])])


def prompted_extent(prompt: Prompt, grid: Equirect) -> TargetExtent:
    """Return where the prompted object is and how large; a click says nothing of the size.

    Raises ValueError for an empty mask.
    """
    if prompt.mask is not None:
        found = TargetExtent.of_mask(prompt.mask, grid)
        if found is None:
            raise ValueError("an empty mask has no extent")
        return found
    if prompt.box is not None:
        vectors = _inscribed(prompt.box, grid)
        return TargetExtent.of_directions(vectors, np.ones(len(vectors)))
    on = prompt.point_labels == FOREGROUND
    vectors = grid.pixel_to_vector(*prompt.points[on if on.any() else slice(None)].T)
    found = TargetExtent.of_directions(vectors, np.ones(len(vectors)))
    return TargetExtent(found.direction, max(found.diameter, UNKNOWN_SIZE), max(found.longest, UNKNOWN_SIZE))


def _inscribed(box: tuple[float, float, float, float], grid: Equirect) -> Floats:
    """Return directions [N, 3] as far apart as what fits into a box, whose corners are empty near the poles.

    Of a box round a pole its lower or upper side is all that says how far its object reaches.
    """
    u_min, v_min, u_max, v_max = box
    wide = box_width(u_min, u_max, grid.width)
    if wide > grid.width / 2:
        return box_outline(box, grid)[: 2 * _SIDE_POINTS]
    u, v = u_min + wide / 2, (v_min + v_max) / 2
    return grid.pixel_to_vector(np.array([u, u, u_min, u_min + wide]), np.array([v_min, v_max, v, v]))
