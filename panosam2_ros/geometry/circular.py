"""Padding, rolling, resizing and sampling of maps on the sphere, across the seam.

Maps are tensors [..., H, W] that cover the full sphere on the pixel grid of ``equirect``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import lonlat_to_vector, normalised, tangent_basis


def cached_constant(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Cache the tensors of a function; the result takes a device and a type (or None) before its arguments.

    Nothing is copied to the device after the first call, as CUDA graphs require, which also read tensors
    that were made long ago. Tensors that were made while tracking can be used in training, because they are
    never made in inference mode.
    """

    @lru_cache(maxsize=512)  # far more than the sizes of the networks and images of a process
    def cached(device: torch.device, dtype: torch.dtype | None, *arguments: Hashable) -> Tensor:
        """Make the tensor for a device and a type, once for each combination of arguments."""
        with torch.inference_mode(False):
            return make(*arguments).to(device=device, dtype=dtype)

    return cached


def wrap_pad(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad a map [..., H, W] with columns from the other side of the seam and with rows of zeros."""
    if left or right:
        x = torch.cat([x[..., x.shape[-1] - left :], x, x[..., :right]], -1)
    return F.pad(x, (0, 0, top, bottom)) if top or bottom else x


def roll_columns(x: Tensor, shifts: Tensor) -> Tensor:
    """Roll each item of x [N, ..., W] to the right by its own number of columns, shifts [N] int64."""
    width = x.shape[-1]
    source = (torch.arange(width, device=x.device) - shifts[:, None]) % width
    shape = (x.shape[0],) + (1,) * (x.dim() - 2) + (width,)
    return x.gather(-1, source.view(shape).expand(x.shape))


def mean_column(weights: Tensor) -> Tensor:
    """Compute the circular mean column [N] of non-negative weights [N, W]; NaN where all are zero."""
    width = weights.shape[-1]
    angles = torch.arange(width, device=weights.device, dtype=weights.dtype) * (2 * math.pi / width)
    y, x = weights @ angles.sin(), weights @ angles.cos()
    column = torch.atan2(y, x) * (width / (2 * math.pi)) % width
    return torch.where(weights.sum(-1) > 0, column, torch.full_like(column, math.nan))


def reference_column(image: NDArray[np.uint8]) -> int:
    """Return the circular mean column of the brightness of a panorama [H, W] or [H, W, C].

    It moves with the content of a rolled panorama, so that columns counted from it do not depend on the
    position of the seam. 0 for a black image.
    """
    across = image[::8].sum(tuple(i for i in range(image.ndim) if i != 1), dtype=np.float64)
    column = float(mean_column(torch.from_numpy(across)[None]))
    return math.floor(column) if math.isfinite(column) else 0


@cached_constant
def _resize_matrix(source: int, target: int, wrap: bool) -> Tensor:  # noqa: FBT001, a key of the cache
    """Compute the weights [target, source] of bilinear resizing, half-pixel centres, no anti-aliasing."""
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


def resize_matrix(source: int, target: int, like: Tensor, *, wrap: bool) -> Tensor:
    """Return the weights [target, source] of bilinear resizing, with the device and type of ``like``.

    ``wrap``: pixels beyond an end are taken from the other one; else the last pixel is repeated.
    """
    return _resize_matrix(like.device, like.dtype, source, target, wrap)


def wrap_resize(x: Tensor, height: int, width: int, *, wrap: bool = True) -> Tensor:
    """Resize a map [..., H, W] bilinearly, seamless across the 0/360 meridian if ``wrap``.

    Equals ``F.interpolate(..., mode="bilinear", align_corners=False)`` away from the seam.
    """
    if x.shape[-2:] == (height, width):
        return x
    rows = resize_matrix(x.shape[-2], height, x, wrap=False)
    columns = resize_matrix(x.shape[-1], width, x, wrap=wrap)
    return rows @ x @ columns.T


@cached_constant
def _tangent_grid(height: int, width: int) -> Tensor:
    """Compute sampling grids [9, H, W, 2] of tangent-plane neighbours, for a map padded by one column."""
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
    """Sample a 3x3 neighbourhood on the tangent plane of every pixel: [N, C, H, W] -> [N, C * 9, H, W].

    Neighbours are one row's height apart on the sphere, which near the poles is many columns. They are
    ordered from left to right, then from top to bottom. Bilinear; seamless over longitude.
    """
    height, width = x.shape[-2:]
    grid = _tangent_grid(x.device, x.dtype, height, width).flatten(0, 1)[None]
    return torch.unflatten(_sample(x, grid), 2, (9, height)).flatten(1, 2)


def sum_of_neighbours(x: Tensor) -> Tensor:
    """Sum over every pixel's neighbours, each taken from its own map: [N, 9 * C, H, W] -> [N, C, H, W].

    Neighbours are those of ``tangent_neighbours``; maps are ordered by neighbour, then by channel.
    """
    grids = _tangent_grid(x.device, x.dtype, *x.shape[-2:])
    return torch.stack([_sample(y, g[None]) for y, g in zip(x.chunk(9, 1), grids, strict=True)]).sum(0)


def _sample(x: Tensor, grid: Tensor) -> Tensor:
    """Sample maps [N, C, H, W] bilinearly at a grid [1, h, w, 2] that counts one repeated column."""
    padded = wrap_pad(x, 0, 1, 0, 0)
    return F.grid_sample(padded, grid.expand(len(x), -1, -1, -1), padding_mode="border", align_corners=False)


def fit_image(image: NDArray[np.uint8], height: int, width: int) -> Tensor:
    """Resize an RGB image [H, W, 3] to the network's input size, [1, 3, height, width].

    Shrinking averages over cells that end at the seam; enlarging interpolates across it.
    """
    if image.shape[0] >= height and image.shape[1] >= width:
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(small).permute(2, 0, 1)[None]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    return wrap_resize(pixels, height, width)
