"""Level pinhole views of a panorama: their pixels' directions, directions' pixels, and their image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from panosam2_ros.geometry.camera_frame import body_rotation
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats

WIDEST_VIEW = math.radians(170)  # horizontal field of view; beyond it most pixels show nearly nothing
_OPTICAL_OF_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])


@dataclass(frozen=True)
class PerspectiveView:
    """A pinhole camera with square pixels and a level horizon, at the place of the panorama's.

    Azimuth is positive to the left and elevation upwards, both from the middle of the panorama. Pixel indices
    are those of ``Equirect``: integers at pixel centres. Raises ValueError for a view that no camera has.
    """

    azimuth: float  # rad, of the optical axis
    elevation: float  # rad
    horizontal_fov: float  # rad, between the outer edges of the first and the last column
    width: int  # pixels
    height: int

    def __post_init__(self) -> None:
        if not 0 < self.horizontal_fov <= WIDEST_VIEW:
            raise ValueError(
                f"the horizontal field of view of a perspective view lies in (0, {WIDEST_VIEW:.3f}] rad, got "
                f"{self.horizontal_fov}"
            )
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a view needs at least 1 x 1 pixels, got {self.width}x{self.height}")

    @property
    def focal_length(self) -> float:
        """The focal length, pixels."""
        return self.width / 2 / math.tan(self.horizontal_fov / 2)

    @property
    def rotation(self) -> Floats:
        """The rotation [3, 3] from the view's optical axes to the panorama's."""
        turn = body_rotation(0.0, -self.elevation, self.azimuth)
        return np.asarray(_OPTICAL_OF_BODY @ turn @ _OPTICAL_OF_BODY.T)

    def pixel_to_vector(self, u: ArrayLike, v: ArrayLike) -> Floats:
        """Return the unit vectors [..., 3], in the panorama's optical axes, of pixel indices."""
        x = (np.asarray(u, float) - (self.width - 1) / 2) / self.focal_length
        y = (np.asarray(v, float) - (self.height - 1) / 2) / self.focal_length
        x, y = np.broadcast_arrays(x, y)
        rays = np.stack([x, y, np.ones_like(x)], -1)
        return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ self.rotation.T)

    def vector_to_pixel(self, vectors: ArrayLike) -> tuple[Floats, Floats]:
        """Return the pixel indices of directions [..., 3], which may lie outside the view; NaN behind it."""
        local = np.asarray(vectors, float) @ self.rotation
        depth = np.where(local[..., 2] > 0, local[..., 2], np.nan)
        u = local[..., 0] / depth * self.focal_length + (self.width - 1) / 2
        return u, local[..., 1] / depth * self.focal_length + (self.height - 1) / 2

    def image(self, panorama: ImageArray, *, vertical_fov: float = math.pi) -> ImageArray:
        """Render the view [height, width, 3] of a panorama [H, W, 3], black where that has no pixels."""
        grid = Equirect(panorama.shape[1], panorama.shape[0], vertical_fov)
        u, v = grid.vector_to_pixel(self.pixel_to_vector(*np.meshgrid(*map(np.arange, self._size))))
        padded = cv2.copyMakeBorder(panorama, 0, 0, 1, 1, cv2.BORDER_WRAP)  # remap wraps no single axis
        rows = v.clip(0, grid.height - 1).astype(np.float32)  # half a row beyond the outermost centres
        view: NDArray[np.uint8] = cv2.remap(padded, (u + 1).astype(np.float32), rows, cv2.INTER_LINEAR)
        view[(v < -0.5) | (v > grid.height - 0.5)] = 0
        return view

    @property
    def _size(self) -> tuple[int, int]:
        return self.width, self.height
