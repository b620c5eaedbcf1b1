"""Masks at the image's size, a crop at a time, against the whole picture at once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.equirect import Equirect
from panosam2_ros.masks import MaskRegion, label_image, upsample_region
from panosam2_ros.periodic import wrap_resize


def blobs(seed: int, height: int = 16, width: int = 32) -> torch.Tensor:
    """Smooth logits with a few positive islands anywhere, also on the seam."""
    coarse = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) - 0.8
    return wrap_resize(coarse, height, width)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(128, 64), (160, 80), (107, 54), (20, 10)]))
def test_the_crop_equals_the_whole_image_resized(seed: int, size: tuple[int, int]) -> None:
    logits, grid = blobs(seed), Equirect(*size)
    whole = (wrap_resize(logits, grid.height, grid.width) > 1e-5).numpy()
    region = upsample_region(logits, grid)
    found = np.zeros_like(whole) if region is None else region.mask(grid.height)
    missing = whole & ~found
    assert not missing.any()
    assert not (found & ~(wrap_resize(logits, grid.height, grid.width) > -1e-5).numpy()).any()


def test_an_empty_mask_has_no_region() -> None:
    assert upsample_region(torch.full((16, 32), -1.0), Equirect(128, 64)) is None


def test_overlaps_go_to_the_highest_logit_and_ids_are_kept() -> None:
    grid = Equirect(8, 4)
    a = MaskRegion(np.full((2, 4), 1.0, np.float32), top=1, left=6, width=8)  # columns 6, 7, 0, 1
    b = MaskRegion(np.array([[3.0, 0.5]], np.float32), top=1, left=0, width=8)
    labels = label_image({5: a, 65535: b}, grid)
    assert labels.dtype == np.uint16
    assert labels[1].tolist() == [65535, 5, 0, 0, 0, 0, 5, 5]
    assert labels[2].tolist() == [5, 5, 0, 0, 0, 0, 5, 5]
    assert not labels[0].any() and not labels[3].any()
