"""What stitching two fisheye images into one panorama leaves behind: a broken line and a step.

The lenses look to either side of a vertical plane through the camera. Where their images meet,
things are misaligned, by parallax and by calibration, and exposed differently. The truth is that
of an ideal camera: labels and directions do not follow the displaced pixels.
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
_CUT = math.radians(0.2)  # rad over which one image passes into the other
_BLEND = math.radians(3)  # rad over which one exposure passes into the other
_SMALLEST_COSINE = 0.25  # of the latitude, for columns: keeps shifts near the poles short
_UNIT = 128  # value of the gain map that means 1


class Stitching:
    """Displaces and exposes the two halves of an image."""

    def __init__(
        self,
        grid: Equirect,
        rng: np.random.Generator,
        misalignment: float,  # rad between both sides of the stitch, at most
        step: float,  # stops between the lenses, at most
    ) -> None:
        # on the image's own seam and in its middle, or half way between, as cameras have it
        self.longitude = float(rng.choice((0.0, math.pi / 2)))
        sizes = misalignment * rng.uniform(0.3, 1, 2)
        headings = rng.uniform(-math.pi, math.pi, 2)
        lon, lat = grid.column_longitudes() - self.longitude, grid.row_latitudes()
        signed = _from_plane(grid, self.longitude)
        shift = np.clip(signed / _CUT, -1, 1) * np.exp(-abs(signed) / REACH) / 2
        side = (np.cos(lon) < 0).astype(int)  # either half circle has a displacement of its own
        across = shift * (sizes * np.cos(headings))[side]
        across = across / np.maximum(np.cos(lat), _SMALLEST_COSINE)[:, None]
        along = shift * (sizes * np.sin(headings))[side]
        u, v = np.meshgrid(np.arange(grid.width), np.arange(grid.height))
        self._margin = 2 + math.ceil(float(abs(across).max()) * grid.width / (2 * math.pi))
        self._u = (u + self._margin + across * grid.width / (2 * math.pi)).astype(np.float32)
        self._v = (v + along * grid.height / math.pi).astype(np.float32)
        stops = step * rng.uniform(-1, 1) / 2 * np.tanh(signed / _BLEND)
        gain = np.round(_UNIT * 2.0**stops).astype(np.uint8)
        self._gain = cv2.merge([gain, gain, gain]) if step > 0 else None

    def apply(self, image: ImageArray) -> ImageArray:
        """The stitched image [H, W, 3]."""
        margin = self._margin
        wide = np.concatenate([image[:, -margin:], image, image[:, :margin]], 1)
        stitched = cv2.remap(wide, self._u, self._v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if self._gain is not None:
            stitched = cv2.multiply(stitched, self._gain, scale=1 / _UNIT)
        return np.asarray(stitched, np.uint8)


def stitch_zone(grid: Equirect, longitude: float) -> NDArray[np.bool_]:
    """[H, W]: where things are displaced, of a stitch along ``longitude`` and opposite to it."""
    return np.asarray(abs(_from_plane(grid, longitude)) < REACH)


def _from_plane(grid: Equirect, longitude: float) -> Floats:
    """[H, W] angle, rad, of the pixels from the vertical plane that holds a longitude."""
    across = np.sin(grid.column_longitudes() - longitude)
    return np.asarray(np.arcsin(np.cos(grid.row_latitudes())[:, None] * across))
