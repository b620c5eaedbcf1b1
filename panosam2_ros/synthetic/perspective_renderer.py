"""A synthetic scene in pictures narrower than a panorama, drawn directly.

A search region of a few thousand pixels costs a fraction of the panorama that it would be cut from. What it
shows is as sharp as that panorama would be: textures are those of its width.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.compositor import Background, blend, drawn, paint_labels, project
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.scene_motion import pose_at
from panosam2_ros.simulation.scene_sampler import Body, sample_scene

_COARSE = 384  # columns of the labels that say where things are
_LEAST = 128  # columns of a background that is seen from afar
_SHOTS = 3  # that a blurred frame is made of
_SPARE = 0.1  # rad that a thing may move and grow between frames
_SHARP = 2.5  # pixels by which things may move while the shutter is open, without being blurred


class SceneView:
    """A scene as a camera sees it in any directions; ValueError for a scene with two lenses."""

    def __init__(self, config: SceneConfig, library: AssetLibrary, seed: int) -> None:
        if config.stitching > 0 or config.lens_step > 0:
            raise ValueError(
                "a scene that is drawn in search regions has one lens: leave out stitching and lens_step, "
                f"got {config.stitching} and {config.lens_step}"
            )
        self.config, self.seed = config, seed
        self._cast = sample_scene(config, library, seed)
        self._backgrounds: dict[int, Background] = {}  # by width
        moving = [self._cast.camera, *(body.poses for body in self._cast.bodies)]
        # rad per frame, of the camera and of the fastest body together
        steps = [np.linalg.norm(np.diff(poses[:, :, 2], axis=0), axis=1) for poses in moving]
        self._steps = np.append(steps[0] + np.max(steps[1:], 0), 0.0)

    def __len__(self) -> int:
        return self.config.frames

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        """A small panorama of object ids [h, w], 0 = none, and its grid."""
        grid = Equirect(_COARSE, _COARSE // 2)
        camera = self._cast.camera[index]
        layers = [
            (body.obj_id, project(body.look(index), camera @ body.poses[index], body.diameters[index], grid))
            for body in self._cast.bodies
        ]
        return paint_labels(layers, grid)[0], grid

    def render(self, index: int, directions: NDArray[np.float32]) -> tuple[ImageArray, ImageArray]:
        """RGB [h, w, 3] and object ids [h, w] in unit vectors [3, h, w] of optical axes."""
        density = _density(directions)
        shots = [self._paint(time, directions, density) for time in self._shutter(index, density)]
        total = np.mean([image for image, _ in shots], 0, dtype=np.float32) * self._cast.gains[index]
        if self.config.noise > 0:
            rng = np.random.default_rng((self.seed, 2, index))
            total += self.config.noise * rng.standard_normal(total.shape, np.float32)
        return np.clip(total + 0.5, 0, 255).astype(np.uint8), shots[len(shots) // 2][1]

    def _shutter(self, index: int, density: float) -> Floats:
        """The times at which a frame is painted, an odd number, its own in the middle."""
        half = self.config.motion_blur / 2
        if 2 * half * self._steps[index] * density < _SHARP:
            return np.array([float(index)])
        return np.linspace(index - half, index + half, _SHOTS)

    def _paint(
        self, time: float, directions: NDArray[np.float32], density: float
    ) -> tuple[ImageArray, ImageArray]:
        world = np.tensordot(pose_at(self._cast.camera, time).T.astype(np.float32), directions, 1)
        image, labels = self._background(density).seen(world), np.zeros(directions.shape[1:], np.uint8)
        middle = world[:, world.shape[1] // 2, world.shape[2] // 2]
        reach = math.acos(float(np.clip(np.min(np.tensordot(middle, world, 1)), -1, 1)))
        for body in self._cast.bodies:
            if not self._near(body, round(time), middle, reach):
                continue
            pose, diameter = body.at(time)
            half = math.tan(diameter / 2)
            texture = body.look(time).level(2 * half * min(self.config.width / (2 * math.pi), density))
            rgba = drawn(texture, half, *np.tensordot(pose.T.astype(np.float32), world, 1))
            blend(image, rgba)
            labels[rgba[..., 3] > 127] = body.obj_id
        return image, labels

    def _near(self, body: Body, index: int, middle: NDArray[np.float32], reach: float) -> bool:
        """Whether a body may be seen at most ``reach`` rad from the ``middle`` within a frame's time."""
        away = math.acos(float(np.clip(body.poses[index][:, 2] @ middle, -1, 1)))
        return away < reach + math.atan(math.sqrt(2) * math.tan(body.diameters[index] / 2)) + _SPARE

    def _background(self, density: float) -> Background:
        """The background with ``density`` (pixels per rad) or little less, so that it is averaged first."""
        width = self.config.width
        while width > _LEAST and width > 1.5 * density * 2 * math.pi:
            width //= 2
        if width not in self._backgrounds:
            self._backgrounds[width] = Background(self._cast.panorama, Equirect(width, width // 2))
        return self._backgrounds[width]


def _density(directions: NDArray[np.float32]) -> float:
    """Pixels per rad in the middle of a picture."""
    row, column = directions.shape[1] // 2, directions.shape[2] // 2
    step = directions[:, row, column] - directions[:, row, column - 1]
    return 1 / max(float(np.linalg.norm(step)), 1e-9)
