"""Thin parts of masks are kept where samples or coarse pixels would lose them; other masks stay the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.spherical_shapes import disc
from panosam2_ros.geometry.connected_components import connected_components
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.thin_mask import region_mask, with_thin_parts

GRID = Equirect(1920, 960)
SIZE = 160


def line(u: int, v: int, along: int, across: int, thickness: int = 1) -> NDArray[np.bool_]:
    """A straight line of pixels from its middle, across the seam where it reaches it."""
    drawn = np.zeros((GRID.height, GRID.width), np.uint8)
    middle = GRID.width // 2
    ends = (middle - along, v - across), (middle + along, v + across)
    cv2.line(drawn, *ends, 1, thickness)
    return np.roll(drawn > 0, u - middle, 1)


def around(mask: NDArray[np.bool_]) -> SearchRegion:
    target = TargetExtent.of_mask(mask, GRID)
    assert target is not None
    return SearchRegion.around(target)


@pytest.mark.parametrize(("lon", "lat"), [(0.3, 0.0), (3.1, 0.4), (1.0, 1.5)])
def test_what_is_not_thin_is_sampled_as_ever(lon: float, lat: float) -> None:
    mask = disc(lon, lat, 0.2, GRID)
    region = around(mask)
    assert (region_mask(region, mask, SIZE) == region.mask(mask, SIZE)).all()


@pytest.mark.parametrize("u", [700, 1915])
@pytest.mark.parametrize(("along", "across"), [(150, 0), (0, 150), (100, 60)])
def test_a_line_that_samples_miss_is_drawn_whole(u: int, along: int, across: int) -> None:
    mask = line(u, 430, along, across)
    region = around(mask)
    sampled, kept = region.mask(mask, SIZE), region_mask(region, mask, SIZE)
    assert sampled.sum() < 0.7 * kept.sum() and (kept & sampled).sum() == sampled.sum()
    parts, _ = connected_components(np.pad(kept, SIZE // 2), 8, np.pi)
    assert parts.max() == 1
    found, true = region.target(kept), TargetExtent.of_mask(mask, GRID)
    assert found is not None and true is not None
    assert found.longest == pytest.approx(true.longest, rel=0.05)


def test_only_the_thin_part_of_a_mask_is_drawn() -> None:
    body, handle = disc(0.0, 0.0, 0.2, GRID), line(1100, 480, 140, 0)
    region = around(body | handle)
    kept = region_mask(region, body | handle, SIZE)
    alone = region.mask(body, SIZE)
    assert (kept & alone).sum() == alone.sum()
    assert kept.sum() - alone.sum() < 60  # one pixel wide


def shares(mask: NDArray[np.bool_], stride: int = 8) -> NDArray[np.float32]:
    size = (mask.shape[1] // stride, mask.shape[0] // stride)
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA))


def test_shares_of_what_is_not_thin_stay_as_they_are() -> None:
    share = shares(disc(0.3, 0.1, 0.15, GRID))
    assert (with_thin_parts(share, wrap=True) == share).all()


@pytest.mark.parametrize(("v", "thickness"), [(430, 1), (431, 2), (432, 4), (436, 5)])
def test_a_line_thinner_than_half_a_pixel_becomes_one_or_two_pixels_wide(v: int, thickness: int) -> None:
    share = shares(line(900, v, 200, 0, thickness))
    kept = with_thin_parts(share, wrap=True) > 0.5
    columns = kept.sum(0)
    assert (columns[share.any(0)][1:-1] >= 1).all() and columns.max() <= 2
    assert not (kept & (share == 0)).any()


def test_the_sides_are_neighbours_only_where_they_wrap() -> None:
    share = np.zeros((5, 8), np.float32)
    share[2, 0], share[2, 7] = 0.4, 0.9
    assert (with_thin_parts(share, wrap=True) > 0.5).sum() == 1
    assert (with_thin_parts(share, wrap=False) > 0.5).sum() == 2
