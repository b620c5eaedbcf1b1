"""Conversion of dual fisheye images to equirectangular panoramas by a lookup table.

A lens of the equidistant model shows a direction at the angle ``theta`` from its axis at the distance
``radius * theta / (fov / 2)`` from its centre. Its own axes are optical: x right in its image, y down, z
out. ``roll, pitch, yaw`` (rad, REP-103: about x forward, y left, z up of the camera body, in that order)
rotate it from looking ahead to where it looks; the back lens has yaw pi. Both lenses are modelled at one
point: with a real camera, things closer than a metre or two appear twice, or cut, where the lenses meet.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats

_ROWS = 64  # of the panorama that are computed at a time, so that little memory is needed beside the table
_MAX_WIDTH = 16384  # columns of a panorama


class CalibrationError(ValueError):
    """An invalid calibration; the message says what was needed and what came."""


@dataclass(frozen=True)
class Lens:
    """One of the two image circles."""

    center: tuple[float, float]  # u, v: pixel indices of the optical axis
    radius: float  # pixels, from the centre to the edge of the field of view
    fov: float  # rad, across
    _: KW_ONLY
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.center, self.radius, self.fov, self.roll, self.pitch, self.yaw)
        if len(self.center) != 2 or not all(math.isfinite(x) for x in numbers):
            raise CalibrationError(f"a lens needs center: [u, v] and finite numbers, got {self}")
        if self.radius <= 0 or not 0 < self.fov < 2 * math.pi:
            raise CalibrationError(
                f"a lens needs radius > 0 (pixels) and fov in (0, 2 pi) rad, got {self.radius}, {self.fov}"
            )

    def project(self, vectors: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
        """Project camera directions [..., 3], optical axes, to u, v and the angle from the axis, rad."""
        own = CameraFrame(roll=self.roll, pitch=self.pitch, yaw=self.yaw).from_frame(vectors)
        x, y, z = np.moveaxis(own, -1, 0)
        off_axis = np.hypot(x, y)
        theta = np.arctan2(off_axis, z)
        # on the axis itself x and y are 0: the lower bound only avoids 0 / 0
        scale = self.radius / (self.fov / 2) * theta / np.maximum(off_axis, 1e-12)
        return self.center[0] + scale * x, self.center[1] + scale * y, theta


@dataclass(frozen=True)
class DualFisheye:
    """The calibration of a camera with two fisheye lenses back to back."""

    width: int  # of the image that the numbers refer to, pixels
    height: int
    front: Lens
    back: Lens
    _: KW_ONLY
    blend_width: float = math.radians(4)  # rad, over which one lens fades into the other; 0: a hard edge

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2:
            raise CalibrationError(f"the image's width and height are needed, got {self.width}x{self.height}")
        if not (math.isfinite(self.blend_width) and self.blend_width >= 0):
            raise CalibrationError(f"blend_width must be >= 0 rad, got {self.blend_width}")

    @classmethod
    def side_by_side(cls, width: int, height: int, *, fov: float = math.radians(190)) -> DualFisheye:
        """Assume an uncalibrated camera with both circles side by side, the front lens on the left."""
        radius, v = min(width / 4, height / 2), (height - 1) / 2
        front = Lens(((width / 2 - 1) / 2, v), radius, fov)
        return cls(width, height, front, Lens((front.center[0] + width / 2, v), radius, fov, yaw=math.pi))

    @classmethod
    def load(cls, path: Path) -> DualFisheye:
        """Read a YAML file like config/dual_fisheye.yaml.

        Raises CalibrationError for invalid content and OSError for a file that cannot be read.
        """
        try:
            read = yaml.safe_load(path.expanduser().read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CalibrationError(f"{path} is no YAML file: {error}") from error
        try:
            lenses = {name: Lens(**_numbers(Lens, read.pop(name))) for name in ("front", "back")}
            values: dict[str, Any] = _numbers(cls, read) | lenses
            return cls(**values)
        except (CalibrationError, KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(f"{path}: {error}; see the example config/dual_fisheye.yaml") from error


def _numbers(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Check the names of a dataclass's values as read from YAML, and make tuples of their lists."""
    known = {f.name for f in fields(kind)}
    if unknown := values.keys() - known:
        raise CalibrationError(f"{sorted(unknown)} are unknown, known are {sorted(known)}")
    return {k: tuple(map(float, v)) if isinstance(v, list) else v for k, v in values.items()}


class Remap:
    """A lookup table from fisheye images of one size to panoramas of another.

    Memory: 20 bytes a pixel of the panorama, and a few rows more while the table is computed.
    """

    def __init__(self, camera: DualFisheye, size: tuple[int, int], width: int) -> None:
        """Compute the table for images of ``size`` (W, H) and panoramas of ``width`` x ``width / 2``."""
        if not 64 <= width <= _MAX_WIDTH or width % 2:
            raise ValueError(f"a panorama's width must be even and 64 to {_MAX_WIDTH}, got {width}")
        self.size, self.grid = size, Equirect(width, width // 2)
        if size[0] * camera.height != size[1] * camera.width:
            raise CalibrationError(
                f"the calibration is for {camera.width}x{camera.height} images, got {size[0]}x{size[1]}, "
                "which has another aspect ratio; calibrate the lenses for this image"
            )
        self._camera, self._scale = camera, size[0] / camera.width
        shape = (self.grid.height, self.grid.width)
        # cv2.remap's own fixed-point form: fast, and 6 bytes a pixel
        self._whole = [np.empty((*shape, 2), np.int16) for _ in range(2)]
        self._fraction = [np.empty(shape, np.uint16) for _ in range(2)]
        self._weights = np.empty((2, *shape), np.float32)  # of the front lens and of the back lens
        for top in range(0, shape[0], _ROWS):
            self._fill(slice(top, min(top + _ROWS, shape[0])))

    def _fill(self, rows: slice) -> None:
        """Compute some rows of the table."""
        vectors = np.moveaxis(self.grid.rotated_vectors(np.eye(3), rows=rows), 0, -1)
        angles = []
        for i, lens in enumerate((self._camera.front, self._camera.back)):
            u, v, theta = lens.project(vectors)
            # pixel indices refer to pixel centres, and images may be larger than the calibrated ones
            pixels = (((x + 0.5) * self._scale - 0.5).astype(np.float32) for x in (u, v))
            self._whole[i][rows], self._fraction[i][rows] = cv2.convertMaps(*pixels, cv2.CV_16SC2)
            angles.append(theta / (lens.fov / 2))
        front = _front_weight(angles[0], angles[1], self._camera)
        self._weights[0][rows], self._weights[1][rows] = front, 1 - front

    def __call__(self, image: ImageArray) -> ImageArray:
        """Convert an image [h, w, 3] of ``size`` to a panorama [H, W, 3]."""
        views = [
            cv2.remap(image, whole, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            for whole, fraction in zip(self._whole, self._fraction, strict=True)
        ]
        return np.asarray(cv2.blendLinear(*views, *self._weights), np.uint8)


def _front_weight(front: Floats, back: Floats, camera: DualFisheye) -> NDArray[np.float32]:
    """Compute the front lens's blending weight, 0..1.

    ``front`` and ``back`` are the angles from both axes as multiples of half the field of view.
    """
    half = (camera.front.fov + camera.back.fov) / 4
    width = max(camera.blend_width / half, 1e-6)
    weight = np.clip(0.5 + (back - front) / (2 * width), 0, 1)
    # where the overlap is narrower than the blend, a lens has no weight outside its field of view
    weight = np.where((back > 1) & (front <= 1), 1, weight)
    weight = np.where((front > 1) & (back <= 1), 0, weight)
    return weight.astype(np.float32)
