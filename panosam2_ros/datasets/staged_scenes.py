"""Staged scenes: short synthetic videos, each of which shows one situation that a rule of the tracker is for.

Light that changes by a factor within one frame, two objects that cross, a small object in front of a larger
one, thin objects, and objects that move by many degrees a frame from the first frame on. Their material is
that of the training split, so that rules may be chosen on them. Everything follows from a scene's name, and
every frame can be rendered by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from panosam2_ros.datasets.sequence import SceneSequence
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector, rotation_matrix, tangent_basis
from panosam2_ros.simulation.assets import AssetLibrary, Split, tone_map
from panosam2_ros.simulation.compositor import Background, paint_labels, project
from panosam2_ros.simulation.sprites import Sprite, recoloured, textured_shape, thin_strip

GRID = Equirect(960, 480)
SCENE_FRAMES, MEETING = 32, 16  # frames of a scene, and the one in which its objects are closest
LIGHT_FACTORS, LIGHT_FRAME = (0.3, 0.5, 1.8), 8  # of all pixels, and the first frame with it
# Rad a frame, of either object: as people and cars pass a camera at 10 Hz, and twice as fast.
SPEEDS = {"slow": 0.018, "medium": 0.035, "fast": 0.06}
JUMPS = (15, 20)  # degrees a frame
STAGED_KINDS = ("light", "crossing", "front", "thin", "jump")  # first words of names
_CAMERA_YAW = 0.01  # rad a frame, in every other scene
_THIN, _LONG = math.radians(1.5), math.radians(30)
_VARIANTS = {"light": 4, "crossing": 3, "front": 4, "thin": 6, "jump": 8}


@dataclass(frozen=True, eq=False)
class Actor:
    """One object of a staged scene, which moves on a great circle."""

    obj_id: int
    sprite: Sprite
    diameter: float  # rad
    place: tuple[float, float]  # longitude and latitude in frame MEETING, rad, world axes
    velocity: tuple[float, float] = (0.0, 0.0)  # rad a frame there, to the right and up
    roll: float = 0.0  # rad, about the line of sight

    def pose(self, index: int) -> Floats:
        """Return the axes [3, 3] of its sprite in a frame: columns right, down, forward in world axes."""
        forward = lonlat_to_vector(*self.place)
        east, north = tangent_basis(forward)
        right, up = self.velocity
        moved = rotation_matrix((index - MEETING) * np.array([up, right, 0.0]))
        rolled = rotation_matrix([0.0, 0.0, self.roll])
        return np.asarray(np.stack([east, -north, forward], -1) @ moved @ rolled)


@dataclass(frozen=True, eq=False)
class StagedFrame:
    """One frame of a staged scene."""

    image: ImageArray  # [H, W, 3] RGB
    labels: ImageArray  # [H, W] object ids, 0 = none


class StagedScene:
    """A still panorama with actors, far to near, and a factor on the light from ``LIGHT_FRAME`` on."""

    grid = GRID

    def __init__(
        self, panorama: ImageArray, actors: tuple[Actor, ...], *, yaw: float = 0.0, light: float = 1.0
    ) -> None:
        """Take the actors; ``yaw``: rotation of the camera, rad a frame."""
        self._background, self._actors = Background(panorama, GRID), actors
        self._yaw, self._light = yaw, light

    def __len__(self) -> int:
        return SCENE_FRAMES

    def render(self, index: int) -> StagedFrame:
        """Render one frame with its ground truth."""
        camera = rotation_matrix([0.0, self._yaw * index, 0.0])
        layers = [
            (actor.obj_id, project(actor.sprite, camera @ actor.pose(index), actor.diameter, GRID))
            for actor in self._actors
        ]
        image = self._background.render(camera)
        for _, patches in layers:
            for patch in patches:
                patch.blend(image)
        if index >= LIGHT_FRAME and self._light != 1:
            image = np.asarray(cv2.convertScaleAbs(image, alpha=self._light), np.uint8)
        return StagedFrame(image, paint_labels(layers, GRID)[0])


def staged_names() -> tuple[str, ...]:
    """Return the names of all scenes."""
    found = [f"light-{factor}-{k}" for factor in LIGHT_FACTORS for k in range(_VARIANTS["light"])]
    for likeness in ("like", "unlike"):
        found += [f"crossing-{likeness}-{s}-{k}" for s in SPEEDS for k in range(_VARIANTS["crossing"])]
    for likeness in ("like", "unlike"):
        found += [f"front-{likeness}-{k}" for k in range(_VARIANTS["front"])]
    found += [f"thin-{k}" for k in range(_VARIANTS["thin"])]
    return (*found, *(f"jump-{step}-{k}" for step in JUMPS for k in range(_VARIANTS["jump"])))


def open_staged(name: str, library: AssetLibrary | None = None) -> SceneSequence:
    """Open the scene of a name; its attributes are the kind and what else the name says.

    Raises ValueError for a name that is none of ``staged_names``.
    """
    if name not in staged_names():
        raise ValueError(f"a staged scene is one of {', '.join(staged_names())}, got {name!r}")
    kind, *words, variant = name.split("-")
    stage = _Stage(library or AssetLibrary.shipped(Split.TRAIN), int(variant))
    makers: dict[str, Callable[..., StagedScene]] = {
        "light": stage.light, "crossing": stage.crossing, "front": stage.front, "thin": stage.thin,
        "jump": stage.jump,
    }  # fmt: skip
    parts = ["-".join([kind, *words[:n]]) for n in range(len(words) + 1)]
    return SceneSequence(name, makers[kind](*words), attributes=frozenset(parts))


class _Stage:
    """Sets scenes up from the material of a library; the variant chooses sprites, places and paths."""

    def __init__(self, library: AssetLibrary, variant: int) -> None:
        self._library, self._variant = library, variant
        self._yaw = _CAMERA_YAW * (variant % 2)
        self._place = (-2.9 + 1.7 * variant, (0.1, -0.3, 0.5, 0.0)[variant % 4])
        heading = (0.0, 0.5, 2.2, -1.1)[variant % 4]
        self._heading = np.array([math.cos(heading), math.sin(heading)])

    def light(self, factor: str) -> StagedScene:
        """Stage an object that moves slowly when the light changes."""
        actor = Actor(1, self._sprite(0), math.radians(24), self._place, self._velocity(0.01))
        return self._scene(actor, light=float(factor))

    def crossing(self, likeness: str, speed: str) -> StagedScene:
        """Stage two objects that pass one in front of the other; every third time one of them stands."""
        first = self._sprite(3)
        second = _mirrored(first) if likeness == "like" else self._sprite(6)
        pace = SPEEDS[speed]
        paces = (0.0, -2 * pace) if self._variant % 3 == 2 else (pace, -pace)
        lon, lat = self._place
        behind = Actor(1, first, math.radians(22), (lon, lat), self._velocity(paces[0]))
        beside = lat + 0.06 * (self._variant % 3)  # not always hidden altogether
        before = Actor(2, second, math.radians(20), (lon, beside), self._velocity(paces[1]))
        return self._scene(behind, before)

    def front(self, likeness: str) -> StagedScene:
        """Stage a small object that passes in front of a large one that stands."""
        large = self._shape(1.0)
        small = self._shape(1.0, dent=0.2) if likeness == "like" else self._sprite(9)
        behind = Actor(1, large, math.radians(42), self._place)
        pace = (SPEEDS["slow"], SPEEDS["medium"])[self._variant % 2]
        before = Actor(2, small, math.radians(12), self._place, self._velocity(pace))
        return self._scene(behind, before)

    def thin(self) -> StagedScene:
        """Stage a plate that is seen edge on."""
        texture = self._sprite(2).rgba if self._variant % 2 else self._shape(1.0).rgba
        roll = math.pi / 6 * self._variant
        sprite = Sprite(thin_strip(texture, math.tan(_THIN / 2) / math.tan(_LONG / 2)), cropped=False)
        strip = Actor(1, sprite, _LONG, self._place, self._velocity(0.008), roll)
        return self._scene(strip)

    def jump(self, step: str) -> StagedScene:
        """Stage an object that moves by ``step`` degrees a frame."""
        diameter = math.radians((5, 8, 12, 20)[self._variant % 4])
        return self._scene(
            Actor(1, self._sprite(4), diameter, self._place, self._velocity(math.radians(float(step))))
        )

    def _velocity(self, pace: float) -> tuple[float, float]:
        right, up = (pace * self._heading).tolist()
        return right, up

    def _scene(self, *actors: Actor, light: float = 1.0) -> StagedScene:
        names = sorted(self._library.panoramas)
        panorama = self._library.panoramas[names[self._variant % len(names)]]
        return StagedScene(tone_map(panorama), actors, yaw=self._yaw, light=light)

    def _sprite(self, offset: int) -> Sprite:
        """Return one of the library's sprites."""
        names = sorted(self._library.sprites)
        return Sprite(self._library.sprite(names[(offset + self._variant) % len(names)]))

    def _shape(self, saturation: float, *, dent: float = 0.4) -> Sprite:
        """Return a shape with a texture that depends on the variant alone."""
        names = sorted(self._library.panoramas)
        panorama = tone_map(self._library.panoramas[names[(self._variant + 1) % len(names)]])
        rng = np.random.default_rng(self._variant)
        piece = panorama[60 + 20 * self._variant :][:80, 90:170]
        shape = textured_shape(rng, np.ascontiguousarray(piece), dent)
        return Sprite(recoloured(shape, 0.9 * self._variant, saturation, 1.0))


def _mirrored(sprite: Sprite) -> Sprite:
    """Return a sprite of the same colours, mirrored."""
    return Sprite(np.ascontiguousarray(sprite.rgba[:, ::-1]))
