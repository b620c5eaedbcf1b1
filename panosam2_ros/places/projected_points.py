"""Points of a range sensor on the pixels of a panorama."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats


@dataclass(frozen=True)
class RangeLimits:
    """Which ranges count."""

    least: float = 0.2  # m
    most: float = 200.0  # m

    def __post_init__(self) -> None:
        if not 0 < self.least < self.most:
            raise ValueError(f"min_range must be above 0 and below max_range, got {self.least}, {self.most}")


@dataclass(frozen=True, eq=False)
class ProjectedPoints:
    """Points that lie on a panorama, ordered by row."""

    xyz: Floats  # [N, 3] m, optical axes, seen from the camera
    ranges: Floats  # [N] m
    rows: NDArray[np.int64]  # [N]
    columns: NDArray[np.int64]  # [N]
    source: NDArray[np.int64]  # [N] index of each among the points given

    def in_rows(self, first: int, last: int) -> slice:
        """Return the points in rows ``first`` to ``last``, both included."""
        start, stop = np.searchsorted(self.rows, [first, last + 1])
        return slice(int(start), int(stop))


def project_points(xyz: Floats, grid: Equirect, limits: RangeLimits) -> ProjectedPoints:
    """Find the pixel of every point [N, 3], m, in the camera's optical axes.

    Points that are not finite, out of the limits, or above or below the image are left out.
    """
    ranges = np.sqrt(np.einsum("ij,ij->i", xyz, xyz))
    with np.errstate(invalid="ignore"):
        kept = np.flatnonzero((ranges >= limits.least) & (ranges <= limits.most))  # NaN: neither
    u, v = grid.vector_to_pixel(xyz[kept])
    rows, columns = np.rint(v).astype(np.int64), np.rint(u).astype(np.int64) % grid.width
    inside = np.flatnonzero((rows >= 0) & (rows < grid.height))
    order = inside[np.argsort(rows[inside], kind="stable")]
    source = kept[order]
    return ProjectedPoints(xyz[source], ranges[source], rows[order], columns[order], source)


def depth_points(
    depth: NDArray[np.float32],  # [H, W] m along each pixel's ray
    labels: NDArray[np.uint16],  # [h, w] of the same panorama, in any size
    vertical_fov: float,  # rad, of both
    reach: float,  # rad beside a mask within which points are wanted, too
) -> Floats:
    """Return points [N, 3], m, in optical axes, of the pixels of a depth panorama on and near the masks.

    Raises ValueError for a depth panorama of a size that no panorama has.
    """
    grid = Equirect(depth.shape[1], depth.shape[0], vertical_fov)
    wanted = cv2.resize((labels > 0).view(np.uint8), (grid.width, grid.height), interpolation=cv2.INTER_AREA)
    side = min(2 * math.ceil(reach * grid.width / (2 * math.pi)) + 1, grid.width // 2)
    across = cv2.copyMakeBorder(wanted, 0, 0, side, side, cv2.BORDER_WRAP)
    near = cv2.dilate(across, np.ones((side, 2 * side + 1), np.uint8))[:, side : side + grid.width]
    rows, columns = np.nonzero((near > 0) & (depth > 0) & np.isfinite(depth))
    return np.asarray(grid.pixel_to_vector(columns, rows) * depth[rows, columns, None])
