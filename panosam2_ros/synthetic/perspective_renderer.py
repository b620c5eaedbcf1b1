"""Perspective views of a synthetic scene, rendered directly and not cut from a panorama.

A search region of a few thousand pixels costs a fraction of the panorama that it would be cut from. It is as
sharp as if it were cut from that panorama: textures have the resolution of the panorama's width.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.body import Body
from panosam2_ros.simulation.compositor import Background, blend, drawn, paint_labels, project
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.scene_motion import pose_at
from panosam2_ros.simulation.scene_sampler import sample_scene

_COARSE = 384  # columns of the label image that says where objects are
_LEAST = 128  # columns up to which a background is not downsampled further
_SHOTS = 3  # renderings that are averaged for a blurred frame
_SPARE = 0.1  # rad by which a body may move and grow between frames
_SHARP = 2.5  # pixels by which bodies may move during the exposure without motion blur


class PerspectiveRenderer:
    """Renders a scene in any directions of the camera; refuses scenes with two lenses by ValueError."""

    def __init__(self, config: SceneConfig, library: AssetLibrary, seed: int) -> None:
        if config.stitching > 0 or config.lens_step > 0:
            raise ValueError(
                "a scene that is drawn in search regions has one lens: leave out stitching and lens_step, "
                f"got {config.stitching} and {config.lens_step}"
            )
        self.config, self.seed = config, seed
        self._spec = sample_scene(config, library, seed)
        self._backgrounds: dict[int, Background] = {}  # by width
        moving = [self._spec.camera, *(body.poses for body in self._spec.bodies)]
        # rad per frame [T], of the camera and of the fastest body together
        steps = [np.linalg.norm(np.diff(poses[:, :, 2], axis=0), axis=1) for poses in moving]
        self._speeds = np.append(steps[0] + np.max(steps[1:], 0), 0.0)

    def __len__(self) -> int:
        return self.config.frames

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        """Render a small panorama of object ids [h, w], 0 = none; return it with its grid."""
        grid = Equirect(_COARSE, _COARSE // 2)
        camera = self._spec.camera[index]
        layers = [
            (body.obj_id, project(body.look(index), camera @ body.poses[index], body.diameters[index], grid))
            for body in self._spec.bodies
        ]
        return paint_labels(layers, grid)[0], grid

    def render(self, index: int, directions: NDArray[np.float32]) -> tuple[ImageArray, ImageArray]:
        """Render RGB [h, w, 3] and object ids [h, w].

        ``directions``: unit vectors [3, h, w] of camera optical axes.
        """
        density = _pixel_density(directions)
        shots = [self._paint(time, directions, density) for time in self._shutter(index, density)]
        total = np.mean([image for image, _ in shots], 0, dtype=np.float32) * self._spec.gains[index]
        if self.config.noise > 0:
            rng = np.random.default_rng((self.seed, 2, index))
            total += self.config.noise * rng.standard_normal(total.shape, np.float32)
        return np.clip(total + 0.5, 0, 255).astype(np.uint8), shots[len(shots) // 2][1]

    def _shutter(self, index: int, density: float) -> Floats:
        """Return the fractional frame indices to render a frame at: an odd number, its own in the middle."""
        half = self.config.motion_blur / 2
        if self._spec.is_sharp(index) or 2 * half * self._speeds[index] * density < _SHARP:
            return np.array([float(index)])
        return np.linspace(index - half, index + half, _SHOTS)

    def _paint(
        self, time: float, directions: NDArray[np.float32], density: float
    ) -> tuple[ImageArray, ImageArray]:
        """Render RGB [h, w, 3], before exposure and noise, and object ids [h, w] at a fractional time."""
        world = np.tensordot(pose_at(self._spec.camera, time).T.astype(np.float32), directions, 1)
        image, labels = self._background(density).seen(world), np.zeros(directions.shape[1:], np.uint8)
        middle = world[:, world.shape[1] // 2, world.shape[2] // 2]
        reach = math.acos(float(np.clip(np.min(np.tensordot(middle, world, 1)), -1, 1)))
        for body in self._spec.bodies:
            if not self._may_be_visible(body, round(time), middle, reach):
                continue
            pose, diameter = body.at(time)
            half = math.tan(diameter / 2)
            texture = body.look(time).level(2 * half * min(self.config.width / (2 * math.pi), density))
            rgba = drawn(texture, half, *np.tensordot(pose.T.astype(np.float32), world, 1))
            blend(image, rgba)
            labels[rgba[..., 3] > 127] = body.obj_id
        return image, labels

    def _may_be_visible(self, body: Body, index: int, middle: NDArray[np.float32], reach: float) -> bool:
        """Return whether a body may lie at most ``reach`` rad from the ``middle`` within a frame's time."""
        away = math.acos(float(np.clip(body.poses[index][:, 2] @ middle, -1, 1)))
        return away < reach + math.atan(math.sqrt(2) * math.tan(body.diameters[index] / 2)) + _SPARE

    def _background(self, density: float) -> Background:
        """Return the background, halved until it has at most 1.5 times ``density`` pixels per rad."""
        width = self.config.width
        while width > _LEAST and width > 1.5 * density * 2 * math.pi:
            width //= 2
        if width not in self._backgrounds:
            self._backgrounds[width] = Background(self._spec.panorama, Equirect(width, width // 2))
        return self._backgrounds[width]


def _pixel_density(directions: NDArray[np.float32]) -> float:
    """Return pixels per rad in the middle of an image."""
    row, column = directions.shape[1] // 2, directions.shape[2] // 2
    step = directions[:, row, column] - directions[:, row, column - 1]
    return 1 / max(float(np.linalg.norm(step)), 1e-9)
