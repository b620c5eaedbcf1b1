"""Drawing across the seam: drawing and rolling commute."""

import math

import numpy as np
import pytest

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.visualization import drawing

GRID = Equirect(256, 128)


def labels_at(u: int, v: int = 60, size: int = 20) -> np.ndarray:
    labels = np.zeros((128, 256), np.uint16)
    columns = np.arange(u - size // 2, u + size // 2) % 256
    labels[v - size // 2 : v + size // 2, columns] = 7
    return labels


def blank() -> np.ndarray:
    return np.zeros((128, 256, 3), np.uint8)


def test_colours_are_stable_and_neighbouring_ids_differ():
    assert drawing.colour(3) == drawing.colour(3)
    first = np.array([drawing.colour(i) for i in range(1, 9)], int)
    apart = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(8, dtype=int)
    assert apart.min() > 60


@pytest.mark.parametrize("draw", [drawing.fill_masks, drawing.outline_masks])
def test_masks_are_drawn_across_the_seam(draw):
    middle, seam = blank(), blank()
    draw(middle, labels_at(128))
    draw(seam, labels_at(0))
    assert middle.any()
    assert np.array_equal(np.roll(middle, 128, 1), seam)


def test_outlines_have_no_edge_at_the_seam_and_at_the_pole():
    labels = np.zeros((128, 256), np.uint16)
    labels[:20] = 5  # a cap around the pole touches the seam and the top row
    image = blank()
    drawing.outline_masks(image, labels, thickness=1)
    rows = np.flatnonzero(image.any((1, 2)))
    assert set(rows) <= {18, 19, 20, 21} and image[rows].any(-1).all(1).any()


def test_outlines_separate_objects_that_touch():
    labels = labels_at(128)
    labels[50:70, 128:138] = 9
    image = blank()
    drawing.outline_masks(image, labels, thickness=1)
    assert image[60, 127:129].any()
    assert tuple(image[60, 138]) == drawing.colour(9)


@pytest.mark.parametrize("v_lat", [0.0, 1.3, -1.5])
def test_marks_and_boxes_are_drawn_across_the_seam(v_lat):
    middle, seam = blank(), blank()
    for image, lon, left in ((middle, 0.0, 108), (seam, math.pi, 236)):
        direction = lonlat_to_vector(lon, v_lat)
        drawing.draw_marks(image, [drawing.Mark(2, direction, "#2 mug")], GRID)
        drawing.draw_box(image, (left, 40, (left + 40) % 256, 80))
    assert np.array_equal(np.roll(middle, 128, 1), seam)


def test_marks_of_unseen_objects_are_hollow():
    seen, unseen = blank(), blank()
    ahead = lonlat_to_vector(0.0, 0.0)
    drawing.draw_marks(seen, [drawing.Mark(2, ahead, "")], GRID)
    drawing.draw_marks(unseen, [drawing.Mark(2, ahead, "", seen=False)], GRID)
    assert seen[63:66, 127:130].any() and not unseen[63:66, 127:130].any()
