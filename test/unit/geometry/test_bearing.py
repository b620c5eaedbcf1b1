"""Bearings of masks against exact ground truth on the sphere."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import ELLIPSE_95, UNKNOWN_VARIANCE, mask_bearing, squared_deviation
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, angle_between, lonlat_to_vector, normalised, tangent_basis

GRID = Equirect(512, 256)
PIXEL = math.pi / 256
LATITUDES = [-90, -89, -80, -60, -30, -5, 0, 10, 45, 70, 85, 89.5, 90]
LONGITUDES = [0, 37, 90, 179.9, 180, -179, -100]


def vectors(grid: Equirect) -> Floats:
    lon, lat = np.meshgrid(grid.column_longitudes(), grid.row_latitudes())
    return lonlat_to_vector(lon, lat)


def cap(grid: Equirect, centre: Floats, radius: float) -> NDArray[np.bool_]:
    """Return the mask of a spherical cap: every pixel whose centre is within ``radius`` rad."""
    return np.asarray(vectors(grid) @ centre > math.cos(radius))


@pytest.mark.parametrize("latitude", LATITUDES)
@pytest.mark.parametrize("longitude", LONGITUDES)
def test_bearing_of_caps_at_all_latitudes_and_longitudes(latitude: float, longitude: float) -> None:
    centre = lonlat_to_vector(math.radians(longitude), math.radians(latitude))
    radius = math.radians(12)
    bearing = mask_bearing(cap(GRID, centre, radius), GRID)
    assert bearing is not None
    assert math.degrees(angle_between(bearing.direction, centre)) < 0.2
    assert bearing.solid_angle == pytest.approx(2 * math.pi * (1 - math.cos(radius)), rel=0.01)
    assert bearing.extent_horizontal == pytest.approx(2 * radius, abs=2.2 * PIXEL)
    assert bearing.extent_vertical == pytest.approx(2 * radius, abs=2.2 * PIXEL)


@settings(max_examples=60, deadline=None)
@given(
    longitude=st.floats(-math.pi, math.pi),
    sine=st.floats(-1, 1),
    radius=st.floats(math.radians(3), math.radians(80)),
)
@example(longitude=0.0, sine=0.99999, radius=0.40625)  # the rows beside a pole are that coarse
def test_bearing_of_any_cap(longitude: float, sine: float, radius: float) -> None:
    centre = lonlat_to_vector(longitude, math.asin(sine))
    bearing = mask_bearing(cap(GRID, centre, radius), GRID)
    assert bearing is not None
    beside_a_pole = abs(centre[1]) > math.cos(PIXEL)
    assert angle_between(bearing.direction, centre) < (PIXEL / 2 if beside_a_pole else math.radians(0.2))
    assert np.linalg.norm(bearing.direction) == pytest.approx(1, abs=1e-9)
    area = 2 * math.pi * (1 - math.cos(radius))
    assert bearing.solid_angle == pytest.approx(area, abs=2 * math.pi * math.sin(radius) * PIXEL)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift=st.integers(0, 511))
def test_rolling_the_mask_rolls_the_bearing(seed: int, shift: int) -> None:
    rng = np.random.default_rng(seed)
    centres = normalised(rng.normal(size=(3, 3)))
    mask = np.any([cap(GRID, c, r) for c, r in zip(centres, (0.05, 0.2, 0.5), strict=True)], 0)
    before, after = (
        mask_bearing(mask, GRID, mask_iou=0.6),
        mask_bearing(np.roll(mask, shift, 1), GRID, mask_iou=0.6),
    )
    assert before is not None and after is not None
    angle = shift * 2 * math.pi / GRID.width
    turn = np.array(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    assert angle_between(turn @ before.direction, after.direction) < 1e-12  # search regions are placed by it
    assert after.solid_angle == pytest.approx(before.solid_angle)
    # loose only where the mask just touches a point at which the local longitude jumps
    assert after.extent_vertical == pytest.approx(before.extent_vertical, abs=1e-4)
    assert np.allclose(after.covariance, before.covariance, atol=1e-5)


@pytest.mark.parametrize("u, v", [(0, 0), (511, 0), (0, 255), (511, 128), (0, 128), (300, 17)])
def test_one_pixel_points_at_its_centre(u: int, v: int) -> None:
    mask = np.zeros((256, 512), bool)
    mask[v, u] = True
    bearing = mask_bearing(mask, GRID)
    assert bearing is not None
    assert angle_between(bearing.direction, GRID.pixel_to_vector(u, v)) < 1e-6
    assert bearing.solid_angle == pytest.approx(GRID.pixel_solid_angles()[v], rel=1e-5)
    assert 0 < bearing.extent_vertical < 1.1 * PIXEL


def test_direction_is_the_area_weighted_sum_of_unit_vectors() -> None:
    mask = np.random.default_rng(5).random((256, 512)) < 0.01
    mask[:, 100:400] = False
    mask[:64] = mask[192:] = False
    weights = GRID.pixel_solid_angles()[:, None] * mask
    slow = normalised((vectors(GRID) * weights[..., None]).sum((0, 1)))
    bearing = mask_bearing(mask, GRID, mask_iou=0.0)
    assert bearing is not None
    assert angle_between(bearing.direction, slow) < 1e-5
    assert bearing.solid_angle == pytest.approx(weights.sum(), rel=1e-5)
    east, north = tangent_basis(slow)
    local = vectors(GRID)[mask] @ np.stack([east, north], 1)
    spread = np.einsum("n,ni,nj->ij", weights[mask], local, local) / weights.sum()
    assert np.allclose(bearing.covariance, 4 * spread + np.eye(2) * PIXEL**2 / 12, atol=1e-5)


def test_extents_hold_every_pixel_of_the_mask() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = cap(GRID, normalised(rng.normal(size=3)), rng.uniform(0.02, 1.0))
        bearing = mask_bearing(mask, GRID)
        assert bearing is not None
        east, north = tangent_basis(bearing.direction)
        pixels = vectors(GRID)[mask]
        longitude = np.abs(np.arctan2(pixels @ east, pixels @ bearing.direction)).max()
        latitude = np.abs(np.arcsin(np.clip(pixels @ north, -1, 1))).max()
        assert 2 * longitude <= bearing.extent_horizontal + 1e-9
        assert 2 * latitude <= bearing.extent_vertical + 1e-9


def test_covariance_shrinks_with_a_better_mask() -> None:
    mask = cap(GRID, lonlat_to_vector(3.1, 0.4), 0.2)
    bearings = [mask_bearing(mask, GRID, mask_iou=iou) for iou in (0.2, 0.8, 1.0)]
    variances = [np.trace(b.covariance) for b in bearings if b is not None]
    assert variances == sorted(variances, reverse=True)
    assert variances[-1] == pytest.approx(2 * PIXEL**2 / 12)


def test_the_95_percent_ellipse_holds_95_percent_of_a_gaussian() -> None:
    """Samples lie across the seam and near a pole, along great circles."""
    rng = np.random.default_rng(11)
    covariance = np.array([[0.04, 0.01], [0.01, 0.01]])
    for centre in (lonlat_to_vector(math.pi, 0.0), lonlat_to_vector(1.0, 1.5)):
        basis, inside = np.stack(tangent_basis(centre)), 0
        for offset in rng.multivariate_normal([0, 0], covariance, 2000):
            angle = float(np.linalg.norm(offset))
            other = math.cos(angle) * centre + math.sin(angle) * (offset / angle) @ basis
            inside += squared_deviation(centre, covariance, other) <= ELLIPSE_95
        assert 0.935 < inside / 2000 < 0.965
    assert squared_deviation(centre, np.zeros((2, 2)), other) == math.inf
    assert squared_deviation(centre, covariance, centre) == pytest.approx(0, abs=1e-12)


def test_covariance_is_bounded_by_that_of_an_unknown_direction() -> None:
    most = mask_bearing(cap(GRID, lonlat_to_vector(0.3, 0.2), 2.0), GRID, mask_iou=0.0)
    assert most is not None
    assert np.linalg.eigvalsh(most.covariance).max() == pytest.approx(UNKNOWN_VARIANCE)


def test_empty_and_whole_masks() -> None:
    assert mask_bearing(np.zeros((256, 512), bool), GRID) is None
    whole = mask_bearing(np.ones((256, 512), bool), GRID)
    assert whole is not None
    assert whole.solid_angle == pytest.approx(4 * math.pi, rel=1e-5)
    assert whole.extent_horizontal == pytest.approx(2 * math.pi)
    assert whole.extent_vertical == pytest.approx(math.pi)
    assert np.allclose(whole.covariance, UNKNOWN_VARIANCE * np.eye(2))
    assert np.isfinite(whole.direction).all()


def test_a_wrong_shape_is_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match=r"\(100, 200\).*256 rows x 512 columns"):
        mask_bearing(np.ones((100, 200), bool), GRID)


def test_cropped_panorama() -> None:
    grid = Equirect(512, 128, math.pi / 2)
    centre = lonlat_to_vector(math.pi, 0.3)
    bearing = mask_bearing(cap(grid, centre, 0.25), grid)
    assert bearing is not None
    assert math.degrees(angle_between(bearing.direction, centre)) < 0.1


def test_bearing_takes_less_than_5_ms() -> None:
    grid = Equirect(960, 480)
    mask = cap(grid, lonlat_to_vector(math.pi, 0.2), math.acos(1 - 2 * 0.05))  # 5 % of the sphere
    times = []
    for _ in range(30):
        start = time.perf_counter()
        mask_bearing(mask, grid)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005
