"""Prompts as a person would give them, derived from the ground truth of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.image_types import LabelImage
from panosam2_ros.geometry.sphere import Floats

SMALLEST = 0.02  # sr, about 9 degrees across: objects that a person would prompt


@dataclass(frozen=True)
class PlannedPrompt:
    """A box, a click or a direction for one object, by ``kind``."""

    kind: str  # box, click or direction
    label: str = ""
    truth_id: int = 0  # id in the ground truth; 0: unknown
    box: tuple[float, ...] = ()  # u_min, v_min, u_max, v_max
    click: tuple[float, ...] = ()  # u, v
    direction: tuple[float, ...] = ()  # unit vector, optical axes

    @property
    def crosses_seam(self) -> bool:
        """Whether the prompt is a box across the seam."""
        return bool(self.box) and self.box[0] > self.box[2]


def deepest_pixel(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Find the pixel u, v that is farthest from the mask's border, of which the seam is no part.

    Raises ValueError for an empty mask.
    """
    box = mask_box(mask)
    if box is None:
        raise ValueError("an empty mask has no deepest pixel")
    width = mask.shape[1]
    shift = width // 2 - round(box[0] + box_width(box[0], box[2], width) / 2)
    padded = np.pad(np.roll(mask, shift, 1).astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 3))[1:-1, 1:-1]
    v, u = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(u - shift) % width, int(v)


def plan_prompts(
    labels: LabelImage, names: dict[int, str], grid: Equirect, *, need_seam: bool = True
) -> list[PlannedPrompt] | None:
    """Plan a box across the seam, a click and a direction, each for another object.

    None where the frame does not have three large objects, one of them on the seam; with ``need_seam``
    False the box may be of the largest object instead.
    """
    areas = _solid_angles(labels, grid)
    large = sorted((i for i in names if areas.get(i, 0.0) >= SMALLEST), key=lambda i: -areas[i])
    boxes = {i: box for i in large if (box := mask_box(labels == i)) is not None}
    crossing = [i for i, box in boxes.items() if _straddles(box, grid.width)]
    if len(large) < 3 or (need_seam and not crossing):
        return None
    boxed = (crossing or large)[0]
    clicked, pointed = [i for i in large if i != boxed][:2]
    corners = tuple(float(x) for x in boxes[boxed])
    click = tuple(float(x) for x in deepest_pixel(labels == clicked))
    direction = _direction(labels, pointed, grid)
    return [
        PlannedPrompt("box", names[boxed], boxed, box=corners),
        PlannedPrompt("click", names[clicked], clicked, click=click),
        PlannedPrompt("direction", names[pointed], pointed, direction=direction),
    ]


def _straddles(box: tuple[int, int, int, int], width: int, *, share: float = 0.25) -> bool:
    """Tell whether at least a fraction ``share`` of the box lies on either side of the seam."""
    left, right = width - box[0], box[2] + 1
    return box[0] > box[2] and min(left, right) >= share * (left + right)


def _solid_angles(labels: LabelImage, grid: Equirect) -> dict[int, float]:
    """Measure the solid angles, sr, of the objects of a label image."""
    areas = np.zeros(int(labels.max()) + 1)
    for row, area in zip(labels, grid.pixel_solid_angles(), strict=True):
        if row.any():
            counts = np.bincount(row, minlength=areas.size)
            areas += counts * area
    return {i: float(areas[i]) for i in range(1, areas.size) if areas[i] > 0}


def _direction(labels: LabelImage, obj_id: int, grid: Equirect) -> tuple[float, ...]:
    """Return the direction of an object's centroid, or of its deepest pixel if the centroid is outside."""
    mask = labels == obj_id
    weights = grid.pixel_solid_angles()
    rows, columns = np.nonzero(mask)
    total: Floats = (grid.pixel_to_vector(columns, rows) * weights[rows, None]).sum(0)
    direction = total / np.linalg.norm(total)
    u, v = (round(float(x)) for x in grid.vector_to_pixel(direction))
    if not mask[min(max(v, 0), grid.height - 1), u % grid.width]:
        direction = grid.pixel_to_vector(*deepest_pixel(mask))
    return tuple(float(x) for x in direction)
