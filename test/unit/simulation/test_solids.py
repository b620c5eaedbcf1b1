"""Rays meet solids where geometry says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import normalised
from panosam2_ros.simulation.range_sensor import LidarSpec, SensorPose, depth_panorama, lidar_scan
from panosam2_ros.simulation.solid_scenes import YardSpec, sample_yard
from panosam2_ros.simulation.solids import Solid, SolidShape, cast_rays

FORWARD = np.array([[1.0, 0.0, 0.0]])
ORIGIN = np.array([0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("shape", "yaw", "expected"),
    [
        (SolidShape.BOX, 0.0, 9.0),
        (SolidShape.BOX, math.pi / 4, 10 - math.sqrt(2)),
        (SolidShape.CYLINDER, 0.3, 9.0),
        (SolidShape.ELLIPSOID, 0.3, 9.0),
    ],
)
def test_a_ray_meets_the_near_side(shape: SolidShape, yaw: float, expected: float) -> None:
    hits = cast_rays([Solid(shape, (10.0, 0.0, 1.0), (2.0, 2.0, 2.0), yaw, 7)], ORIGIN, FORWARD)
    assert hits.ranges == pytest.approx([expected])
    assert hits.obj_ids.tolist() == [7]


def test_the_nearest_of_several_is_met_and_the_rest_is_ground_or_sky() -> None:
    near = Solid(SolidShape.BOX, (4.0, 0.0, 1.0), (1.0, 1.0, 2.0), obj_id=1)
    far = Solid(SolidShape.BOX, (8.0, 0.0, 1.0), (1.0, 1.0, 2.0), obj_id=2)
    rays = np.array([[1.0, 0, 0], [-1.0, 0, 0], *normalised([[-1.0, 0, -1.0]])])
    hits = cast_rays([far, near], ORIGIN, rays)
    assert hits.ranges == pytest.approx([3.5, math.inf, math.sqrt(2)])
    assert hits.solids.tolist() == [1, -2, -1]


def test_hits_lie_on_the_surface() -> None:
    rays = normalised(np.random.default_rng(0).normal(size=(20_000, 3)))
    ball = Solid(SolidShape.ELLIPSOID, (3.0, 1.0, 0.5), (2.0, 1.0, 1.5), 0.7)
    hits = cast_rays([ball], ORIGIN, rays, ground=False)
    met = np.isfinite(hits.ranges)
    points = ORIGIN + hits.ranges[met, None] * rays[met] - np.array(ball.centre)
    cos, sin = math.cos(ball.yaw), math.sin(ball.yaw)
    own = points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]]) / (np.array(ball.size) / 2)
    assert met.sum() > 50
    assert np.linalg.norm(own, axis=1) == pytest.approx(np.ones(met.sum()))


def test_panorama_and_lidar_see_the_same_scene() -> None:
    solids = sample_yard(YardSpec(objects=3), np.random.default_rng(1))
    pose, grid = SensorPose(np.array([0.0, 0.0, 1.5]), np.eye(3)), Equirect(360, 180)
    seen = depth_panorama(solids, pose, grid)
    spec = LidarSpec(spacing=math.radians(2.0), noise=0.0, dropped=0.0)
    points = lidar_scan(solids, pose, spec, np.random.default_rng(0)).astype(float)
    optical = np.stack([-points[:, 1], -points[:, 2], points[:, 0]], 1)
    u, v = grid.vector_to_pixel(optical)
    ranges = seen.ranges[np.rint(v).astype(int), np.rint(u).astype(int) % grid.width]
    seen_too = np.isfinite(ranges)  # a pixel at the edge of a wall may be sky
    difference = np.abs(np.linalg.norm(points, axis=1) - ranges)[seen_too] / ranges[seen_too]
    assert seen_too.mean() > 0.9
    assert np.median(difference) < 0.02 and np.quantile(difference, 0.8) < 0.06
    assert set(np.unique(seen.labels)) == {0, 1, 2, 3}
