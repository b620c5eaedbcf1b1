"""Search regions: exact projections without seam and poles, and how a region follows its object."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.spherical_shapes import GRID, disc, iou
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.search_region import (
    AHEAD,
    LEAST_FOV,
    MOST_FOV,
    TIMES,
    WIDEST,
    SearchRegion,
    TargetExtent,
)
from panosam2_ros.geometry.sphere import Floats, angle_between, lonlat_to_vector
from panosam2_ros.masks.label_image import render_label_image

LON, LAT = st.floats(-math.pi, math.pi), st.floats(-math.pi / 2, math.pi / 2)


def region(lon: float, lat: float, diameter: float = 0.2) -> SearchRegion:
    return SearchRegion.around(TargetExtent(lonlat_to_vector(lon, lat), diameter, diameter))


@settings(max_examples=80, deadline=None)
@given(LON, LAT, st.floats(0.02, 2.0))
def test_region_project_inverts_directions(lon: float, lat: float, diameter: float) -> None:
    own = region(lon, lat, diameter)
    assert own.axes @ own.axes.T == pytest.approx(np.eye(3), abs=1e-9) and np.linalg.det(own.axes) > 0
    x, y = np.meshgrid(np.arange(32), np.arange(32))
    places = own.project(own.directions(32), 32)
    assert places == pytest.approx(np.stack([x, y], -1), abs=0.02)
    middle = (own.directions(32)[15:17, 15:17]).mean((0, 1))
    assert angle_between(middle / np.linalg.norm(middle), lonlat_to_vector(lon, lat)) < 1e-6
    edge = own.project(own.axes[2] * math.cos(own.fov / 2) + own.axes[0] * math.sin(own.fov / 2), 32)
    assert edge == pytest.approx([31.5, 15.5], abs=0.02)


@pytest.mark.parametrize("lat", [0.0, 0.8, -1.4])
def test_region_has_north_up_and_east_right(lat: float) -> None:
    own = region(0.5, lat)
    centre = own.project(lonlat_to_vector(0.5, lat), 64)
    assert own.project(lonlat_to_vector(0.5, lat + 0.05), 64)[1] < centre[1] - 2
    assert own.project(lonlat_to_vector(0.55, lat), 64)[0] > centre[0] + 0.4


@settings(max_examples=40, deadline=None)
@given(LON, LAT, st.floats(0.1, 0.5))
def test_region_measures_and_patches_a_disc_anywhere(lon: float, lat: float, radius: float) -> None:
    truth = disc(lon, lat, radius)
    target = TargetExtent.of_mask(truth, GRID)
    assert target is not None
    assert angle_between(target.direction, lonlat_to_vector(lon, lat)) < 0.02
    assert target.diameter == pytest.approx(2 * radius, abs=0.04)
    own = SearchRegion.around(target)
    mask = own.mask(truth, 160)
    again = own.target(mask)
    assert again is not None
    assert angle_between(again.direction, target.direction) < 0.01
    assert again.diameter == pytest.approx(2 * radius, abs=0.05)
    patch = own.patch(np.where(mask, 3.0, -3.0).astype(np.float32), 96)
    assert patch is not None
    labels, regions = render_label_image({7: patch}, GRID)
    assert iou(labels == 7, truth) > 0.85 and list(regions) == [7]


def test_empty_masks_have_no_target_and_no_patch() -> None:
    nothing = np.zeros((40, 40), bool)
    assert (
        region(0, 0).target(nothing) is None and TargetExtent.of_mask(np.zeros((8, 16), bool), GRID) is None
    )
    assert region(0, 0).patch(np.full((40, 40), -2.0, np.float32), 96) is None


@settings(max_examples=25, deadline=None)
@given(LON, LAT, st.integers(1, 511), st.sampled_from([0.2, 1.0, 2.0]))
def test_region_pixels_are_the_same_in_a_rolled_panorama(
    lon: float, lat: float, columns: int, wide: float
) -> None:
    """Bit-identical, also where two or four columns are averaged."""
    image = np.random.default_rng(0).integers(0, 255, (256, 512, 3), np.uint8)
    there = region(lon, lat, wide).pixels(ImagePyramid(image), 64)
    rolled = ImagePyramid(np.roll(image, columns, 1))
    turned = region(lon + 2 * math.pi * columns / 512, lat, wide).pixels(rolled, 64)
    assert np.array_equal(there, turned)


def test_region_pixels_equal_opencv_at_the_equator() -> None:
    """At the centre of a small region the projection is that of a pinhole camera of the same scale."""
    image = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (256, 512), np.uint8), (0, 0), 3)
    own = region(0.0, 0.0)
    middle = own.pixels(ImagePyramid(image[..., None].repeat(3, 2)), 160)[60:100, 60:100, 0]
    scale = 512 / (2 * math.pi) * 4 * math.tan(own.fov / 4) / 160  # panorama's pixels in one of the region's
    at = (np.arange(60, 100) - 79.5) * scale
    u, v = np.meshgrid(at + 255.5, at + 127.5)
    expected = cv2.remap(image, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
    assert np.abs(middle.astype(int) - expected).mean() < 0.5


def test_region_repeats_the_border_rows_of_a_cropped_panorama() -> None:
    image = np.zeros((100, 512, 3), np.uint8)
    image[:30], image[-30:] = 200, 100
    seen = SearchRegion.around(TargetExtent(lonlat_to_vector(0.0, 0.0), 0.6, 0.6)).pixels(
        ImagePyramid(image), 64, vertical_fov=1.0
    )
    assert (seen[0] == 200).all() and (seen[-1] == 100).all() and (seen[30:34] == 0).all()


@pytest.mark.parametrize("channels", [(3,), ()])
def test_pyramid_levels_are_means_over_squares(channels: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 128, *channels), np.uint8)
    pyramid = ImagePyramid(image)
    for span, density in ((1, 128.0), (2, 9.0), (4, 4.0)):
        level, offset = pyramid.at(density)
        assert level.shape == (64 // span, *image.shape[1:]) and offset == (span - 1) / 2
        rows = image.reshape(64 // span, span, 128, *channels).mean(1)
        means = np.mean([np.roll(rows, k, 1) for k in range(span)], 0)
        assert np.abs(level - means).max() <= span / 2  # 8 bits at each level
    assert pyramid.at(1e-9)[0].shape[0] >= 2


def test_large_regions_are_sampled_without_aliasing() -> None:
    image = np.tile(np.array([[0, 255]], np.uint8), (512, 512))[..., None].repeat(3, 2)  # 1024 columns
    wide = SearchRegion.around(TargetExtent(lonlat_to_vector(0.0, 0.0), 2.0, 2.0))
    assert abs(wide.pixels(ImagePyramid(image), 64).astype(int) - 127).max() <= 2
    near = region(0.0, 0.0).pixels(ImagePyramid(image), 160)
    assert near.min() < 20 and near.max() > 235


@pytest.mark.faults
def test_it_follows_with_sizes_that_change_slowly_and_widens_where_nothing_is_seen() -> None:
    own = region(0.0, 0.0, 0.2)
    side = TIMES * 0.2
    assert own.fov == pytest.approx(side)
    moved = own.next_region(TargetExtent(lonlat_to_vector(0.1, 0.05), 0.4, 0.5))
    assert moved.axes[2] == pytest.approx(lonlat_to_vector(0.1, 0.05))
    assert 0.2 < moved.diameter < 0.3 < 0.4
    for frames in range(1, 40):
        own = own.next_region(None)
        assert own.unseen == frames and own.fov <= side * WIDEST + 1e-9
    assert own.fov == pytest.approx(side * WIDEST) and own.next_region(moved_target()).unseen == 0
    away = replace(own, unseen=100_000)  # hours
    assert (
        away.fov == own.fov and away.pixels(ImagePyramid(np.zeros((64, 128, 3), np.uint8)), 8).shape[0] == 8
    )
    assert region(0, 0, 0.001).fov == LEAST_FOV and region(0, 0, 3.0).fov == MOST_FOV


def moved_target() -> TargetExtent:
    return TargetExtent(lonlat_to_vector(0.1, 0.05), 0.4, 0.5)


def test_region_does_not_spin_over_a_pole_and_returns_to_north_up() -> None:
    own = region(0.0, 1.2, 0.2)
    across: list[Floats] = []
    for step in range(1, 60):
        angle = 1.2 + 0.02 * step  # over the pole, down on the other side
        lat, lon = (angle, 0.0) if angle <= math.pi / 2 else (math.pi - angle, math.pi)
        before = own.axes
        own = own.next_region(TargetExtent(lonlat_to_vector(lon, lat), 0.2, 0.2))
        turned = math.acos(min(1.0, (np.trace(before.T @ own.axes) - 1) / 2))
        assert turned < 0.7, step  # with north always up it would be pi
        across.append(own.axes)
    up = -across[-1][1]
    assert up @ region(math.pi, lat, 0.2).axes[1] == pytest.approx(-1.0, abs=0.01)


def test_predicted_moves_by_a_quarter_of_the_side_at_most() -> None:
    region = SearchRegion(np.eye(3), 0.2, 0.2)
    near, far = lonlat_to_vector(0.8 * AHEAD * region.fov, 0.0), lonlat_to_vector(0.4, 0.0)
    assert np.allclose(region.predicted(near).axes[2], near)
    there = region.predicted(far)
    assert angle_between(region.axes[2], there.axes[2]) == pytest.approx(AHEAD * region.fov, rel=0.05)
    farthest = region.predicted(lonlat_to_vector(3.0, 0.0))  # along the chord, so less
    assert 0 < angle_between(region.axes[2], farthest.axes[2]) < AHEAD * region.fov
    assert there.fov == region.fov and abs(there.axes[2][1]) < 1e-9


def test_region_survives_json() -> None:
    own = region(1.0, -0.4).next_region(None)
    again = SearchRegion.from_dict(json.loads(json.dumps(own.to_dict())))
    assert again.to_dict() == own.to_dict() and again.fov == own.fov
