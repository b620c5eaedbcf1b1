"""Own points: the nearest dense cluster that ends where the mask ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.places.mask_window import MaskWindow
from panosam2_ros.places.projected_points import RangeLimits, depth_points, project_points
from panosam2_ros.places.range_clusters import OwnPoints, RangeConfig, own_points

GRID = Equirect(720, 360)
PIXEL = 2 * math.pi / GRID.width
BACKGROUND = 20.0  # m


def own(mask: NDArray[np.bool_], ranges: Floats, turn: float = 0.0) -> tuple[OwnPoints | None, Floats]:
    """Return the own points of a mask before points at ``ranges`` [H, W], turned by so many rad."""
    labels = np.ones(mask.shape, np.uint16)
    xyz = depth_points(ranges.astype(np.float32), labels, GRID.vertical_fov, 0.0)
    points = project_points(xyz @ Rotation.from_euler("y", turn).as_matrix().T, GRID, RangeLimits(0.2, 100.0))
    window = MaskWindow.around(mask, GRID, 0.05)
    assert window is not None
    found = own_points(window, points, RangeConfig())
    return found, points.ranges[found.index] if found is not None else np.zeros(0)


def rectangle(rows: slice, columns: range) -> NDArray[np.bool_]:
    mask = np.zeros((GRID.height, GRID.width), bool)
    mask[rows, np.array(columns) % GRID.width] = True
    return mask


def scene(mask: NDArray[np.bool_], distance: float) -> Floats:
    return np.where(mask, distance, BACKGROUND)


@pytest.mark.parametrize("turned", [-3, -1, 0, 1, 3])
@pytest.mark.parametrize("left", [100, 710])  # the second crosses the seam
def test_misaligned_points_of_the_background_are_left_out(left: int, turned: int) -> None:
    mask = rectangle(slice(160, 200), range(left, left + 24))
    found, ranges = own(mask, scene(mask, 8.0), turned * PIXEL / 3)
    assert found is not None
    assert np.allclose(ranges, 8.0)
    assert len(ranges) > 0.8 * mask.sum()


@pytest.mark.parametrize("turned", [-1, 0, 1])
def test_an_object_behind_an_occluder_has_its_own_range(turned: int) -> None:
    mask, occluder = (rectangle(slice(150, 210), range(a, b)) for a, b in ((100, 116), (116, 140)))
    found, ranges = own(mask, np.where(occluder, 3.0, scene(mask, 9.0)), turned * PIXEL)
    assert found is not None
    assert np.median(ranges) == pytest.approx(9.0)


def test_a_thing_with_holes_is_where_it_is_and_not_at_the_wall_behind() -> None:
    mask = rectangle(slice(150, 200), range(100, 140))
    bars = mask & (np.indices(mask.shape)[1] % 4 == 0)
    found, ranges = own(mask, scene(bars, 6.0))
    assert found is not None
    assert np.allclose(ranges, 6.0)


def test_a_thin_pole_that_points_miss_by_more_than_its_width_is_found_beside_its_mask() -> None:
    mask = rectangle(slice(120, 220), range(300, 302))
    found, ranges = own(mask, scene(mask, 7.0), 0.9 * PIXEL)
    assert found is not None
    assert np.median(ranges) == pytest.approx(7.0)


def test_a_thing_flush_with_a_wall_is_at_the_wall() -> None:
    mask = rectangle(slice(150, 200), range(100, 140))
    found, ranges = own(mask, np.full(mask.shape, 12.0))
    assert found is not None
    assert np.allclose(ranges, 12.0)


def test_too_few_points_are_no_place() -> None:
    mask = rectangle(slice(160, 200), range(100, 124))
    ranges = np.zeros(mask.shape)
    ranges[180, 110:112] = 5.0
    found, _ = own(mask, ranges)
    assert found is None


def test_a_deep_interior_outweighs_a_mask_that_takes_in_a_nearer_thing_at_its_edge() -> None:
    mask, nearer = rectangle(slice(150, 210), range(100, 130)), rectangle(slice(150, 210), range(90, 102))
    found, ranges = own(mask, np.where(nearer, 3.0, scene(mask, 9.0)))
    assert found is not None
    assert np.median(ranges) == pytest.approx(9.0)


def test_points_at_a_masks_edge_count_less_than_those_in_its_middle() -> None:
    mask, post = rectangle(slice(150, 210), range(100, 106)), rectangle(slice(150, 210), range(100, 102))
    found, ranges = own(mask, np.where(post, 3.0, scene(mask, 9.0)))
    assert found is not None
    assert np.allclose(ranges, 9.0)


@given(
    xyz=st.lists(
        st.tuples(*[st.floats(-1e3, 1e3) | st.sampled_from([math.nan, math.inf, 0.0])] * 3), max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_any_points_are_projected_or_left_out(xyz: list[tuple[float, float, float]]) -> None:
    given_points = np.array(xyz, float).reshape(-1, 3)
    with np.errstate(over="ignore", invalid="ignore"):
        points = project_points(given_points, GRID, RangeLimits(0.5, 100.0))
    assert np.isfinite(points.xyz).all()
    assert (points.ranges >= 0.5).all() and (points.ranges <= 100.0).all()
    assert (np.diff(points.rows) >= 0).all()
    assert np.array_equal(given_points[points.source], points.xyz)


def test_limits_that_exclude_everything_are_refused() -> None:
    with pytest.raises(ValueError, match="min_range must be above 0 and below max_range, got 5"):
        RangeLimits(5.0, 2.0)
