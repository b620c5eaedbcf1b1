"""Perspective views of a panorama: what a pinhole camera without distortion would see in some direction.

Pixel indices ``u, v`` are those of ``equirect``: centres are integers, u right, v down.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import SUBPIXELS, ImagePyramid, sample
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats, normalised

SMALLEST_FOV, LARGEST_FOV = math.radians(5), math.radians(140)
SMALLEST_SIDE, LARGEST_SIDE = 64, 4096  # pixels of a view


@dataclass(frozen=True, eq=False)
class PerspectiveView:
    """The pixels of a view with square pixels whose optical axis goes through its middle."""

    axes: Floats  # [3, 3]: right, down and forward of the view, in optical axes of the panorama
    width: int
    height: int
    focal: float  # pixels

    @classmethod
    def facing(
        cls,
        camera: CameraFrame,  # of the panorama; azimuth and elevation are those of its frame
        azimuth: float,  # rad
        elevation: float,  # rad
        fov: float,  # rad, horizontal
        size: tuple[int, int],  # width, height, pixels
    ) -> PerspectiveView:
        """Return the upright view in a direction of the camera's frame.

        Raises ValueError for a direction, a field of view or a size that no view has.
        """
        if not all(map(math.isfinite, (azimuth, elevation))) or abs(elevation) > math.pi / 2 + 1e-9:
            raise ValueError(
                "a view looks at an azimuth and at an elevation of -90 to 90 degrees, got "
                f"{math.degrees(azimuth):g} and {math.degrees(elevation):g}"
            )
        if not SMALLEST_FOV - 1e-9 <= fov <= LARGEST_FOV + 1e-9:
            low, high = (round(math.degrees(limit)) for limit in (SMALLEST_FOV, LARGEST_FOV))
            raise ValueError(
                f"a view is {low} to {high} degrees wide (field of view), got {math.degrees(fov):g}"
            )
        if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
            raise ValueError(
                f"the sides of a view have {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, got {size[0]}x{size[1]}"
            )
        forward = camera.vectors_of(azimuth, elevation)
        right = camera.vectors_of(azimuth - math.pi / 2, 0.0)  # level, also where the view looks straight up
        forward, right = (camera.from_frame(vector) for vector in (forward, right))
        axes = np.stack([right, np.cross(forward, right), forward])
        return cls(axes, *size, size[0] / 2 / math.tan(fov / 2))

    def widened(self, pixels: int) -> PerspectiveView:
        """Return the view with more columns on both sides and more rows above and below."""
        return replace(self, width=self.width + 2 * pixels, height=self.height + 2 * pixels)

    def pixel_to_vector(self, u: ArrayLike, v: ArrayLike) -> Floats:
        """Return the unit vectors [..., 3], optical axes of the panorama, of pixel indices."""
        x = (np.asarray(u, float) - (self.width - 1) / 2) / self.focal
        y = (np.asarray(v, float) - (self.height - 1) / 2) / self.focal
        x, y = np.broadcast_arrays(x, y)
        return normalised(np.stack([x, y, np.ones_like(x)], -1) @ self.axes)

    def vector_to_pixel(self, vectors: ArrayLike) -> tuple[Floats, Floats]:
        """Return the pixel indices of directions [..., 3] in optical axes; NaN behind the view."""
        x, y, z = np.moveaxis(np.asarray(vectors, float) @ self.axes.T, -1, 0)
        depth = np.where(z > 1e-6, z, np.nan)
        return (
            x / depth * self.focal + (self.width - 1) / 2,
            y / depth * self.focal + (self.height - 1) / 2,
        )

    def contains(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.bool_]:
        """Tell whether pixel coordinates lie in the view."""
        u, v = np.asarray(u, float), np.asarray(v, float)
        return np.asarray((u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5))

    def pixels(self, image: ImageArray, grid: Equirect) -> ImageArray:
        """Sample a panorama [H, W, 3] in this view, [h, w, 3]; black where a cropped panorama has nothing."""
        u, v = self._places(grid)
        level, offset = ImagePyramid(image).at(self.focal)
        rows = (v + 0.5) * len(level) / grid.height - 0.5
        seen = np.rint(rows.clip(0, len(level) - 1) * SUBPIXELS).astype(np.int32)
        picture = sample(level, np.rint((u + offset) * SUBPIXELS).astype(np.int32), seen)
        picture[~grid.contains(u, v)] = 0
        return picture

    def labels(self, labels: LabelImage, grid: Equirect) -> LabelImage:
        """Sample a label image [H, W] in this view by nearest neighbour, [h, w]; 0 where there is nothing."""
        u, v = self._places(grid)
        columns = np.floor(u + 0.5).astype(int) % grid.width
        rows = np.floor(v + 0.5).astype(int).clip(0, grid.height - 1)
        return np.where(grid.contains(u, v), labels[rows, columns], np.uint16(0))

    def _places(self, grid: Equirect) -> tuple[Floats, Floats]:
        """Compute where the view's pixels lie in a panorama, [h, w] each."""
        return grid.vector_to_pixel(self.pixel_to_vector(*np.meshgrid(*map(np.arange, self._size))))

    @property
    def _size(self) -> tuple[int, int]:
        return self.width, self.height


def box_in_panorama(
    view: PerspectiveView,
    box: tuple[float, float, float, float],  # u_min, v_min, u_max, v_max in the view
    grid: Equirect,
) -> tuple[float, float, float, float]:
    """Return the smallest box of a panorama around a box of a view; it may cross the seam.

    Raises ValueError for a box without area, and for one that has the zenith or the nadir in it, around which
    no box goes.
    """
    u_min, v_min, u_max, v_max = box
    if not (u_min < u_max and v_min < v_max):
        raise ValueError(f"a box of a view is U0 V0 U1 V1 with U0 < U1 and V0 < V1, got {list(box)}")
    along = np.linspace(0, 1, 64, endpoint=False)
    corners = np.array([(u_min, v_min), (u_max, v_min), (u_max, v_max), (u_min, v_max), (u_min, v_min)])
    border = np.concatenate([a + along[:, None] * (b - a) for a, b in itertools.pairwise(corners)])
    u, v = grid.vector_to_pixel(view.pixel_to_vector(*border.T))
    steps = (np.diff(u, append=u[:1]) + grid.width / 2) % grid.width - grid.width / 2
    if abs(steps.sum()) > grid.width / 2:
        raise ValueError("the box holds the zenith or the nadir: give a pixel on the object instead")
    columns = u[0] + np.concatenate([[0.0], np.cumsum(steps[:-1])])
    left, right = (float(c % grid.width) for c in (columns.min(), columns.max()))
    return left, float(v.min()), right, float(v.max())
