"""Rendering in bands and crops, against rendering of the whole image at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry.circular import wrap_resize
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.masks.label_image import render_label_image, resize_labels


def blobs(seed: int, height: int = 16, width: int = 32) -> torch.Tensor:
    """Make smooth logits with a few positive islands, also on the seam."""
    coarse = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) - 0.8
    return wrap_resize(coarse, height, width)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(128, 64), (160, 80), (267, 134), (20, 10)]))
def test_bands_equal_the_whole_resized_image(seed: int, size: tuple[int, int]) -> None:
    grid, names = Equirect(*size), (5, 65535, 7)
    maps = {name: blobs(seed + i) for i, name in enumerate(names)}
    whole = torch.stack([wrap_resize(maps[name], grid.height, grid.width) for name in names])
    labels, regions = render_label_image({name: x.numpy() for name, x in maps.items()}, grid)
    for name, logits in zip(names, whole.numpy(), strict=True):
        found = regions[name].whole(grid.height) if name in regions else np.zeros(logits.shape, bool)
        assert not (found ^ (logits > 0))[np.abs(logits) > 1e-5].any()
    first, second = whole.clamp(min=0).topk(2, 0).values
    clear = (first - second > 1e-5).numpy()
    expected = np.where(first > 0, np.array(names)[whole.argmax(0)], 0)
    assert labels.dtype == np.uint16 and (labels == expected)[clear].all()
    assert not labels[first.numpy() == 0].any()


def test_empty_masks_have_no_region() -> None:
    labels, regions = render_label_image({3: np.full((16, 32), -1.0, np.float32)}, Equirect(128, 64))
    assert not labels.any() and not regions


def test_large_panoramas_need_no_float_array_per_object() -> None:
    """Memory holds the label image, one byte per pixel of each mask, and one band of floats."""
    grid = Equirect(3840, 1920)
    logits = {i: np.full((112, 224), 1.0 + i, np.float32) for i in range(1, 9)}
    tracemalloc.start()
    labels, regions = render_label_image(logits, grid)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pixels = grid.width * grid.height
    assert (labels == 8).all() and len(regions) == 8
    assert peak < pixels * (2 + 8) + 24 * 2**20


@pytest.mark.parametrize("width", [512, 700, 1280])
def test_resize_labels_does_not_shift_labels(width: int) -> None:
    labels = np.zeros((400, 1920), np.uint16)
    labels[100:181, 900:1001] = 7
    small = resize_labels(labels, width, 100)
    rows, columns = np.nonzero(small == 7)
    assert (columns.mean() + 0.5) / width == pytest.approx((950 + 0.5) / 1920, abs=0.2 / width)
    assert (rows.mean() + 0.5) / 100 == pytest.approx((140 + 0.5) / 400, abs=0.002)
