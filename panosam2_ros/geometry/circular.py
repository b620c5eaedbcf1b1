"""Maps on the sphere as tensors: what pads, rolls, resizes and samples them across the seam.

Maps are [..., H, W] and cover the full sphere as ``equirect`` has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import _lru_cache_wrapper, lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import lonlat_to_vector, normalised, tangent_basis


def cached_constant(make: Callable[..., Tensor]) -> _lru_cache_wrapper[Tensor]:
    """Make a function of numbers one of ``(device, dtype or None, *numbers)`` that computes once for each.

    Nothing is copied to the device after the first call, as a CUDA graph needs it, and what was
    made while tracking serves training as well.
    """

    @lru_cache(maxsize=64)
    def kept(device: torch.device, dtype: torch.dtype | None, *numbers: Hashable) -> Tensor:
        with torch.inference_mode(False):
            return make(*numbers).to(device=device, dtype=dtype)

    return kept


def wrap_pad(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad [..., H, W]: columns from the other side of the seam, rows of zeros."""
    if left or right:
        x = torch.cat([x[..., x.shape[-1] - left :], x, x[..., :right]], -1)
    return F.pad(x, (0, 0, top, bottom)) if top or bottom else x


def roll_columns(x: Tensor, shifts: Tensor) -> Tensor:
    """Roll each item of x [N, ..., W] right by its own number of columns, shifts [N] int64."""
    width = x.shape[-1]
    source = (torch.arange(width, device=x.device) - shifts[:, None]) % width
    shape = (x.shape[0],) + (1,) * (x.dim() - 2) + (width,)
    return x.gather(-1, source.view(shape).expand(x.shape))


def mean_column(weights: Tensor) -> Tensor:
    """Circular mean column, [N], of non-negative weights [N, W]; NaN where all are zero."""
    width = weights.shape[-1]
    angles = torch.arange(width, device=weights.device, dtype=weights.dtype) * (2 * math.pi / width)
    y, x = weights @ angles.sin(), weights @ angles.cos()
    column = torch.atan2(y, x) * (width / (2 * math.pi)) % width
    return torch.where(weights.sum(-1) > 0, column, torch.full_like(column, math.nan))


def reference_column(image: NDArray[np.uint8]) -> int:
    """A column of a panorama [H, W] or [H, W, C] that its brightness chooses: it moves with what is rolled.

    What is counted from there does not hang on where the seam lies.
    """
    across = image[::8].sum(tuple(i for i in range(image.ndim) if i != 1), dtype=np.float64)
    column = float(mean_column(torch.from_numpy(across)[None]))
    return math.floor(column) if math.isfinite(column) else 0


@cached_constant
def _resize_matrix(source: int, target: int, wrap: bool) -> Tensor:
    """[target, source] weights of bilinear resizing, half-pixel centres, no anti-aliasing."""
    position = (torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5
    if not wrap:
        position = position.clamp(0, source - 1)
    low = position.floor()
    weight = (position - low).to(torch.float32)
    rows = torch.arange(target)
    matrix = torch.zeros(target, source)
    matrix.index_put_((rows, low.long() % source), 1 - weight, accumulate=True)
    matrix.index_put_((rows, (low.long() + 1) % source), weight, accumulate=True)
    return matrix


def resize_matrix(source: int, target: int, wrap: bool, like: Tensor) -> Tensor:
    """``_resize_matrix`` on the device and in the floating type of ``like``."""
    return _resize_matrix(like.device, like.dtype, source, target, wrap)


def wrap_resize(x: Tensor, height: int, width: int, wrap: bool = True) -> Tensor:
    """Bilinear resize of [..., H, W] that is seamless across the 0/360 meridian if ``wrap``.

    Equals ``F.interpolate(..., mode="bilinear", align_corners=False)`` away from the seam.
    """
    if x.shape[-2:] == (height, width):
        return x
    rows = resize_matrix(x.shape[-2], height, False, x)
    columns = resize_matrix(x.shape[-1], width, wrap, x)
    return rows @ x @ columns.T


@cached_constant
def _tangent_grid(height: int, width: int) -> Tensor:
    """Sampling grids [9, H, W, 2] of neighbours on the tangent plane, for a map with one more column."""
    grid = Equirect(width, height)
    lat = grid.row_latitudes()
    centre = lonlat_to_vector(np.zeros_like(lat), lat)
    east, north = tangent_basis(centre)
    step = math.tan(math.pi / height)
    right, up = np.meshgrid([-step, 0, step], [step, 0, -step])
    points = centre[:, None] + right.reshape(-1, 1) * east[:, None] + up.reshape(-1, 1) * north[:, None]
    u, v = grid.vector_to_pixel(normalised(points))  # [H, 9], of the column at longitude 0
    offset = u - grid.lonlat_to_pixel(0.0, 0.0)[0]
    columns = (np.arange(width) + offset.T[..., None]) % width  # [9, H, W]
    x = (columns + 0.5) / (width + 1) * 2 - 1
    y = np.broadcast_to(((v.T + 0.5) / height * 2 - 1)[..., None], x.shape)
    return torch.from_numpy(np.stack([x, y], -1)).float()


def tangent_neighbours(x: Tensor) -> Tensor:
    """A 3x3 neighbourhood on the tangent plane of every pixel: [N, C, H, W] -> [N, C * 9, H, W].

    Neighbours are one row's height apart on the sphere: near the poles that is many columns. Order:
    left to right, then top to bottom. Bilinear; seamless over longitude.
    """
    height, width = x.shape[-2:]
    grid = _tangent_grid(x.device, x.dtype, height, width).flatten(0, 1)[None]
    near = _sampled(x, grid)
    return near.unflatten(2, (9, height)).flatten(1, 2)


def sum_of_neighbours(x: Tensor) -> Tensor:
    """Sum over a pixel's neighbours, each of its own map: [N, 9 * C, H, W] -> [N, C, H, W].

    Neighbours are those of ``tangent_neighbours``; maps are ordered by neighbour, then channel.
    """
    grids = _tangent_grid(x.device, x.dtype, *x.shape[-2:])
    return torch.stack([_sampled(y, g[None]) for y, g in zip(x.chunk(9, 1), grids, strict=True)]).sum(0)


def _sampled(x: Tensor, grid: Tensor) -> Tensor:
    padded = wrap_pad(x, 0, 1, 0, 0)
    return F.grid_sample(padded, grid.expand(len(x), -1, -1, -1), padding_mode="border", align_corners=False)


def fit_image(image: NDArray[np.uint8], height: int, width: int) -> Tensor:
    """An RGB image [H, W, 3] at the network's input size, [1, 3, height, width].

    Shrinking averages over cells that end at the seam; growing interpolates across it.
    """
    if image.shape[0] >= height and image.shape[1] >= width:
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(small).permute(2, 0, 1)[None]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    return wrap_resize(pixels, height, width)
