"""The artefacts of stitching two fisheye images into one panorama: misalignment and a step of exposure.

The lenses look to either side of a vertical plane through the camera. Where their images meet, they are
misaligned, by parallax and calibration, and differ in exposure. The ground truth is that of an ideal
camera: labels and directions are not displaced with the pixels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats

REACH = math.radians(4)  # rad from the stitch at which the misalignment has fallen to 1/e
_CUT = math.radians(0.2)  # rad over which one image changes into the other
_BLEND = math.radians(3)  # rad over which one exposure changes into the other
_MIN_COSINE = 0.25  # lower bound of cos(latitude), which limits horizontal shifts near the poles
_UNIT = 128  # value of the gain map for a gain of 1


class Stitching:
    """A random displacement and exposure of the two halves of an image."""

    def __init__(
        self,
        grid: Equirect,
        rng: np.random.Generator,
        misalignment: float,  # rad between both sides of the stitch, at most
        step: float,  # stops between the lenses, at most
    ) -> None:
        """Sample the artefacts of a camera."""
        # on the image's own seam and in its middle, or half way between, as in real cameras
        self.longitude = float(rng.choice((0.0, math.pi / 2)))
        sizes = misalignment * rng.uniform(0.3, 1, 2)
        headings = rng.uniform(-math.pi, math.pi, 2)
        lon, lat = grid.column_longitudes() - self.longitude, grid.row_latitudes()
        signed = _from_plane(grid, self.longitude)
        shift = np.clip(signed / _CUT, -1, 1) * np.exp(-abs(signed) / REACH) / 2
        side = (np.cos(lon) < 0).astype(int)  # each half circle has its own displacement
        across = shift * (sizes * np.cos(headings))[side]
        across = across / np.maximum(np.cos(lat), _MIN_COSINE)[:, None]
        along = shift * (sizes * np.sin(headings))[side]
        u, v = np.meshgrid(np.arange(grid.width), np.arange(grid.height))
        self._margin = 2 + math.ceil(float(abs(across).max()) * grid.width / (2 * math.pi))
        self._u = (u + self._margin + across * grid.width / (2 * math.pi)).astype(np.float32)
        self._v = (v + along * grid.height / math.pi).astype(np.float32)
        stops = step * rng.uniform(-1, 1) / 2 * np.tanh(signed / _BLEND)
        gain = np.round(_UNIT * 2.0**stops).astype(np.uint8)
        self._gain = cv2.merge([gain, gain, gain]) if step > 0 else None

    def apply(self, image: ImageArray) -> ImageArray:
        """Apply the artefacts to an image [H, W, 3]."""
        margin = self._margin
        wide = np.concatenate([image[:, -margin:], image, image[:, :margin]], 1)
        stitched = cv2.remap(wide, self._u, self._v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if self._gain is not None:
            stitched = cv2.multiply(stitched, self._gain, scale=1 / _UNIT)
        return np.asarray(stitched, np.uint8)


def stitch_zone(grid: Equirect, longitude: float) -> NDArray[np.bool_]:
    """Mark the pixels [H, W] that a stitch along ``longitude`` and opposite to it displaces."""
    return np.asarray(abs(_from_plane(grid, longitude)) < REACH)


def _from_plane(grid: Equirect, longitude: float) -> Floats:
    """Compute the angle [H, W], rad, of the pixels from the vertical plane through a longitude."""
    across = np.sin(grid.column_longitudes() - longitude)
    return np.asarray(np.arcsin(np.cos(grid.row_latitudes())[:, None] * across))
