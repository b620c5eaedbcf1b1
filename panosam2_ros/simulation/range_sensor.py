"""A simulated lidar and depth panorama of a scene of solids, with exact label images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.simulation.solids import Solid, cast_rays

_ROWS = 64  # of a panorama whose rays are cast at a time


@dataclass(frozen=True, eq=False)
class SensorPose:
    """Where a sensor is in the scene."""

    position: Floats  # [3] m
    rotation: Floats  # [3, 3] from the sensor's body axes (x forward, y left, z up) to the scene's


@dataclass(frozen=True)
class LidarSpec:
    """The pattern and the errors of a rotating lidar."""

    spacing: float = math.radians(0.2)  # rad, between neighbouring rays both ways
    lowest: float = math.radians(-40.0)  # rad, elevation
    highest: float = math.radians(40.0)  # rad, elevation
    noise: float = 0.02  # m, standard deviation of a range
    dropped: float = 0.02  # share of rays without an answer
    farthest: float = 100.0  # m


@dataclass(frozen=True, eq=False)
class DepthPanorama:
    """The exact ranges and labels of a panorama."""

    ranges: NDArray[np.float32]  # [H, W] m along each pixel's ray, inf: nothing
    labels: NDArray[np.uint16]  # [H, W] object id, 0: background
    solids: NDArray[np.int32]  # [H, W] as of ``RayHits``


def depth_panorama(solids: Sequence[Solid], camera: SensorPose, grid: Equirect) -> DepthPanorama:
    """Render ranges and labels of a camera's panorama; each pixel is one ray through its centre."""
    shape = grid.height, grid.width
    ranges, labels = np.empty(shape, np.float32), np.empty(shape, np.uint16)
    which = np.empty(shape, np.int32)
    rotation = camera.rotation @ CameraFrame(FrameConvention.BODY).rotation()
    for top in range(0, grid.height, _ROWS):
        rows = slice(top, min(top + _ROWS, grid.height))
        rays = np.moveaxis(grid.rotated_vectors(rotation, rows=rows), 0, -1).reshape(-1, 3).astype(float)
        hits = cast_rays(solids, camera.position, rays)
        block = rows.stop - rows.start, grid.width
        ranges[rows], labels[rows] = hits.ranges.reshape(block), hits.obj_ids.reshape(block)
        which[rows] = hits.solids.reshape(block)
    return DepthPanorama(ranges, labels, which)


def lidar_scan(
    solids: Sequence[Solid], lidar: SensorPose, spec: LidarSpec, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Simulate a scan: points [N, 3], m, in the lidar's own body axes."""
    azimuths = np.arange(-math.pi, math.pi, spec.spacing)
    elevations = np.arange(spec.lowest, spec.highest, spec.spacing)
    azimuth, elevation = (a.ravel() for a in np.meshgrid(azimuths, elevations))
    level = np.cos(elevation)
    rays = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], 1)
    hits = cast_rays(solids, lidar.position, rays @ lidar.rotation.T)
    ranges = hits.ranges + rng.normal(0.0, spec.noise, len(rays))
    kept = (hits.ranges < spec.farthest) & (rng.random(len(rays)) >= spec.dropped) & (ranges > 0)
    return np.asarray(rays[kept] * ranges[kept, None], np.float32)
