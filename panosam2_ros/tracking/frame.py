"""One image of the stream, with what is derived from it once for all who need it."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch

from panosam2_ros.geometry.circular import reference_column
from panosam2_ros.geometry.device_panorama import DevicePanorama
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray


class Frame:
    """An image and its stamp, for one call of the tracker.

    Nothing of a frame outlives the call, so a caller may reuse the buffer of its images.

    Raises ValueError for what is no RGB panorama.
    """

    def __init__(self, image: ImageArray, stamp: int, vertical_fov: float = math.pi) -> None:
        """Take an RGB image [H, W, 3] of ``stamp`` (ns), ``vertical_fov`` rad high."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"an image is RGB, uint8 [H, W, 3]; got {image.dtype} {list(image.shape)}: convert it first"
            )
        self.image, self.stamp = image, stamp
        self.grid = Equirect(image.shape[1], image.shape[0], vertical_fov)
        self._devices: dict[torch.device, DevicePanorama] = {}

    @cached_property
    def pyramid(self) -> ImagePyramid:
        """The image at the scales at which search regions sample it."""
        return ImagePyramid(self.image)

    @cached_property
    def reference_column(self) -> int:
        """A column that the image's brightness chooses: it moves with the camera's yaw."""
        return reference_column(self.image)

    @cached_property
    def brightness(self) -> float:
        """The mean of all pixels, 0..255, weighted with their solid angles: no rotation changes it."""
        rows = self.image[::8, ::8].mean((1, 2))
        return float(np.average(rows, weights=self.grid.pixel_solid_angles()[::8]))

    def on(self, device: torch.device) -> DevicePanorama:
        """Return the image on a device, where it is uploaded once."""
        if device not in self._devices:
            self._devices[device] = DevicePanorama(self.image, device)
        return self._devices[device]

    def mask_grid(self, mask_width: int) -> Equirect:
        """Return the pixel grid of label images with ``mask_width`` columns; 0: as many as the image has."""
        return self.grid.of_width(mask_width) if mask_width else self.grid
