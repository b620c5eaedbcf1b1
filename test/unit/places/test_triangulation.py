"""Triangulation: where bearings meet, how well that is known, and when it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from panosam2_ros.geometry.sphere import Floats, normalised, tangent_basis
from panosam2_ros.places.object_place import ELLIPSOID_95
from panosam2_ros.places.triangulation import (
    BearingTrail,
    BearingView,
    TriangulationConfig,
    TriangulationState,
    triangulate,
)
from tools.bench_places import Walk, measure_triangulation, walked

CONFIG = TriangulationConfig()
PLACE = np.array([6.0, 2.0, 0.5])
SIGMA = math.radians(0.5)


def view(number: int, origin: Floats, place: Floats = PLACE, error: Floats | None = None) -> BearingView:
    direction = normalised(place - origin)
    basis = np.stack(tangent_basis(direction), 1)
    if error is not None:
        direction = normalised(direction + basis @ error)
    return BearingView(number * 100_000_000, origin, direction, SIGMA**2 * basis @ basis.T, 0.0)


def walk(count: int = 30, step: float = 0.1) -> list[Floats]:
    """Return places of a camera on an arc."""
    return [
        np.array([3 * math.sin(step * i / 3), -3 + 3 * math.cos(step * i / 3), 0.0]) for i in range(count)
    ]


def test_exact_bearings_meet_in_the_object() -> None:
    solved = triangulate([view(i, at) for i, at in enumerate(walk())], CONFIG)
    assert solved.state is TriangulationState.KNOWN
    assert solved.position == pytest.approx(PLACE, abs=1e-4)
    assert solved.outliers == 0


def test_a_camera_that_stands_still_says_that_it_has_to_move() -> None:
    trail = BearingTrail(CONFIG)
    for i in range(100):
        trail.add(view(i, np.zeros(3)))
    assert len(trail) == 1
    solved = trail.solve()
    assert solved.state is TriangulationState.TOO_FEW
    assert np.isnan(solved.position).all()


def test_a_camera_that_drives_towards_the_object_has_no_parallax() -> None:
    towards = normalised(PLACE)
    solved = triangulate([view(i, 0.1 * i * towards) for i in range(20)], CONFIG)
    assert solved.state is TriangulationState.NO_PARALLAX


def test_little_parallax_is_uncertain_and_more_makes_it_known() -> None:
    rng = np.random.default_rng(0)
    views = [view(i, at, error=SIGMA * rng.normal(size=2)) for i, at in enumerate(walk(40))]
    states = [triangulate(views[:n], CONFIG).state for n in (2, 6, 40)]
    assert states[0] is TriangulationState.TOO_FEW
    assert states[1] in (TriangulationState.NO_PARALLAX, TriangulationState.UNCERTAIN)
    assert states[2] is TriangulationState.KNOWN


def test_bearings_of_another_thing_do_no_harm() -> None:
    rng = np.random.default_rng(1)
    views = [view(i, at, error=SIGMA * rng.normal(size=2)) for i, at in enumerate(walk(40))]
    for i in range(0, 40, 5):
        views[i] = view(i, walk(40)[i], np.array([2.0, -4.0, 1.0]))
    solved = triangulate(views, CONFIG)
    assert solved.state is TriangulationState.KNOWN
    assert solved.outliers == 8
    offset = solved.position - PLACE
    assert offset @ np.linalg.solve(solved.covariance, offset) < ELLIPSOID_95


@pytest.mark.faults
def test_an_object_that_moves_is_said_to() -> None:
    views = [view(i, at, PLACE + i * np.array([-0.05, 0.1, 0.0])) for i, at in enumerate(walk(40))]
    assert triangulate(views, CONFIG).state is TriangulationState.MOVING


def test_memory_is_bounded_in_number_and_time() -> None:
    trail = BearingTrail(TriangulationConfig(most_views=10, memory=5.0))
    for i in range(200):
        trail.add(view(i, np.array([0.2 * i, 0.0, 0.0])))
        assert len(trail) <= 10
    trail.add(view(300, np.array([100.0, 0.0, 0.0])))
    assert len(trail) == 1


def test_images_that_come_out_of_order_are_ignored() -> None:
    trail = BearingTrail(CONFIG)
    trail.add(view(5, np.zeros(3)))
    trail.add(view(4, np.ones(3)))
    assert len(trail) == 1


@pytest.mark.faults
def test_a_bag_that_begins_again_begins_anew() -> None:
    trail = BearingTrail(CONFIG)
    for i, at in enumerate(walk(20)):
        trail.add(view(100 + i, at))
    trail.add(view(0, np.array([50.0, 0.0, 0.0])))
    assert len(trail) == 1


def test_error_and_coverage_over_many_walks() -> None:
    figures = measure_triangulation(12)
    still = figures["still"]
    assert still["known"] >= 10
    assert still["median_error_percent_of_range"] < 3.0
    assert still["coverage_of_95_percent_ellipsoid"] >= 0.7
    assert figures["moving_1.5_m_per_s"]["moving"] >= 9
    assert figures["camera_stands"] == {"too_few": 12}


def test_objects_that_are_farther_are_known_less_well() -> None:
    sizes = []
    for distance in (4.0, 12.0):
        rng = np.random.default_rng(3)
        _, solved = walked(Walk(distance=(distance, distance), outliers=0.0), rng)
        sizes.append(np.trace(solved.covariance))
    assert sizes[1] > 5 * sizes[0]
