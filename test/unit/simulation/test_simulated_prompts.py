"""Prompts from the ground truth: on the object, across the seam, or none."""

import numpy as np
import pytest

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.simulation.simulated_prompts import deepest_pixel, plan_prompts

GRID = Equirect(256, 128)
NAMES = {1: "one", 2: "two", 3: "three", 4: "four"}


def disc(labels: np.ndarray, obj_id: int, u: int, v: int, radius: int) -> None:
    columns, rows = np.meshgrid(np.arange(256), np.arange(128))
    across = (columns - u + 128) % 256 - 128
    labels[across**2 + (rows - v) ** 2 <= radius**2] = obj_id


def four_objects() -> np.ndarray:
    labels = np.zeros((128, 256), np.uint16)
    for obj_id, u, radius in ((1, 128, 24), (2, 60, 18), (3, 0, 16), (4, 200, 3)):
        disc(labels, obj_id, u, 60, radius)
    return labels


def test_plan_has_a_box_on_the_seam_and_prompts_for_the_largest_objects():
    labels = four_objects()
    box, click, direction = plan_prompts(labels, NAMES, GRID)
    assert (box.truth_id, box.kind, box.label) == (3, "box", "three") and box.crosses_seam
    assert box.box == (240.0, 44.0, 16.0, 76.0)
    assert click.truth_id == 1 and np.hypot(click.click[0] - 128, click.click[1] - 60) < 3
    assert direction.truth_id == 2
    assert np.degrees(angle_between(direction.direction, GRID.pixel_to_vector(60, 60))) < 1


def test_plan_without_an_object_on_the_seam():
    labels = np.roll(four_objects(), 40, 1)
    assert plan_prompts(labels, NAMES, GRID) is None
    box, _, _ = plan_prompts(labels, NAMES, GRID, need_seam=False)
    assert box.truth_id == 1 and not box.crosses_seam


def test_small_objects_are_not_prompted():
    labels = four_objects()
    labels[labels == 2] = 0
    assert plan_prompts(labels, NAMES, GRID) is None  # the small fourth does not count


@pytest.mark.parametrize("u", [0, 3, 128, 252])
def test_deepest_pixel_is_in_the_centre(u):
    labels = np.zeros((128, 256), np.uint16)
    disc(labels, 1, u, 60, 15)
    column, row = deepest_pixel(labels == 1)
    assert abs((column - u + 128) % 256 - 128) <= 2 and abs(row - 60) <= 2


def test_direction_to_a_ring_is_on_the_ring():
    labels = np.zeros((128, 256), np.uint16)
    disc(labels, 2, 60, 60, 24)
    disc(labels, 0, 60, 60, 14)
    disc(labels, 1, 128, 60, 26)
    disc(labels, 3, 0, 60, 26)
    direction = plan_prompts(labels, NAMES, GRID)[2]
    u, v = (round(float(x)) for x in GRID.vector_to_pixel(direction.direction))
    assert direction.truth_id == 2 and labels[v, u] == 2
