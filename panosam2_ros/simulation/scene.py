"""Synthetic 360 video with exact truth on the sphere.

A ``VisualizationInput`` is a panorama at infinity, seen by a turning camera, with objects that move on great
circles, occlude each other, change size, cross the seam and pass the poles. Everything follows
from (config, library, seed): frames may be rendered in any order and by any process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, normalised
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.compositor import Background, SpritePatch, paint_labels, project, solid_moment
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.scene_motion import pose_at
from panosam2_ros.simulation.scene_sampler import Body, SceneSpec, sample_scene
from panosam2_ros.simulation.stitching import Stitching

_NOISE_SPARE = 61  # rows and columns by which the noise may be shifted from frame to frame


@dataclass(frozen=True)
class ObjectTruth:
    """One tracked object in one frame; directions are unit vectors in camera optical axes."""

    obj_id: int
    name: str
    visible: bool  # at least one pixel bears its label
    visible_fraction: float  # of its own solid angle, 0..1
    solid_angle: float  # sr, visible
    direction: Floats  # [3] centroid of the visible solid angle; equals centre while not visible
    centre: Floats  # [3] of the sprite, visible or not
    angular_diameter: float  # rad, of the sprite's square
    angular_velocity: Floats  # [3] rad/s, of centre


@dataclass(frozen=True)
class SceneTruth:
    """What is true of one frame, without its image."""

    labels: ImageArray = field(repr=False)  # [H, W] object id, 0 = none of the tracked objects
    objects: tuple[ObjectTruth, ...]
    # [H, W] id of the tracked object that an untracked thing looks like, 0 = none; None: none ever
    look_alikes: ImageArray | None = field(repr=False)


@dataclass(frozen=True)
class SceneFrame:
    """One rendered frame and its truth."""

    index: int
    stamp: float  # s since frame 0
    image: ImageArray = field(repr=False)  # [H, W, 3] RGB
    labels: ImageArray = field(repr=False)  # [H, W] object id, 0 = none of the tracked objects
    objects: tuple[ObjectTruth, ...]
    camera_rotation: Floats  # [3, 3] world to camera optical axes
    look_alikes: ImageArray | None = field(default=None, repr=False)  # as in SceneTruth


class Scene:
    """A reproducible synthetic scene."""

    def __init__(self, config: SceneConfig, library: AssetLibrary, seed: int) -> None:
        self.config = config
        self.grid = Equirect(config.width, config.height)
        self._seed = seed
        self._cast: SceneSpec = sample_scene(config, library, seed)
        self._background = Background(self._cast.panorama, self.grid)
        self._noise = self._noise_planes() if config.noise > 0 else None
        self._stitching = self._stitch() if config.stitching > 0 or config.lens_step > 0 else None

    def __len__(self) -> int:
        return self.config.frames

    @property
    def panorama(self) -> str:
        """Name of the background."""
        return self._cast.panorama_name

    @property
    def camera(self) -> Floats:
        """[T, 3, 3]: world to camera optical axes."""
        return self._cast.camera

    @property
    def gains(self) -> Floats:
        """[T]: exposure, relative to frame 0."""
        return self._cast.gains

    @property
    def contrast(self) -> float:
        """Of the dullest tracked object's texture, grey levels; see Sprite.contrast."""
        return min(body.sprite.contrast for body in self._cast.bodies if body.obj_id)

    @property
    def stitch_longitude(self) -> float | None:
        """Rad, of the great circle along which two lenses' images meet; None: there is one lens."""
        return None if self._stitching is None else self._stitching.longitude

    def render(self, index: int) -> SceneFrame:
        """Frame ``index`` with its truth."""
        layers = self._layers(self._checked(index))
        truth = self._truths(index, layers)
        return SceneFrame(
            index,
            index / self.config.rate,
            self._exposed(index, layers),
            truth.labels,
            truth.objects,
            self._cast.camera[index],
            truth.look_alikes,
        )

    def truth(self, index: int) -> SceneTruth:
        """What is true of frame ``index``, without the cost of its image."""
        return self._truths(index, self._layers(self._checked(index)))

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a scene of {len(self)}")
        return index

    def _truths(self, index: int, layers: list[tuple[Body, list[SpritePatch]]]) -> SceneTruth:
        ids = [(body.obj_id, patches) for body, patches in layers]
        labels, areas = paint_labels(ids, self.grid)
        objects = [
            self._truth(index, body, labels, area, patches)
            for (body, patches), area in zip(layers, areas, strict=True)
            if body.obj_id
        ]
        twins = [(body.twin, patches) for body, patches in layers]
        look_alikes = paint_labels(twins, self.grid)[0] if any(t for t, _ in twins) else None
        return SceneTruth(labels, tuple(sorted(objects, key=lambda o: o.obj_id)), look_alikes)

    def _layers(self, time: float) -> list[tuple[Body, list[SpritePatch]]]:
        """Every body, far to near, with its place in the image at a fractional frame index."""
        camera = pose_at(self._cast.camera, time)
        return [
            (body, project(body.look(time), camera @ pose, diameter, self.grid))
            for body in self._cast.bodies
            for pose, diameter in [body.at(time)]
        ]

    def _paint(self, time: float, layers: list[tuple[Body, list[SpritePatch]]] | None) -> ImageArray:
        image = self._background.render(pose_at(self._cast.camera, time))
        for _, patches in self._layers(time) if layers is None else layers:
            for patch in patches:
                patch.blend(image)
        return image

    def _exposed(self, index: int, layers: list[tuple[Body, list[SpritePatch]]]) -> ImageArray:
        """The image with motion blur, exposure, stitching and noise."""
        samples, shutter = self.config.blur_samples, self.config.motion_blur
        image = self._paint(index, layers)
        if shutter > 0 and samples > 1:
            times = index + np.linspace(-shutter / 2, shutter / 2, samples)
            total = np.zeros(image.shape, np.float32)
            for time in times:
                cv2.accumulate(image if time == index else self._paint(time, None), total)
            image = cv2.convertScaleAbs(total, alpha=1 / samples)
        if self._cast.gains[index] != 1:
            image = cv2.convertScaleAbs(image, alpha=self._cast.gains[index])
        image = np.asarray(image, np.uint8)
        return self._noisy(index, image if self._stitching is None else self._stitching.apply(image))

    def _stitch(self) -> Stitching:
        rng = np.random.default_rng((self._seed, 3))
        return Stitching(self.grid, rng, self.config.stitching, self.config.lens_step)

    def _noise_planes(self) -> tuple[ImageArray, ImageArray]:
        """Positive and negative part of the sensor's noise, a little larger than the image."""
        rng = np.random.default_rng((self._seed, 1))
        shape = (self.config.height + _NOISE_SPARE, self.config.width + _NOISE_SPARE, 3)
        noise = np.round(rng.standard_normal(shape, np.float32) * self.config.noise)
        more, less = (np.clip(part, 0, 255).astype(np.uint8) for part in (noise, -noise))
        return more, less

    def _noisy(self, index: int, image: ImageArray) -> ImageArray:
        if self._noise is None:
            return image
        top, left = np.random.default_rng((self._seed, 2, index)).integers(0, _NOISE_SPARE, 2)
        window = (slice(top, top + image.shape[0]), slice(left, left + image.shape[1]))
        more, less = (plane[window] for plane in self._noise)
        return np.asarray(cv2.subtract(cv2.add(image, more), less), np.uint8)

    def _truth(
        self, index: int, body: Body, labels: ImageArray, area: float, patches: list[SpritePatch]
    ) -> ObjectTruth:
        moment = np.zeros(4)
        for patch in patches:
            seen = labels[patch.rows, patch.columns] == body.obj_id
            moment += solid_moment(seen, patch.rows, patch.columns, self.grid)
        centre = self._centre(index, body)
        return ObjectTruth(
            obj_id=body.obj_id,
            name=body.name,
            visible=bool(moment[3] > 0),
            visible_fraction=float(moment[3] / area) if area > 0 else 0.0,
            solid_angle=float(moment[3]),
            direction=normalised(moment[:3]) if moment[3] > 0 else centre,
            centre=centre,
            angular_diameter=float(body.diameters[index]),
            angular_velocity=self._angular_velocity(index, body),
        )

    def _centre(self, index: int, body: Body) -> Floats:
        return np.asarray(self._cast.camera[index] @ body.poses[index][:, 2])

    def _angular_velocity(self, index: int, body: Body) -> Floats:
        """[3] rad/s of the centre's direction in camera axes, between neighbouring frames."""
        if len(self) == 1:
            return np.zeros(3)
        first = min(index, len(self) - 2)
        before, after = self._centre(first, body), self._centre(first + 1, body)
        axis = np.cross(before, after)
        sine = float(np.linalg.norm(axis))
        angle = math.atan2(sine, float(before @ after))
        return axis * (angle / max(sine, 1e-12) * self.config.rate)


def render_clip(
    config: SceneConfig, library: AssetLibrary, seed: int
) -> tuple[ImageArray, ImageArray]:  # [T, H, W, 3] RGB, [T, H, W] labels
    """A whole scene's images and labels, for training."""
    scene = Scene(config, library, seed)
    frames = [scene.render(index) for index in range(len(scene))]
    return np.stack([f.image for f in frames]), np.stack([f.labels for f in frames])
