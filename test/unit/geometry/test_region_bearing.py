"""Bearings of masks in search regions: those of the same masks in a panorama."""

from __future__ import annotations

import math

import numpy as np
import pytest

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.region_bearing import region_bearing
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector, rotation_matrix

GRID = Equirect(2048, 1024)
VECTORS = GRID.pixel_to_vector(*np.meshgrid(np.arange(2048), np.arange(1024)))


@pytest.mark.parametrize("lon, lat", [(0.3, 0.0), (3.1, 0.5), (-1.0, 1.3), (0.0, -1.5)])
@pytest.mark.parametrize("radius", [0.06, 0.4])
def test_a_disc_has_the_bearing_of_its_mask_in_the_panorama(lon: float, lat: float, radius: float) -> None:
    centre = lonlat_to_vector(lon, lat)
    aside = rotation_matrix(np.array([0.0, 0.04, 0.0])) @ centre  # the disc is not in the region's middle
    region = SearchRegion.around(TargetExtent(aside, 2 * radius, 2 * radius))
    logits = (20 * (region.directions(160) @ centre - math.cos(radius))).astype(np.float32)
    found = region_bearing(region, logits, mask_iou=0.8)
    truth = mask_bearing(VECTORS @ centre > math.cos(radius), GRID, mask_iou=0.8)
    assert found is not None and truth is not None
    pixel = region.fov / 160
    assert angle_between(found.direction, truth.direction) < 0.2 * pixel
    assert found.solid_angle == pytest.approx(truth.solid_angle, rel=0.06)
    assert found.extent_horizontal == pytest.approx(truth.extent_horizontal, abs=2 * pixel)
    assert found.extent_vertical == pytest.approx(truth.extent_vertical, abs=2 * pixel)
    assert np.allclose(found.covariance, truth.covariance, rtol=0.1, atol=pixel**2 / 4)


def test_an_empty_mask_has_none_and_one_pixel_has_one() -> None:
    region = SearchRegion.around(TargetExtent(lonlat_to_vector(1.0, 0.2), 0.3, 0.3))
    logits = np.full((80, 80), -1, np.float32)
    assert region_bearing(region, logits) is None
    logits[40, 60] = 0.01
    found = region_bearing(region, logits)
    assert found is not None and angle_between(found.direction, region.directions(80)[40, 60]) < 1e-6


def test_what_fills_a_region_is_not_behind_it() -> None:
    """The antipode of a region's middle has no place in it."""
    region = SearchRegion.around(TargetExtent(lonlat_to_vector(0.3, 0.0), 0.3, 0.3))
    found = region_bearing(region, np.ones((80, 80), np.float32))
    assert found is not None and found.extent_horizontal < 2 * region.fov
