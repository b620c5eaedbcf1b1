"""A street of solids with painted surfaces, as a panoramic camera on a robot sees it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.simulation.range_sensor import DepthPanorama, SensorPose, depth_panorama
from panosam2_ros.simulation.solids import Solid, SolidShape

_BOX, _CYLINDER, _BALL = SolidShape.BOX, SolidShape.CYLINDER, SolidShape.ELLIPSOID
_COLOURS = {
    "red car": (178, 34, 36),
    "blue car": (38, 74, 152),
    "white van": (222, 222, 216),
    "glass": (38, 46, 54),
    "tyre": (26, 26, 28),
    "shirt": (206, 130, 34),
    "coat": (44, 104, 74),
    "trousers": (48, 50, 66),
    "skin": (204, 160, 130),
    "pole": (112, 114, 116),
    "trunk": (94, 70, 48),
    "leaves": (66, 106, 48),
    "bin": (46, 116, 64),
    "brick": (150, 96, 78),
    "plaster": (196, 186, 164),
}
_SUN = np.array([0.35, -0.5, 0.8])


def _car(obj_id: int, name: str, x: float, y: float, height: float = 1.5) -> list[Solid]:
    cabin = height - 0.85
    return [
        Solid(_BOX, (x, y, 0.55), (4.2, 1.75, 0.6), 0.0, obj_id, name),
        Solid(_BOX, (x - 0.2, y, 0.85 + cabin / 2), (2.3, 1.6, cabin), 0.0, obj_id, "glass"),
        Solid(_BOX, (x - 0.2, y, height), (2.0, 1.5, 0.08), 0.0, obj_id, name),
        *(
            Solid(_BALL, (x + dx, y + dy, 0.32), (0.64, 0.22, 0.64), 0.0, obj_id, "tyre")
            for dx in (-1.35, 1.35)
            for dy in (-0.8, 0.8)
        ),
    ]


def _person(obj_id: int, colour: str, x: float, y: float) -> list[Solid]:
    return [
        Solid(_CYLINDER, (x, y, 0.42), (0.3, 0.36, 0.84), 0.0, obj_id, "trousers"),
        Solid(_CYLINDER, (x, y, 1.14), (0.34, 0.5, 0.64), 0.0, obj_id, colour),
        Solid(_BALL, (x, y, 1.6), (0.22, 0.2, 0.28), 0.0, obj_id, "skin"),
    ]


def street() -> list[Solid]:
    """Return the solids; objects have the ids 1 to 6, and some of them hide others in part."""
    solids = [
        *_car(1, "red car", 9.0, 3.4),
        *_car(2, "blue car", 4.5, -3.4),
        *_car(3, "white van", -6.0, -3.4, 2.1),
        *_person(4, "shirt", 6.2, 1.2),
        *_person(5, "coat", 7.5, -4.4),
        Solid(_CYLINDER, (3.0, 4.6, 0.5), (0.5, 0.5, 1.0), 0.0, 6, "bin"),
        Solid(_CYLINDER, (4.2, 2.3, 2.0), (0.14, 0.14, 4.0), 0.0, 0, "pole"),
    ]
    for x in (-12.0, -2.0, 14.0, 24.0):
        solids += [
            Solid(_CYLINDER, (x, 5.4, 1.3), (0.3, 0.3, 2.6), 0.0, 0, "trunk"),
            Solid(_BALL, (x, 5.4, 3.8), (2.8, 2.8, 3.0), 0.0, 0, "leaves"),
        ]
    for side, colour in ((8.5, "brick"), (-8.5, "plaster")):
        solids.append(Solid(_BOX, (5.0, side, 4.5), (90.0, 2.0, 9.0), 0.0, 0, colour))
    return solids


def street_view(
    solids: list[Solid], camera: SensorPose, grid: Equirect
) -> tuple[NDArray[np.uint8], DepthPanorama]:
    """Render what the camera sees, RGB [H, W, 3], and its ranges and labels."""
    truth = depth_panorama(solids, camera, grid)
    rotation = camera.rotation @ CameraFrame(FrameConvention.BODY).rotation()
    rays = np.moveaxis(grid.rotated_vectors(rotation), 0, -1).astype(float)
    picture = _sky(rays)
    hit = np.isfinite(truth.ranges)
    points = np.where(hit[..., None], camera.position + np.where(hit, truth.ranges, 0)[..., None] * rays, 0.0)
    ground = truth.solids == -1
    picture[ground] = _ground(points[ground])
    for index, solid in enumerate(solids):
        on = truth.solids == index
        if on.any():
            picture[on] = _surface(solid, points[on])
    haze = np.clip(np.where(hit, truth.ranges, 0.0) / 160.0, 0.0, 0.6)[..., None]
    picture = picture * (1 - haze) + np.array([196.0, 208.0, 220.0]) * haze
    grain = np.random.default_rng(0).normal(0, 2.0, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8), truth


def _sky(rays: Floats) -> Floats:
    height = np.clip(rays[..., 2:3], 0.0, 1.0)
    return np.asarray(
        np.array([206.0, 216.0, 226.0]) * (1 - height) + np.array([92.0, 140.0, 206.0]) * height
    )


def _noise(points: Floats, cell: float) -> Floats:
    """Return a value from -1 to 1 for the cell of each point [N, 3]."""
    cells = np.floor(points / cell).astype(np.int64)
    mixed = (cells * np.array([73856093, 19349663, 83492791])).sum(1)
    return np.asarray(((mixed ^ (mixed >> 7)) % 255) / 127.5 - 1.0)


def _ground(points: Floats) -> Floats:
    points = points * np.array([1.0, 1.0, 0.0])
    x, y = points[:, 0], points[:, 1]
    grey = 96 + 5 * _noise(points, 0.3) + 4 * _noise(points, 1.1)
    grey = np.where(np.abs(y) > 4.2, 148 + 6 * _noise(points, 0.6), grey)
    grey = np.where((np.abs(y) < 0.08) & (x % 4 < 2), 224, grey)
    return np.asarray(grey[:, None] * np.array([1.0, 1.0, 0.98]))


def _surface(solid: Solid, points: Floats) -> Floats:
    """Return the colours [N, 3] of points on a solid."""
    offset = points - np.array(solid.centre)
    cos, sin = math.cos(solid.yaw), math.sin(solid.yaw)
    own = np.stack(
        [cos * offset[:, 0] + sin * offset[:, 1], -sin * offset[:, 0] + cos * offset[:, 1], offset[:, 2]], 1
    )
    scaled = own / (np.array(solid.size) / 2)
    if solid.shape is _BOX:
        normal = np.where(np.abs(scaled) >= np.abs(scaled).max(1, keepdims=True), np.sign(scaled), 0.0)
    else:
        flat = np.array([1.0, 1.0, 0.0 if solid.shape is _CYLINDER else 1.0])
        normal = scaled / np.array(solid.size) * flat
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    light = 0.62 + 0.38 * np.clip(normal @ (_SUN / np.linalg.norm(_SUN)), -0.4, 1.0)
    colour = np.array(_COLOURS[solid.name], float)[None]
    speckle = 1 + (0.16 if solid.name in ("leaves", "brick") else 0.03) * _noise(points, 0.12)
    painted = colour * (light * speckle)[:, None]
    if solid.name in ("brick", "plaster"):
        window = (points[:, 0] % 3.2 < 1.5) & (points[:, 2] % 3.0 > 1.1) & (points[:, 2] % 3.0 < 2.5)
        painted[window] = np.array([58.0, 70.0, 84.0]) * (1 + 0.1 * _noise(points[window], 0.8))[:, None]
    return np.asarray(painted)
