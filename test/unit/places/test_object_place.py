"""Places by range against exact ground truth: error, coverage, hidden objects, misalignment, boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.places.object_place import (
    MaskedObject,
    ObjectPlace,
    PlaceSource,
    place_by_range,
    sight_axes,
)
from panosam2_ros.places.place_estimator import CameraPose, PlaceEstimator, PlaceInput, SeenObject
from panosam2_ros.places.projected_points import RangeLimits, depth_points, project_points
from panosam2_ros.places.range_clusters import RangeConfig
from panosam2_ros.places.triangulation import TriangulationConfig
from panosam2_ros.simulation.range_sensor import DepthPanorama, SensorPose, depth_panorama
from panosam2_ros.simulation.solids import Solid, SolidShape
from tools.bench_places import GRID, UP, direction_covariance, measure_ranges

CAMERA = SensorPose(np.array([0.0, 0.0, 1.5]), np.eye(3))
CONFIG = RangeConfig()
OPTICAL = CameraFrame(FrameConvention.BODY)
CRATE = Solid(SolidShape.BOX, (8.0, 0.0, 0.6), (1.0, 1.6, 1.2), obj_id=5)
POST = Solid(SolidShape.BOX, (4.0, 0.15, 1.0), (0.2, 0.25, 2.0))
WALL = Solid(SolidShape.BOX, (15.0, 0.0, 3.0), (0.3, 40.0, 6.0))


@pytest.fixture(scope="module")
def hidden() -> Iterator[DepthPanorama]:
    """A crate before a wall, behind a post."""
    yield depth_panorama([CRATE, POST, WALL], CAMERA, GRID)


def masked(truth: DepthPanorama, obj_id: int = 5) -> MaskedObject:
    mask = truth.labels == obj_id
    bearing = mask_bearing(mask, GRID)
    assert bearing is not None
    covariance = direction_covariance(bearing.direction, bearing.covariance)
    return MaskedObject(obj_id, mask, bearing.direction, covariance)


def placed(truth: DepthPanorama) -> ObjectPlace:
    xyz = depth_points(truth.ranges, truth.labels, GRID.vertical_fov, 0.05)
    place = place_by_range(masked(truth), GRID, project_points(xyz, GRID, RangeLimits()), UP, CONFIG)
    assert place is not None
    return place


def test_a_hidden_object_is_at_its_own_range(hidden: DepthPanorama) -> None:
    place = placed(hidden)
    assert place.source is PlaceSource.RANGE
    assert np.linalg.norm(place.position) == pytest.approx(hidden.ranges[hidden.labels == 5].mean(), rel=0.01)
    body = OPTICAL.to_frame(place.position)
    assert body[0] == pytest.approx(7.5, abs=0.1)


def test_its_own_points_lie_on_it_and_the_box_is_what_is_seen(hidden: DepthPanorama) -> None:
    place = placed(hidden)
    xyz = depth_points(hidden.ranges, hidden.labels, GRID.vertical_fov, 0.05)
    own = OPTICAL.to_frame(project_points(xyz, GRID, RangeLimits()).xyz[place.points])
    assert len(own) > 1000
    assert (np.abs(own[:, 0] - 7.5) < 0.02).mean() > 0.6  # its front; the rest is its top
    assert (own[:, 0] < 8.6).all()
    assert place.box.size[1] == pytest.approx(1.6, abs=0.15)
    assert place.box.size[2] == pytest.approx(1.2, abs=0.15)
    assert place.box.size[0] < 1.15  # not what is behind
    assert np.linalg.det(place.box.axes) == pytest.approx(1.0)


def test_a_place_in_another_frame_is_the_same_place(hidden: DepthPanorama) -> None:
    place = placed(hidden)
    turn, shift = OPTICAL.rotation(), np.array([1.0, 2.0, 3.0])
    moved = place.moved(turn, shift)
    assert moved.position == pytest.approx(turn @ place.position + shift)
    assert moved.covariance == pytest.approx(turn @ place.covariance @ turn.T)
    corner = place.box.centre + place.box.axes @ (place.box.size / 2)
    assert moved.box.centre + moved.box.axes @ (moved.box.size / 2) == pytest.approx(turn @ corner + shift)


@pytest.mark.parametrize("direction", [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
def test_axes_of_a_box_are_right_handed_also_straight_below(direction: list[float]) -> None:
    axes = sight_axes(np.array(direction), UP)
    assert axes.T @ axes == pytest.approx(np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert axes[:, 2] == pytest.approx(UP)


def test_error_coverage_and_hidden_objects_in_a_random_yard() -> None:
    figures = measure_ranges(1, first_seed=100)
    assert set(figures) == {*(f"lidar_misaligned_{k}_pixels" for k in range(4)), "depth_panorama"}
    for name, each in figures.items():
        assert each["objects"] >= 5, name
        assert each["not_placed"] <= 0.2 * each["objects"], name
        assert each["median_error_percent_of_range"] < 3.0, name
        assert each["coverage_of_95_percent_ellipsoid"] >= 0.8, name
        assert each["placed_at_occluder"] == 0, name
    assert figures["lidar_misaligned_0_pixels"]["partly_hidden"] > 0


def seen(masked_object: MaskedObject) -> SeenObject:
    return SeenObject(5, masked_object.direction, masked_object.covariance, 0.2, 0.15)


def image(number: int, pose: CameraPose, at: Floats, **ranges: object) -> PlaceInput:
    """Return an image in which object 5 is seen at ``at`` in the fixed frame."""
    direction = pose.rotation.T @ (at - pose.position)
    direction /= np.linalg.norm(direction)
    covariance = direction_covariance(direction, math.radians(0.3) ** 2 * np.eye(2))
    known = SeenObject(5, direction, covariance, 0.05, 0.05)
    return PlaceInput(number * 10**8, [known], frozenset({5}), UP, camera=pose, **ranges)  # type: ignore[arg-type]


def test_an_estimator_triangulates_without_ranges_and_forgets_objects_that_are_gone() -> None:
    estimator = PlaceEstimator(CONFIG, TriangulationConfig())
    at = np.array([5.0, 1.0, 0.5])
    result = estimator.update(image(0, CameraPose(OPTICAL.rotation(), np.zeros(3)), at))
    assert result.places == []
    assert "the camera has to move" in result.missing[5]
    for i in range(1, 20):
        pose = CameraPose(OPTICAL.rotation(), np.array([0.0, -0.15 * i, 0.0]))
        result = estimator.update(image(i, pose, at))
    (place,) = result.places
    assert place.source is PlaceSource.TRIANGULATION
    assert pose.position + pose.rotation @ place.position == pytest.approx(at, abs=0.05)
    assert place.box.size[0] == 0.0  # bearings do not tell the depth
    estimator.update(PlaceInput(2_100_000_000, [], frozenset(), UP))
    assert estimator.remembered == 0


def test_an_estimator_prefers_ranges(hidden: DepthPanorama) -> None:
    estimator = PlaceEstimator(CONFIG, TriangulationConfig())
    xyz = depth_points(hidden.ranges, hidden.labels, GRID.vertical_fov, 0.05)
    points = project_points(xyz, GRID, RangeLimits())
    with_ranges = PlaceInput(
        1, [seen(masked(hidden))], frozenset({5}), UP, labels=hidden.labels, grid=GRID, points=points
    )
    (place,) = estimator.update(with_ranges).places
    assert place.source is PlaceSource.RANGE
    without = PlaceInput(2, [seen(masked(hidden))], frozenset({5}), UP)
    assert estimator.update(without).missing[5].startswith("no ranges; no odometry")
