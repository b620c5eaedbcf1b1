"""Removal of islands and holes on the sphere, across the seam and over the poles."""

from __future__ import annotations

import math

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.masks.cleanup import CleanupConfig, ExpectedPlace, remove_islands_and_holes


def disc(*centres: tuple[int, int, int], height: int = 32, width: int = 64) -> np.ndarray:
    """Make logits of discs at (row, column) with a radius in pixels, across the seam."""
    rows, columns = np.mgrid[:height, :width]
    logits = np.full((height, width), -2.0, np.float32)
    for v, u, radius in centres:
        du = (columns - u + width // 2) % width - width // 2
        logits = np.maximum(logits, radius + 0.25 - np.hypot(rows - v, du)).astype(np.float32)
    return logits


def test_small_islands_are_removed_and_large_parts_stay() -> None:
    main, far = (16, 1, 5), (16, 30, 1)  # the first lies across the seam
    cleaned = remove_islands_and_holes(disc(main, far), CleanupConfig(0.2, 0.0))
    assert ((cleaned > 0) == (disc(main) > 0)).all()
    assert (np.abs(cleaned) == np.abs(disc(main, far))).all()
    both = disc(main, (16, 30, 4))
    assert (remove_islands_and_holes(both, CleanupConfig(0.2, 0.0)) == both).all()


def test_square_masks_are_cleaned() -> None:
    """Upstream's own networks have square inputs."""
    main, far = (16, 8, 5), (16, 24, 1)
    both = disc(main, far, width=32)
    assert ((remove_islands_and_holes(both, CleanupConfig(0.2, 0.0)) > 0) == (disc(main, width=32) > 0)).all()


def test_parts_are_connected_across_the_seam_and_poles() -> None:
    sliver = np.full((32, 64), -1.0, np.float32)
    sliver[10:20, 50:] = 1.0
    sliver[19, 0] = 1.0  # connected only by its side to row 19 across the seam
    sliver[20, 0] = 1.0
    assert (remove_islands_and_holes(sliver, CleanupConfig(0.5, 0.0)) == sliver).all()
    assert (
        np.roll(remove_islands_and_holes(np.roll(sliver, 20, 1), CleanupConfig(0.5, 0.0)), -20, 1) == sliver
    ).all()
    over_pole = np.full((32, 64), -1.0, np.float32)
    over_pole[:6, 3:10] = 1.0
    over_pole[:2, 35:42] = 1.0
    assert (remove_islands_and_holes(over_pole, CleanupConfig(0.9, 0.0)) == over_pole).all()
    cropped = CleanupConfig(0.9, vertical_fov=math.pi / 2)  # there is no pole in such an image
    assert remove_islands_and_holes(over_pole, cropped)[0, 36] < 0


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    solid = disc((16, 0, 9))
    holed = solid.copy()
    holed[16, 0] = holed[16, 63] = -0.5  # one hole, on both sides of the seam
    assert ((remove_islands_and_holes(holed, CleanupConfig(0.0, 0.02)) > 0) == (solid > 0)).all()
    assert (remove_islands_and_holes(holed, CleanupConfig(0.0, 0.001)) == holed).all()
    ring = np.minimum(solid, -disc((16, 0, 6)))
    assert (remove_islands_and_holes(ring, CleanupConfig(0.0, 0.1)) == ring).all()
    assert (
        remove_islands_and_holes(ring, CleanupConfig(0.0, 0.6)) == ring
    ).all()  # each half alone would be small


def place(row: float, column: float, deviation: float = 0.02) -> ExpectedPlace:
    """Make the prediction at a pixel of masks of 32 rows."""
    return ExpectedPlace(Equirect(64, 32).pixel_to_vector(column, row), deviation)


def test_of_similar_parts_the_predicted_one_stays() -> None:
    """The distractor's part is larger; also across the seam and in square masks."""
    for width in (64, 32):
        own, twin = (16, 1, 4), (16, width // 2, 5)
        both = disc(own, twin, width=width)
        here = place(16, 1)
        assert (
            (remove_islands_and_holes(both, CleanupConfig(), expected=here) > 0)
            == (disc(own, width=width) > 0)
        ).all()
        beyond = place(16, 63)  # expected on the other side of the seam
        assert (
            (remove_islands_and_holes(both, CleanupConfig(), expected=beyond) > 0)
            == (disc(own, width=width) > 0)
        ).all()
        assert (remove_islands_and_holes(both, CleanupConfig(reach=0.0), expected=here) == both).all()
        assert (remove_islands_and_holes(both, CleanupConfig()) == both).all()


def test_uncertain_predictions_remove_less() -> None:
    both = disc((16, 10, 4), (16, 30, 4))
    assert (
        remove_islands_and_holes(both, CleanupConfig(), expected=place(16, 10, deviation=2.0)) == both
    ).all()


def test_masks_of_one_part_are_unchanged() -> None:
    """The prediction may be wrong: an object that was occluded may reappear elsewhere."""
    far = disc((16, 40, 3))
    assert (remove_islands_and_holes(far, CleanupConfig(), expected=place(16, 5)) == far).all()


def test_parts_of_a_divided_object_stay() -> None:
    halves = disc((16, 20, 4), (16, 29, 4))  # divided by a pole in front of it: one pixel, 6 degrees
    assert (remove_islands_and_holes(halves, CleanupConfig(), expected=place(16, 24.5)) == halves).all()
