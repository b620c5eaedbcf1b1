"""Random scenes of solids whose places are known: a yard with walls, some objects partly hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from panosam2_ros.simulation.solids import Solid, SolidShape

CAMERA_HEIGHT = 1.5  # m above the ground
_WALL_HEIGHT = 6.0  # m
_KINDS = (  # name, shape, size, m
    ("crate", SolidShape.BOX, (0.8, 0.8, 0.9)),
    ("person", SolidShape.CYLINDER, (0.5, 0.35, 1.75)),
    ("car", SolidShape.BOX, (4.2, 1.8, 1.5)),
    ("ball", SolidShape.ELLIPSOID, (0.5, 0.5, 0.5)),
    ("pole", SolidShape.CYLINDER, (0.12, 0.12, 2.5)),
    ("barrel", SolidShape.CYLINDER, (0.6, 0.6, 0.9)),
    ("bush", SolidShape.ELLIPSOID, (1.4, 1.4, 1.2)),
)


@dataclass(frozen=True)
class YardSpec:
    """What a yard holds."""

    objects: int = 7  # with ids, from 1 on
    nearest: float = 3.0  # m
    farthest: float = 20.0  # m
    hidden: float = 0.4  # share of the objects in front of which another thing stands
    wall: float = 25.0  # m from the middle to each wall


def sample_yard(spec: YardSpec, rng: np.random.Generator) -> list[Solid]:
    """Sample a scene round the origin: four walls, objects, and occluders without ids."""
    reach, thickness = spec.wall, 0.3
    walls = [
        Solid(
            SolidShape.BOX,
            (reach * x, reach * y, _WALL_HEIGHT / 2),
            (thickness, 2 * reach, _WALL_HEIGHT),
            yaw,
        )
        for x, y, yaw in ((1, 0, 0.0), (-1, 0, 0.0), (0, 1, math.pi / 2), (0, -1, math.pi / 2))
    ]
    solids = [*walls]
    bearings = (np.arange(spec.objects) + rng.uniform(-0.2, 0.2, spec.objects)) * 2 * math.pi / spec.objects
    for obj_id, bearing in enumerate(bearings, 1):
        name, shape, size = _KINDS[rng.integers(len(_KINDS))]
        distance = float(np.exp(rng.uniform(math.log(spec.nearest), math.log(spec.farthest))))
        distance = max(distance, 1.5 + max(size))
        at, yaw = _standing(bearing, distance, size[2]), float(rng.uniform(0, math.pi))
        solids.append(Solid(shape, at, size, yaw, obj_id, name))
        if rng.random() < spec.hidden:
            solids.append(_occluder(bearing, distance, size, rng))
    return solids


def _occluder(
    bearing: float, distance: float, size: tuple[float, float, float], rng: np.random.Generator
) -> Solid:
    """Make a post or a low box that hides a part of an object of this size."""
    near = max(distance * float(rng.uniform(0.4, 0.75)), 1.2)
    near = min(near, distance - max(size) / 2 - 0.8)
    low = rng.random() < 0.5
    across = float(rng.uniform(0.25, 0.5)) * min(size[0], size[1]) * near / distance
    aside = float(rng.choice([-1, 1])) * 0.3 * min(size[0], size[1]) / distance
    height = CAMERA_HEIGHT - (CAMERA_HEIGHT - 0.45 * size[2]) * near / distance if low else 2.2
    wide = 1.5 * max(size) * near / distance if low else max(across, 0.04)
    box = (0.3, wide, max(height, 0.05))
    at = _standing(bearing + (0 if low else aside), near, box[2])
    return Solid(SolidShape.BOX, at, box, bearing, name="occluder")


def _standing(bearing: float, distance: float, height: float) -> tuple[float, float, float]:
    """Return the centre of a thing of a height on the ground."""
    return distance * math.cos(bearing), distance * math.sin(bearing), height / 2
