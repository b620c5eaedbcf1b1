"""Measure places against exact ground truth: ``python -m tools.bench_places`` prints JSON.

Random yards of solids, a panorama of 1920x640 (120 degrees) and a lidar of 0.2 degrees, 0.4 m above the
camera, with noise and lost points. Masks have the faults of a tracker's; camera and lidar are misaligned by 0
to 3 pixels.
The true place is the point on the exact mask's bearing at the mean range of the object's visible surface.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, normalised, tangent_basis
from panosam2_ros.places.object_place import ELLIPSOID_95, MaskedObject, ObjectPlace, place_by_range
from panosam2_ros.places.projected_points import RangeLimits, depth_points, project_points
from panosam2_ros.places.range_clusters import RangeConfig
from panosam2_ros.places.triangulation import (
    BearingTrail,
    BearingView,
    Triangulated,
    TriangulationConfig,
    TriangulationState,
)
from panosam2_ros.simulation.range_sensor import (
    DepthPanorama,
    LidarSpec,
    SensorPose,
    depth_panorama,
    lidar_scan,
)
from panosam2_ros.simulation.solid_scenes import CAMERA_HEIGHT, YardSpec, sample_yard

GRID = Equirect(1920, 640, math.radians(120))
LIDAR_ABOVE = np.array([0.1, 0.0, 0.4])  # m, of the lidar from the camera, in body axes
UP = np.array([0.0, -1.0, 0.0])
LEAST_PIXELS = 40  # of an object that counts
_RAGGED = 1.0  # pixels, standard deviation of a mask's border
_CORRELATION = 6.0  # pixels along the border
_SHIFT = 0.06  # standard deviation of a shifted mask's shift, shares of its size
_LOST = 0.2  # share of a mask that is lost at most
_NEAR = 0.5  # share of the way from an occluder to the object at which a place counts as the occluder's


@dataclass
class Score:
    """What was measured over many objects."""

    errors: list[float] = field(default_factory=list)  # shares of the range
    to_centre: list[float] = field(default_factory=list)  # shares of the range, to the solid's own centre
    inside: list[bool] = field(default_factory=list)  # of the 95 % ellipsoid
    radial: list[float] = field(default_factory=list)  # errors along the bearing, standard deviations
    missed: int = 0
    at_occluder: int = 0
    hidden: int = 0
    cpu: list[float] = field(default_factory=list)  # s, of each image's places

    def summary(self) -> dict[str, float | int]:
        """Return the figures as JSON types."""
        errors = np.array(self.errors)
        return {
            "objects": len(errors) + self.missed,
            "not_placed": self.missed,
            "median_error_percent_of_range": round(100 * float(np.median(errors)), 3),
            "p95_error_percent_of_range": round(100 * float(np.quantile(errors, 0.95)), 3),
            "median_distance_to_centre_percent_of_range": round(100 * float(np.median(self.to_centre)), 3),
            "coverage_of_95_percent_ellipsoid": round(float(np.mean(self.inside)), 4),
            "median_radial_deviation": round(float(np.median(np.abs(self.radial))), 3),
            "median_cpu_ms_per_image": round(1000 * float(np.median(self.cpu))),
            "partly_hidden": self.hidden,
            "placed_at_occluder": self.at_occluder,
        }


def faulty(mask: NDArray[np.bool_], middle: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask as trackers make them: ragged, and one in three each shifted or without one side.

    ``middle`` is the column of the mask's bearing.
    """
    turn = mask.shape[1] // 2 - middle  # away from the seam
    mask = np.roll(mask, turn, 1)
    rows, columns = np.nonzero(mask)
    size = np.array([np.ptp(rows) + 1, np.ptp(columns) + 1])
    changed = ragged(mask, rng)
    kind = rng.integers(3)
    if kind == 1:
        shift = np.rint(np.clip(rng.normal(0, _SHIFT, 2), -0.3, 0.3) * size).astype(int)
        changed = np.roll(changed, shift, (0, 1))
    elif kind == 2:
        side = rng.normal(size=2)
        along = side[0] * (rows - rows.mean()) / size[0] + side[1] * (columns - columns.mean()) / size[1]
        lost = along > np.quantile(along, 1 - rng.uniform(0, _LOST))
        changed[rows[lost], columns[lost]] = False
    return np.roll(changed if changed.any() else mask, -turn, 1)


def ragged(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask whose border is moved in and out by about a pixel."""
    inside = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - mask.view(np.uint8), cv2.DIST_L2, 5)
    noise = cv2.GaussianBlur(rng.normal(size=mask.shape).astype(np.float32), (0, 0), _CORRELATION / 2)
    ragged_by = min(_RAGGED, float(inside.max()) / 2)  # less for thin things
    moved = np.where(mask, inside - 0.5, 0.5 - outside) + noise * (ragged_by / noise.std())
    return np.asarray(moved > 0)


def direction_covariance(direction: Floats, covariance: Floats) -> Floats:
    """Return [3, 3] of a covariance [2, 2] (east, north) of an optical direction [3]."""
    basis = np.stack(tangent_basis(direction), 1)
    return np.asarray(basis @ covariance @ basis.T)


@dataclass(frozen=True, eq=False)
class Trial:
    """One scene with its ground truth and the objects as a tracker sees them."""

    truth: DepthPanorama
    places: dict[int, Floats]  # true positions [3], optical axes
    centres: dict[int, Floats]  # of the solids [3], optical axes
    occluder: dict[int, float]  # mean range, m, of what hides a part of the object
    seen: list[MaskedObject]
    lidar: Floats  # [N, 3] optical axes


def make_trial(seed: int, spec: YardSpec) -> Trial:
    """Render one scene."""
    rng = np.random.default_rng(seed)
    yaw = Rotation.from_euler("z", rng.uniform(-math.pi, math.pi)).as_matrix()
    camera = SensorPose(np.array([0.0, 0.0, CAMERA_HEIGHT]), yaw)
    solids = sample_yard(spec, rng)
    truth = depth_panorama(solids, camera, GRID)
    to_optical = CameraFrame(FrameConvention.BODY).from_frame
    lidar = SensorPose(camera.position + camera.rotation @ LIDAR_ABOVE, camera.rotation)
    scan = lidar_scan(solids, lidar, LidarSpec(lowest=math.radians(-30), highest=math.radians(15)), rng)
    trial = Trial(truth, {}, {}, {}, [], to_optical(scan + LIDAR_ABOVE))
    for solid in solids:
        mask = truth.labels == solid.obj_id
        exact = mask_bearing(mask, GRID) if solid.obj_id and mask.sum() >= LEAST_PIXELS else None
        if exact is None:
            continue
        weight = np.broadcast_to(GRID.pixel_solid_angles()[:, None], mask.shape)[mask]
        trial.places[solid.obj_id] = float(weight @ truth.ranges[mask] / weight.sum()) * exact.direction
        trial.centres[solid.obj_id] = to_optical((np.array(solid.centre) - camera.position) @ camera.rotation)
        if nearer := _occluder_range(truth, mask):
            trial.occluder[solid.obj_id] = nearer
        seen = masked_object(solid.obj_id, mask, exact.direction, rng)
        trial.seen.extend([seen] if seen is not None else [])
    return trial


def masked_object(
    obj_id: int, mask: NDArray[np.bool_], direction: Floats, rng: np.random.Generator
) -> MaskedObject | None:
    """Return an object as a tracker sees it; None where nothing of its mask is left."""
    rough = faulty(mask, round(float(GRID.vector_to_pixel(direction)[0])), rng)
    bearing = mask_bearing(rough, GRID, mask_iou=float((rough & mask).sum() / (rough | mask).sum()))
    if bearing is None:
        return None
    covariance = direction_covariance(bearing.direction, bearing.covariance)
    return MaskedObject(obj_id, rough, bearing.direction, covariance)


def _occluder_range(truth: DepthPanorama, mask: NDArray[np.bool_]) -> float:
    """Return the mean range, m, of what hides a part of a mask; 0: nothing does."""
    border = cv2.dilate(mask.view(np.uint8), np.ones((5, 5), np.uint8)) > 0
    nearer = border & ~mask & (truth.ranges < truth.ranges[mask].min() - 0.4) & (truth.solids >= 0)
    return float(truth.ranges[nearer].mean()) if nearer.sum() > 3 else 0.0


def judge(score: Score, trial: Trial, obj_id: int, place: ObjectPlace | None) -> None:
    """Compare one place with the truth."""
    true = trial.places[obj_id]
    distance = float(np.linalg.norm(true))
    nearer = trial.occluder.get(obj_id)
    score.hidden += nearer is not None
    if place is None:
        score.missed += 1
        return
    offset = place.position - true
    score.errors.append(float(np.linalg.norm(offset)) / distance)
    score.to_centre.append(float(np.linalg.norm(place.position - trial.centres[obj_id])) / distance)
    score.inside.append(bool(offset @ np.linalg.solve(place.covariance, offset) <= ELLIPSOID_95))
    along = true / distance
    score.radial.append(float(offset @ along) / math.sqrt(float(along @ place.covariance @ along)))
    if nearer is not None and np.linalg.norm(place.position) < nearer + _NEAR * (distance - nearer):
        score.at_occluder += 1


def misaligned(points: Floats, pixels: float, rng: np.random.Generator) -> Floats:
    """Turn points [N, 3] about a random axis by an angle of so many pixels."""
    axis = rng.normal(size=3)
    angle = pixels * 2 * math.pi / GRID.width
    return np.asarray(points @ Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix().T)


def measure_ranges(scenes: int, first_seed: int = 0) -> dict[str, dict[str, float | int]]:
    """Return the figures for the lidar at each misalignment, and for the depth panorama."""
    scores: dict[str, Score] = defaultdict(Score)
    config, limits = RangeConfig(), RangeLimits()
    for seed in range(first_seed, first_seed + scenes):
        trial, rng = make_trial(seed, YardSpec()), np.random.default_rng(seed + 10_000)
        clouds = {f"lidar_misaligned_{k}_pixels": misaligned(trial.lidar, k, rng) for k in range(4)}
        depth = trial.truth.ranges + rng.normal(0, 0.02, trial.truth.ranges.shape).astype(np.float32)
        clouds["depth_panorama"] = depth_points(depth, trial.truth.labels, GRID.vertical_fov, 0.04)
        for name, cloud in clouds.items():
            begun = time.process_time()
            points = project_points(cloud, GRID, limits)
            placed = [(seen.obj_id, place_by_range(seen, GRID, points, UP, config)) for seen in trial.seen]
            scores[name].cpu.append(time.process_time() - begun)
            for obj_id, place in placed:
                judge(scores[name], trial, obj_id, place)
    return {name: score.summary() for name, score in scores.items()}


@dataclass(frozen=True)
class Walk:
    """A camera that walks along an arc past an object."""

    length: float = 4.0  # m
    bend: float = 1.2  # rad by which the way turns
    images: int = 60
    seconds: float = 6.0
    distance: tuple[float, float] = (4.0, 20.0)  # m, of the object at the start
    error: float = math.radians(0.5)  # standard deviation of a bearing
    outliers: float = 0.1  # share of bearings that are of something else
    speed: float = 0.0  # m/s, of the object


def walked(walk: Walk, rng: np.random.Generator) -> tuple[Floats, Triangulated]:
    """Return where an object was at the end of a walk, and where its bearings put it."""
    place = rng.uniform(*walk.distance) * normalised(np.array([*rng.normal(size=2), 0.0]))
    place[2] = rng.uniform(-1.0, 1.0)
    velocity = walk.speed * normalised(np.array([*rng.normal(size=2), 0.0]))
    trail = BearingTrail(TriangulationConfig(body=0.0))
    heading, origin = rng.uniform(-math.pi, math.pi), np.zeros(3)
    for number in range(walk.images):
        part = number / walk.images
        heading += walk.bend / walk.images
        origin = origin + walk.length / walk.images * np.array([math.cos(heading), math.sin(heading), 0.0])
        exact = normalised(place + velocity * part * walk.seconds - origin)
        error = 0.3 if rng.random() < walk.outliers else walk.error
        seen = normalised(exact + error * np.stack(tangent_basis(exact), 1) @ rng.normal(size=2))
        covariance = direction_covariance(seen, walk.error**2 * np.eye(2))
        trail.add(BearingView(int(part * walk.seconds * 1e9) + 1, origin, seen, covariance, 0.0))
    return place + velocity * walk.seconds, trail.solve()


def measure_triangulation(walks: int) -> dict[str, dict[str, float | int]]:
    """Return the figures for objects that stand still, that are far, and that move."""
    kinds = {
        "still": Walk(),
        "still_after_1_m": Walk(length=1.2, bend=0.4),
        "moving_0.5_m_per_s": Walk(speed=0.5),
        "moving_1.5_m_per_s": Walk(speed=1.5),
        "camera_stands": Walk(length=0.0, bend=0.0),
    }
    return {name: _walks(walk, walks, np.random.default_rng(0)) for name, walk in kinds.items()}


def _walks(walk: Walk, count: int, rng: np.random.Generator) -> dict[str, float | int]:
    states: dict[str, int] = defaultdict(int)
    errors, inside = [], []
    for _ in range(count):
        true, found = walked(walk, rng)
        states[found.state.name.lower()] += 1
        if found.state is TriangulationState.KNOWN:
            offset = found.position - true
            errors.append(float(np.linalg.norm(offset) / np.linalg.norm(true)))
            inside.append(bool(offset @ np.linalg.solve(found.covariance, offset) <= ELLIPSOID_95))
    figures: dict[str, float | int] = dict(sorted(states.items()))
    if errors:
        figures["median_error_percent_of_range"] = round(100 * float(np.median(errors)), 3)
        figures["coverage_of_95_percent_ellipsoid"] = round(float(np.mean(inside)), 4)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser("tools.bench_places", description=__doc__)
    parser.add_argument("--scenes", type=int, default=40, help="yards of seven objects")
    parser.add_argument("--walks", type=int, default=200, help="of a camera past one object, of each kind")
    options = parser.parse_args(arguments)
    figures = {
        "ranges": measure_ranges(options.scenes),
        "triangulation": measure_triangulation(options.walks),
    }
    json.dump(figures, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
