"""Masks at the image's size, a band and a crop at a time, against the whole picture at once."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.equirect import Equirect
from panosam2_ros.masks import paint, without_specks
from panosam2_ros.periodic import wrap_resize


def blobs(seed: int, height: int = 16, width: int = 32) -> torch.Tensor:
    """Smooth logits with a few positive islands anywhere, also on the seam."""
    coarse = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) - 0.8
    return wrap_resize(coarse, height, width)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(128, 64), (160, 80), (267, 134), (20, 10)]))
def test_the_bands_equal_the_whole_image_resized(seed: int, size: tuple[int, int]) -> None:
    grid, names = Equirect(*size), (5, 65535, 7)
    maps = {name: blobs(seed + i) for i, name in enumerate(names)}
    whole = torch.stack([wrap_resize(maps[name], grid.height, grid.width) for name in names])
    labels, regions = paint({name: x.numpy() for name, x in maps.items()}, grid)
    for name, logits in zip(names, whole.numpy(), strict=True):
        found = regions[name].whole(grid.height) if name in regions else np.zeros(logits.shape, bool)
        assert not (found ^ (logits > 0))[np.abs(logits) > 1e-5].any()
    first, second = whole.clamp(min=0).topk(2, 0).values
    clear = (first - second > 1e-5).numpy()
    expected = np.where(first > 0, np.array(names)[whole.argmax(0)], 0)
    assert labels.dtype == np.uint16 and (labels == expected)[clear].all()
    assert not labels[first.numpy() == 0].any()


def test_an_empty_mask_has_no_region() -> None:
    labels, regions = paint({3: np.full((16, 32), -1.0, np.float32)}, Equirect(128, 64))
    assert not labels.any() and not regions


def test_large_panoramas_need_no_float_plane_per_object() -> None:
    """The label image, one byte per pixel of each mask, and one band of numbers."""
    grid = Equirect(3840, 1920)
    logits = {i: np.full((112, 224), 1.0 + i, np.float32) for i in range(1, 9)}
    tracemalloc.start()
    labels, regions = paint(logits, grid)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pixels = grid.width * grid.height
    assert (labels == 8).all() and len(regions) == 8
    assert peak < pixels * (2 + 8) + 24 * 2**20


def disc(*centres: tuple[int, int, int], height: int = 32, width: int = 64) -> np.ndarray:
    """Logits of discs at (row, column) with a radius in pixels, across the seam."""
    rows, columns = np.mgrid[:height, :width]
    logits = np.full((height, width), -2.0, np.float32)
    for v, u, radius in centres:
        du = (columns - u + width // 2) % width - width // 2
        logits = np.maximum(logits, radius + 0.25 - np.hypot(rows - v, du)).astype(np.float32)
    return logits


def test_small_islands_go_and_large_parts_stay() -> None:
    main, far = (16, 1, 5), (16, 30, 1)  # the first lies across the seam
    cleaned = without_specks(disc(main, far), math.pi, 0.2, 0.0)
    assert ((cleaned > 0) == (disc(main) > 0)).all()
    assert (np.abs(cleaned) == np.abs(disc(main, far))).all()
    both = disc(main, (16, 30, 4))
    assert (without_specks(both, math.pi, 0.2, 0.0) == both).all()


def test_a_square_map_is_tidied_too() -> None:
    """Upstream's own networks are square."""
    main, far = (16, 8, 5), (16, 24, 1)
    both = disc(main, far, width=32)
    assert ((without_specks(both, math.pi, 0.2, 0.0) > 0) == (disc(main, width=32) > 0)).all()


def test_a_part_that_only_the_seam_or_a_pole_cuts_off_is_none() -> None:
    sliver = np.full((32, 64), -1.0, np.float32)
    sliver[10:20, 50:] = 1.0
    sliver[19, 0] = 1.0  # joined by nothing but its corner with row 18 or its side with row 19
    sliver[20, 0] = 1.0
    assert (without_specks(sliver, math.pi, 0.5, 0.0) == sliver).all()
    assert (np.roll(without_specks(np.roll(sliver, 20, 1), math.pi, 0.5, 0.0), -20, 1) == sliver).all()
    over_pole = np.full((32, 64), -1.0, np.float32)
    over_pole[:6, 3:10] = 1.0
    over_pole[:2, 35:42] = 1.0
    assert (without_specks(over_pole, math.pi, 0.9, 0.0) == over_pole).all()
    assert without_specks(over_pole, math.pi / 2, 0.9, 0.0)[0, 36] < 0  # no pole in such an image


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    solid = disc((16, 0, 9))
    holed = solid.copy()
    holed[16, 0] = holed[16, 63] = -0.5  # one hole, on both sides of the seam
    assert ((without_specks(holed, math.pi, 0.0, 0.02) > 0) == (solid > 0)).all()
    assert (without_specks(holed, math.pi, 0.0, 0.001) == holed).all()
    ring = np.minimum(solid, -disc((16, 0, 6)))
    assert (without_specks(ring, math.pi, 0.0, 0.1) == ring).all()
    assert (without_specks(ring, math.pi, 0.0, 0.6) == ring).all()  # each half alone would be small
