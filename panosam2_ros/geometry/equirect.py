"""Geometry of equirectangular panoramas.

Axes, signs and the pixel convention, defined here for the whole package:

- ``u, v`` are pixel indices. Centres are integers, so an image of W x H spans
  ``[-0.5, W - 0.5) x [-0.5, H - 0.5)``.
- ``lon = ((u + 0.5) / W - 0.5) * 2 * pi``: positive to the right, 0 at the image centre.
- ``lat = (0.5 - (v + 0.5) / H) * vertical_fov``: positive upwards; ``vertical_fov`` is pi
  for a full sphere.
- A direction is, unless said otherwise, a unit vector in camera optical axes (x right, y down,
  z forward): ``(cos lat sin lon, -sin lat, cos lat cos lon)``. ``CameraFrame`` transforms it to
  the axes of a message's ``frame_id``.
- A box is ``u_min, v_min, u_max, v_max`` in pixel indices; ``u_min > u_max`` means that it
  crosses the seam between the last and the first column.
- The horizontal axis wraps wherever it is padded, resized or rolled; the vertical never does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector, vector_to_lonlat

FULL_SPHERE_RATIO = (1.9, 2.1)
LEAST_WIDTH = 64  # of masks and images, pixels: from this width on some height lies within that ratio
_PI_TOLERANCE = 1e-5  # relative; people and parameter files write 3.1416 or 3.14159


@dataclass(frozen=True)
class Equirect:
    """The pixel grid of an equirectangular image.

    Raises ValueError for a size that no panorama has.
    """

    width: int
    height: int
    vertical_fov: float = math.pi  # rad, symmetric about the horizon

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertical_fov", exact_fov(self.vertical_fov))
        if self.width < 2 or self.height < 1:
            raise ValueError(f"a panorama needs at least 2 x 1 pixels, got {self.width}x{self.height}")
        if not 0.0 < self.vertical_fov <= math.pi:
            raise ValueError(f"vertical_fov must lie in (0, pi] rad, got {self.vertical_fov}")
        ratio, (low, high) = self.width / self.height, FULL_SPHERE_RATIO
        if self.vertical_fov == math.pi and not low <= ratio <= high:
            raise ValueError(
                f"a full-sphere panorama has width/height within {low}..{high}, got "
                f"{self.width}x{self.height} = {ratio:.3f}; for a panorama cropped above and "
                "below set vertical_fov (rad)"
            )

    def of_width(self, width: int, *, even: bool = False) -> Equirect:
        """Return the grid of the same panorama at another width, ``LEAST_WIDTH`` or more.

        ``even``: width and height are rounded to even numbers, the width downwards.
        """
        unit = 2 if even else 1
        width = width // unit * unit
        height = self.height * width / self.width / unit
        rows = max(round(height), 1)
        if self.vertical_fov == math.pi:  # rounding must not leave the permitted ratio
            low, high = FULL_SPHERE_RATIO
            rows = min(max(rows, math.ceil(width / high / unit)), math.floor(width / low / unit))
        return Equirect(width, rows * unit, self.vertical_fov)

    def pixel_to_lonlat(self, u: ArrayLike, v: ArrayLike) -> tuple[Floats, Floats]:
        """Return longitude and latitude, rad, of pixel indices of any (broadcastable) shape."""
        lon = ((np.asarray(u, float) + 0.5) / self.width - 0.5) * (2 * math.pi)
        lat = (0.5 - (np.asarray(v, float) + 0.5) / self.height) * self.vertical_fov
        return lon, lat

    def lonlat_to_pixel(self, lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
        """Return the pixel indices of longitudes and latitudes, rad.

        ``u`` is wrapped into ``[-0.5, W - 0.5)``.
        """
        turns = np.asarray(lon, float) / (2 * math.pi) + 0.5
        u = (turns - np.floor(turns)) * self.width - 0.5
        v = (0.5 - np.asarray(lat, float) / self.vertical_fov) * self.height - 0.5
        return u, v

    def pixel_to_vector(self, u: ArrayLike, v: ArrayLike) -> Floats:
        """Return the unit vectors [..., 3], optical axes, of pixel indices."""
        return lonlat_to_vector(*self.pixel_to_lonlat(u, v))

    def vector_to_pixel(self, vectors: ArrayLike) -> tuple[Floats, Floats]:
        """Return the pixel indices of directions [..., 3] in optical axes."""
        return self.lonlat_to_pixel(*vector_to_lonlat(vectors))

    def column_longitudes(self) -> Floats:
        """Return the longitude of every column's centre, [W], rad."""
        return self.pixel_to_lonlat(np.arange(self.width), 0)[0]

    def row_latitudes(self) -> Floats:
        """Return the latitude of every row's centre, [H], rad."""
        return self.pixel_to_lonlat(0, np.arange(self.height))[1]

    def rotated_vectors(
        self, rotation: ArrayLike, *, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.float32]:
        """Compute ``rotation @ v``, [3, h, w], for the unit vectors v of a block of pixels.

        Every component is a sum of two products of a row and a column, which is cheap.
        """
        lon, lat = self.column_longitudes()[columns], self.row_latitudes()[rows]
        right, down, forward = np.asarray(rotation, float).T[..., None]
        across = (right * np.sin(lon) + forward * np.cos(lon)).astype(np.float32)
        along = (down * -np.sin(lat)).astype(np.float32)
        level = np.cos(lat).astype(np.float32)
        return np.asarray(level[:, None] * across[:, None, :] + along[:, :, None])

    def pixel_solid_angles(self) -> Floats:
        """Compute the exact solid angle, sr, of one pixel of each row, [H]."""
        edges = np.sin((0.5 - np.arange(self.height + 1) / self.height) * self.vertical_fov)
        return (2 * math.pi / self.width) * (edges[:-1] - edges[1:])

    def contains(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.bool_]:
        """Tell whether pixel coordinates lie in the image."""
        u, v = np.asarray(u, float), np.asarray(v, float)
        inside = (u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5)
        return np.asarray(inside, bool)


def exact_fov(vertical_fov: float) -> float:
    """Replace a rounded pi (rad) by pi, and return any other field of view unchanged."""
    return math.pi if math.isclose(vertical_fov, math.pi, rel_tol=_PI_TOLERANCE) else vertical_fov


def mask_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Find the smallest box (u_min, v_min, u_max, v_max) around a mask [H, W]; it may cross the seam.

    None for an empty mask. The box has all columns but those of the widest empty gap.
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not columns.size:
        return None
    gaps = np.diff(columns, append=columns[0] + mask.shape[1])
    widest = int(np.argmax(gaps))
    u_min, u_max = columns[(widest + 1) % columns.size], columns[widest]
    return int(u_min), int(rows[0]), int(u_max), int(rows[-1])


def box_width(u_min: float, u_max: float, width: int) -> float:
    """Count the columns from ``u_min`` rightwards to ``u_max``, across the seam where u_min > u_max."""
    return u_max - u_min if u_min <= u_max else u_max - u_min + width
