"""Synthetic 360 video with exact ground truth on the sphere.

A ``Scene`` is a panorama at infinity, seen by a rotating camera, with objects that move on great circles,
occlude each other, change size, cross the seam and pass the poles. Everything is determined by (config,
library, seed): frames can be rendered in any order and by any process.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field

import cv2
import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, normalised
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.body import Body
from panosam2_ros.simulation.compositor import Background, SpritePatch, paint_labels, project, solid_moment
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.scene_motion import pose_at
from panosam2_ros.simulation.scene_sampler import SceneSpec, sample_scene
from panosam2_ros.simulation.stitching import Stitching

_NOISE_SPARE = 61  # rows and columns by which the noise is shifted from frame to frame, at most


@dataclass(frozen=True, eq=False)
class ObjectTruth:
    """The ground truth of a tracked object in a frame; directions are unit vectors in camera optical axes."""

    obj_id: int
    name: str
    visible: bool  # at least one pixel has its label
    visible_fraction: float  # of its own solid angle, 0..1
    solid_angle: float  # sr, visible
    direction: Floats  # [3] centroid of the visible solid angle; equals centre while not visible
    centre: Floats  # [3] of the sprite, visible or not
    angular_diameter: float  # rad, of the sprite's square
    angular_velocity: Floats  # [3] rad/s, of centre


@dataclass(frozen=True, eq=False)
class SceneTruth:
    """The ground truth of a frame, without its image."""

    labels: ImageArray = field(repr=False)  # [H, W] object id, 0 = none of the tracked objects
    objects: tuple[ObjectTruth, ...]
    # [H, W] id of the tracked object that a distractor looks like, 0 = none; None: no such distractors
    look_alikes: ImageArray | None = field(repr=False)


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """A rendered frame with its ground truth."""

    index: int
    stamp: float  # s since frame 0
    image: ImageArray = field(repr=False)  # [H, W, 3] RGB
    labels: ImageArray = field(repr=False)  # [H, W] object id, 0 = none of the tracked objects
    objects: tuple[ObjectTruth, ...]
    camera_rotation: Floats  # [3, 3] world to camera optical axes
    _: KW_ONLY
    look_alikes: ImageArray | None = field(default=None, repr=False)  # as in SceneTruth


class Scene:
    """A reproducible synthetic scene."""

    def __init__(self, config: SceneConfig, library: AssetLibrary, seed: int) -> None:
        """Sample the scene of a seed."""
        self.config = config
        self.grid = Equirect(config.width, config.height)
        self._seed = seed
        self._spec: SceneSpec = sample_scene(config, library, seed)
        self._background = Background(self._spec.panorama, self.grid)
        self._noise = self._noise_planes() if config.noise > 0 else None
        self._stitching = self._stitch() if config.stitching > 0 or config.lens_step > 0 else None

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.config.frames

    @property
    def panorama(self) -> str:
        """The name of the background."""
        return self._spec.panorama_name

    @property
    def camera(self) -> Floats:
        """The rotations [T, 3, 3] from world to camera optical axes."""
        return self._spec.camera

    @property
    def gains(self) -> Floats:
        """The exposures [T], relative to frame 0."""
        return np.asarray(self._spec.gains / self._spec.gains[0])

    @property
    def contrast(self) -> float:
        """The smallest contrast of a tracked object's texture, grey levels; see Sprite.contrast."""
        return min(body.sprite.contrast for body in self._spec.bodies if body.obj_id)

    @property
    def stitch_longitude(self) -> float | None:
        """The longitude, rad, of the great circle where two lenses' images meet; None: of one lens."""
        return None if self._stitching is None else self._stitching.longitude

    def render(self, index: int) -> SceneFrame:
        """Render frame ``index`` with its ground truth."""
        layers = self._layers(self._checked(index))
        truth = self._truth(index, layers)
        return SceneFrame(
            index,
            index / self.config.rate,
            self._exposed(index, layers),
            truth.labels,
            truth.objects,
            self._spec.camera[index],
            look_alikes=truth.look_alikes,
        )

    def truth(self, index: int) -> SceneTruth:
        """Compute the ground truth of frame ``index`` without the cost of its image."""
        return self._truth(index, self._layers(self._checked(index)))

    def _checked(self, index: int) -> int:
        """Return a frame index; raise IndexError for one outside the scene."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a scene of {len(self)} frames")
        return index

    def _truth(self, index: int, layers: list[tuple[Body, list[SpritePatch]]]) -> SceneTruth:
        """Compute the ground truth of a frame from its rendered bodies."""
        ids = [(body.obj_id, patches) for body, patches in layers]
        labels, areas = paint_labels(ids, self.grid)
        objects = [
            self._object_truth(index, body, labels, area, patches)
            for (body, patches), area in zip(layers, areas, strict=True)
            if body.obj_id
        ]
        twins = [(body.twin, patches) for body, patches in layers]
        look_alikes = paint_labels(twins, self.grid)[0] if any(t for t, _ in twins) else None
        return SceneTruth(labels, tuple(sorted(objects, key=lambda o: o.obj_id)), look_alikes)

    def _layers(self, time: float) -> list[tuple[Body, list[SpritePatch]]]:
        """Render every body, far to near, at a fractional frame index."""
        camera = pose_at(self._spec.camera, time)
        return [
            (body, project(body.look(time), camera @ pose, diameter, self.grid))
            for body in self._spec.bodies
            for pose, diameter in [body.at(time)]
        ]

    def _composed(self, time: float, layers: list[tuple[Body, list[SpritePatch]]] | None) -> ImageArray:
        """Render the image at a fractional frame index; ``layers`` None: render them first."""
        image = self._background.render(pose_at(self._spec.camera, time))
        for _, patches in self._layers(time) if layers is None else layers:
            for patch in patches:
                patch.blend(image)
        return image

    def _exposed(self, index: int, layers: list[tuple[Body, list[SpritePatch]]]) -> ImageArray:
        """Render the image with motion blur, exposure, stitching and noise."""
        samples, shutter = self.config.blur_samples, self.config.motion_blur
        image = self._composed(index, layers)
        if shutter > 0 and samples > 1 and not self._spec.is_sharp(index):
            times = index + np.linspace(-shutter / 2, shutter / 2, samples)
            total = np.zeros(image.shape, np.float32)
            for time in times:
                cv2.accumulate(image if time == index else self._composed(time, None), total)
            image = cv2.convertScaleAbs(total, alpha=1 / samples)
        if self._spec.gains[index] != 1:
            image = cv2.convertScaleAbs(image, alpha=self._spec.gains[index])
        image = np.asarray(image, np.uint8)
        return self._noisy(index, image if self._stitching is None else self._stitching.apply(image))

    def _stitch(self) -> Stitching:
        """Sample the stitching of two lenses' images."""
        rng = np.random.default_rng((self._seed, 3))
        return Stitching(self.grid, rng, self.config.stitching, self.config.lens_step)

    def _noise_planes(self) -> tuple[ImageArray, ImageArray]:
        """Sample the positive and the negative part of the sensor's noise, larger than the image."""
        rng = np.random.default_rng((self._seed, 1))
        shape = (self.config.height + _NOISE_SPARE, self.config.width + _NOISE_SPARE, 3)
        noise = np.round(rng.standard_normal(shape, np.float32) * self.config.noise)
        more, less = (np.clip(part, 0, 255).astype(np.uint8) for part in (noise, -noise))
        return more, less

    def _noisy(self, index: int, image: ImageArray) -> ImageArray:
        """Add the sensor's noise, shifted at random in every frame."""
        if self._noise is None:
            return image
        top, left = np.random.default_rng((self._seed, 2, index)).integers(0, _NOISE_SPARE, 2)
        window = (slice(top, top + image.shape[0]), slice(left, left + image.shape[1]))
        more, less = (plane[window] for plane in self._noise)
        return np.asarray(cv2.subtract(cv2.add(image, more), less), np.uint8)

    def _object_truth(
        self, index: int, body: Body, labels: ImageArray, area: float, patches: list[SpritePatch]
    ) -> ObjectTruth:
        """Compute the ground truth of an object; ``area`` is its solid angle without occlusion, sr."""
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
        """Return the direction [3] of a body's centre in camera axes."""
        return np.asarray(self._spec.camera[index] @ body.poses[index][:, 2])

    def _angular_velocity(self, index: int, body: Body) -> Floats:
        """Compute the angular velocity [3], rad/s, of a body's centre in camera axes, between two frames."""
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
    """Render the images and labels of a whole scene, for training."""
    scene = Scene(config, library, seed)
    frames = [scene.render(index) for index in range(len(scene))]
    return np.stack([f.image for f in frames]), np.stack([f.labels for f in frames])
