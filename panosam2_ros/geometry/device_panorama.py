"""A panorama on a device: uploaded once, and sampled there as the CPU samples it.

Its pyramid has the levels of ``ImagePyramid``, one below the other in one map, so that all search regions are
sampled by one operation, whatever their number and their levels. To be computed in float32, outside of
autocast.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.geometry.circular import cached_constant, wrap_resize
from panosam2_ros.geometry.image_pyramid import LEAST_ROWS, SUBPIXELS, column_offset, level_index
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.geometry.stereographic import FIRST_COLUMN, PLACEMENT, sampling_places

REGION_PLACEMENT = PLACEMENT + 1  # numbers that say where a region is sampled, ``region_placement``


class DevicePanorama:
    """An RGB panorama on a device."""

    def __init__(self, image: ImageArray, device: torch.device) -> None:
        """Copy an image [H, W, 3] uint8 to the device; the call does not wait for that."""
        # pinned, so that the copy goes on by itself; images may be read-only, or views of others
        staging = torch.empty(image.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        np.copyto(staging.numpy(), image)
        self.image = staging.to(device, non_blocking=True)
        self._fitted: dict[tuple[int, int], Tensor] = {}

    def fitted(self, height: int, width: int) -> Tensor:
        """Return the panorama at a network's input size, [1, 3, height, width], 0..255.

        As ``circular.fit_image`` resizes it on the CPU.
        """
        if (height, width) not in self._fitted:
            self._fitted[height, width] = self._fit(height, width)
        return self._fitted[height, width]

    def _fit(self, height: int, width: int) -> Tensor:
        pixels = self._planes()[None]
        if self.image.shape[0] < height or self.image.shape[1] < width:
            return wrap_resize(pixels, height, width)
        rows = _area_matrix(pixels.device, pixels.dtype, pixels.shape[-2], height)
        columns = _area_matrix(pixels.device, pixels.dtype, pixels.shape[-1], width)
        return (rows @ pixels @ columns.T).round()

    @cached_property
    def levels(self) -> Tensor:
        """All levels of the pyramid, one below the other, [1, 3, rows, W + 1] float32.

        The last column is the first one again.
        """
        level = self._planes()
        levels = [level]
        while level.shape[1] >= LEAST_ROWS:
            level = _halved(level, 2 ** (len(levels) - 1))
            levels.append(level)
        stacked = torch.cat(levels, 1)
        return torch.cat([stacked, stacked[..., :1]], -1)[None]

    def _planes(self) -> Tensor:
        """Return the image as planes [3, H, W] float32."""
        return self.image.permute(2, 0, 1).float()


def _halved(level: Tensor, span: int) -> Tensor:
    """Average pairs of rows, and every column with the one ``span`` to its left, as ``ImagePyramid`` does."""
    rows = ((level[:, :-1:2] + level[:, 1::2]) / 2).round()
    return ((rows + rows.roll(span, -1)) / 2).round()


def region_placement(
    region: SearchRegion, size: int, panorama: tuple[int, int], *, vertical_fov: float
) -> Floats:
    """Return where a region of ``size`` pixels is sampled in ``DevicePanorama.levels``.

    float64 [REGION_PLACEMENT]; ``panorama``: width and height in pixels.
    """
    width, height = panorama
    index = level_index(width, height, 1 / region.pixel_angle(size))
    placed = region.placement(width, height >> index, vertical_fov=vertical_fov)
    placed[FIRST_COLUMN] += round(column_offset(index) * SUBPIXELS)
    return np.append(placed, sum(height >> level for level in range(index)))


def sampled_regions(levels: Tensor, placements: Tensor, size: int) -> Tensor:
    """Sample N regions of a panorama, [N, 3, size, size] RGB 0..255, as ``SearchRegion.pixels`` does.

    ``levels`` of a ``DevicePanorama``; ``placements`` [N, REGION_PLACEMENT], float64.
    """
    rows, columns = levels.shape[-2], levels.shape[-1] - 1
    u, v = sampling_places(placements[:, :PLACEMENT], size)
    x = (u % (columns * SUBPIXELS)).float() / SUBPIXELS
    y = v.float() / SUBPIXELS + placements[:, PLACEMENT:, None].float()
    at = torch.stack([(2 * x + 1) / (columns + 1) - 1, (2 * y + 1) / rows - 1], -1).flatten(0, 1)[None]
    found = F.grid_sample(levels, at, padding_mode="border", align_corners=False)
    regions: Tensor = (found[0] + 0.5).floor().unflatten(1, (-1, size)).transpose(0, 1)
    return regions


@cached_constant
def _area_matrix(source: int, target: int) -> Tensor:
    """Compute the weights [target, source] of resizing by the mean of the pixels under each new one."""
    edges = torch.arange(target + 1, dtype=torch.float64) * source / target
    pixel = torch.arange(source, dtype=torch.float64)
    shared = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (shared.clamp(min=0) * target / source).float()
