"""Boundaries of masks on a panorama, and the matching of two of them.

Our own search by matrix products has the results of ``scipy.spatial.cKDTree`` in less time, without another
dependency; dilation by a disk, as in DAVIS, takes up to 200 times as long at 4K.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.geometry.sphere import Floats

Indices = NDArray[np.int64]
_CHUNK = 96  # boundary pixels that are compared at once with those of nearby rows


@dataclass(frozen=True, eq=False)
class PixelWindow:
    """The part of a panorama round a mask, contiguous across the seam, with a margin of one pixel."""

    top: int  # first row
    bottom: int  # row after the last
    columns: Indices  # [w] columns of the image, in order, which go on with 0 after the seam
    closed: bool  # whether all columns are there: the last one's right neighbour is the first

    @classmethod
    def around(cls, mask: MaskArray) -> PixelWindow | None:
        """Return the window of a mask [H, W]; None where it is empty."""
        box = mask_box(mask)
        if box is None:
            return None
        height, width = mask.shape
        u_min, v_min, u_max, v_max = box
        inner = (u_max - u_min) % width + 1
        closed = inner + 2 >= width
        start, count = (0, width) if closed else (u_min - 1, inner + 2)
        columns = np.arange(start, start + count) % width
        return cls(max(v_min - 1, 0), min(v_max + 2, height), columns, closed)

    def crop(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the window's part [h, w] of an image [H, W]."""
        rows, first, last = image[self.top : self.bottom], self.columns[0], self.columns[-1]
        if first <= last:
            return rows[:, first : last + 1]
        return np.concatenate([rows[:, first:], rows[:, : last + 1]], 1)

    def meets_seam(self, width: int, reach: int) -> bool:
        """Return whether the window touches the seam or lies within ``reach`` pixels of its own other end."""
        last = self.columns == width - 1
        return bool(last.any() or self.columns[0] == 0 or len(self.columns) + reach > width)


@dataclass(frozen=True, eq=False)
class Points:
    """Pixels, ordered by row."""

    rows: Indices  # [N] v
    columns: Indices  # [N] u

    def take(self, which: MaskArray) -> Points:
        """Return the points where ``which`` [N] is set."""
        return Points(self.rows[which], self.columns[which])


@dataclass(frozen=True, eq=False)
class Boundary:
    """Boundary pixels of one mask."""

    points: Points
    pixels: MaskArray  # [h, w] the same pixels in the window

    def near(self, others: Boundary, close: Callable[[Points, Points], MaskArray]) -> MaskArray:
        """Return which points have a ``close`` one of the others, [N]; both have the same window."""
        found = others.pixels[self.pixels]  # shared pixels need no search
        if others.points.rows.size and not found.all():
            found[~found] = close(self.points.take(~found), others.points)
        return found


def boundary(mask: MaskArray, window: PixelWindow, width: int, *, wrap: bool) -> Boundary:
    """Find the boundary pixels of a mask [h, w] that was cropped to its window.

    A pixel belongs to the boundary where its right, lower or lower right neighbour has another value
    (D. Martin's ``seg2bmap``, 2003, which DAVIS uses: half a pixel towards the origin). A neighbour beyond
    the image has the same value; with ``wrap`` the first column is the last one's neighbour.
    """
    right = np.concatenate([mask[:, 1:], mask[:, :1] if window.closed else mask[:, -1:]], 1)
    if not wrap:
        edge = window.columns == width - 1
        right[:, edge] = mask[:, edge]
    pixels = (mask ^ right) | (mask ^ _lower(mask)) | (mask ^ _lower(right))
    v, k = np.nonzero(pixels)
    return Boundary(Points(v + window.top, window.columns[k]), pixels)


def _lower(mask: MaskArray) -> MaskArray:
    """Return each pixel's lower neighbour; the last row is its own."""
    return np.concatenate([mask[1:], mask[-1:]])


def near_in_pixels(points: Points, others: Points, radius: int, width: int, *, wrap: bool) -> MaskArray:
    """Return which points have one of the others at most ``radius`` pixels away, centre to centre, [N].

    The result is that of dilating ``others`` by a disk. With ``wrap`` columns are counted modulo W.
    """
    v, u = others.rows, others.columns
    if wrap:  # repeat what lies close to the seam on its other side
        left, right = u < radius, u >= width - radius
        v = np.concatenate([v, v[left], v[right]])
        u = np.concatenate([u, u[left] + width, u[right] - width])
        order = np.argsort(v, kind="stable")
        v, u = v[order], u[order]
    # -|a - b|^2 as one matrix product; in float64, for float32 is not exact from 4K on
    a = np.stack([points.rows, points.columns], 1).astype(float)
    b = np.stack([v, u], 1).astype(float)
    ones_a, ones_b = np.ones((len(a), 1)), np.ones((len(b), 1))
    a = np.concatenate([2 * a, -(a**2).sum(1, keepdims=True), -ones_a], 1)
    b = np.concatenate([b, ones_b, (b**2).sum(1, keepdims=True)], 1)
    return _near(a, b, points.rows, v, reach=radius, least=-float(radius**2))


def near_on_sphere(
    points: Points,
    others: Points,
    angle: float,  # rad
    grid: Equirect,
) -> MaskArray:
    """Return which points have one of the others at most ``angle`` away, centre to centre, [N]."""
    reach = int(angle / (grid.vertical_fov / grid.height)) + 1
    a = grid.pixel_to_vector(points.columns, points.rows).astype(np.float32)
    b = grid.pixel_to_vector(others.columns, others.rows).astype(np.float32)
    # float32's rounding of a cosine is 2e-6 rad at this angle, far below a pixel
    return _near(a, b, points.rows, others.rows, reach=reach, least=math.cos(angle) - 1e-7)


def _near(
    a: NDArray[np.floating],  # [N, D]
    b: NDArray[np.floating],  # [M, D]
    a_rows: Indices,  # [N] ascending
    b_rows: Indices,  # [M] ascending
    *,
    reach: int,  # difference of rows above which points are never close
    least: float,
) -> MaskArray:
    """Return which rows of ``a`` have a product of at least ``least`` with some row of ``b``, [N]."""
    found = np.zeros(len(a), bool)
    for start in range(0, len(a), _CHUNK):
        stop = min(start + _CHUNK, len(a))
        low = np.searchsorted(b_rows, a_rows[start] - reach, "left")
        high = np.searchsorted(b_rows, a_rows[stop - 1] + reach, "right")
        if high > low:
            found[start:stop] = (a[start:stop] @ b[low:high].T).max(1) >= least
    return found


def f_measure(
    predicted: NDArray[np.float64],  # [N] weight of each boundary pixel of the prediction
    predicted_near: MaskArray,  # [N] which of them lie near the true boundary
    true: NDArray[np.float64],  # [M] weight of each pixel of the true boundary
    true_near: MaskArray,  # [M] which of them lie near the predicted boundary
) -> float:
    """Return the harmonic mean of precision and recall of a boundary; 1 for two empty ones, 0 for one."""
    if not predicted.size and not true.size:
        return 1.0
    if not predicted.size or not true.size:
        return 0.0
    precision = float(predicted[predicted_near].sum() / predicted.sum())
    recall = float(true[true_near].sum() / true.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def row_weights_of_360vos(grid: Equirect) -> Floats:
    """Return the weight of a pixel of each row in the official 360VOS toolkit, [H].

    HuajianUP/360VOT, ``eval/sphgrid.py`` as of aef0760 (before it, rows had |sin lat|, which made
    the equator weightless). Its row centres are spread over [0, H - 1] without the last of them,
    v (H - 1) / H, so that the weights drift by up to one row towards the south pole.
    """
    rows = np.arange(grid.height) * (grid.height - 1) / grid.height
    latitude = grid.pixel_to_lonlat(0, rows)[1]
    half = grid.vertical_fov / grid.height / 2
    return np.asarray(np.sin(latitude + half) - np.sin(latitude - half))
