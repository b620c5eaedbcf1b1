"""Panoramas cropped above and below: their rows, and the ground truth of what is left."""

from __future__ import annotations

import argparse
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panosam2_ros.demo.demo import DemoError, synthetic_size
from panosam2_ros.demo.latitude_crop import LatitudeCrop
from panosam2_ros.demo.playback import Playback, PlaybackConfig
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between

FOV = math.radians(120)


@given(st.integers(2, 400), st.floats(0.01, 1.0))
def test_rows_have_the_latitudes_of_the_whole_spheres_rows(half, share):
    full = 2 * half
    height = full - 2 * round(half * (1 - share))
    if height == 0:
        return
    grid = Equirect(2 * full, height, math.pi * height / full)
    crop = LatitudeCrop.of(grid)
    assert crop.full_height == full
    rows = crop.of_image(Equirect(2 * full, full).row_latitudes())
    assert rows == pytest.approx(grid.row_latitudes(), abs=1e-12)
    _, v = grid.vector_to_pixel(grid.pixel_to_vector(3, np.arange(height)))
    assert v == pytest.approx(np.arange(height), abs=1e-6)


def test_the_field_of_view_may_be_rounded_but_must_fit_the_rows():
    assert LatitudeCrop.of(Equirect(1920, 640, 2.0944)).full_height == 960
    with pytest.raises(ValueError, match=r"set vertical_fov to 1\.99862753"):
        LatitudeCrop.of(Equirect(1920, 640, 2.0))


def test_a_cropped_scene_is_the_middle_of_the_whole_one_with_its_own_truth():
    both = [
        next(iter(Playback(PlaybackConfig(width=256, height=height, vertical_fov=fov, seed=4, objects=6))))
        for height, fov in ((128, math.pi), (86, math.pi * 86 / 128))
    ]
    whole, cropped = both
    assert np.array_equal(cropped.image, whole.image[21:-21])
    assert np.array_equal(cropped.labels, whole.labels[21:-21])
    grid, hidden, cut = Equirect(256, 86, math.pi * 86 / 128), 0, 0
    for truth, before in zip(cropped.objects, whole.objects, strict=True):
        mask = cropped.labels == truth.obj_id
        assert truth.visible == mask.any()
        hidden += before.visible and not truth.visible
        cut += truth.visible and truth.solid_angle < 0.99 * before.solid_angle
        if truth.visible:
            found = mask_bearing(mask, grid)
            assert angle_between(truth.direction, found.direction) < 1e-6
            assert truth.solid_angle == pytest.approx(found.solid_angle)
            ratio = truth.visible_fraction / before.visible_fraction
            assert ratio == pytest.approx(truth.solid_angle / before.solid_angle)
        else:
            assert np.array_equal(truth.direction, truth.centre) and truth.visible_fraction == 0.0
    assert cut + hidden > 0


def test_the_demo_rounds_to_whole_rows():
    assert synthetic_size(argparse.Namespace(width=0, vertical_fov=2.0944)) == (
        640,
        pytest.approx(FOV, abs=1e-12),
    )
    assert synthetic_size(argparse.Namespace(width=640, vertical_fov=math.pi)) == (320, math.pi)
    with pytest.raises(DemoError, match="leaves no rows"):
        synthetic_size(argparse.Namespace(width=640, vertical_fov=1e-4))
