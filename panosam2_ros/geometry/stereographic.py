"""The stereographic projection of square views: pixels to directions, directions to pixels, and sampling.

A direction at the angle t from the centre of a view is 2 tan(t / 2) away from it in the plane. Axes [3, 3]
of a view are its right, down and forward, in optical axes.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from panosam2_ros.geometry.sphere import Floats

PLACEMENT, FIRST_COLUMN = 16, 12  # numbers of a placement, and the one that whole columns are added to
_FRACTIONS = 256  # steps of a sampling step to which the longitude of a view's centre is rounded
_EXACT = 2.0**22  # elements of axes are rounded to multiples of 1 / this, which float32 holds exactly


def to_plane(local: Floats) -> Floats:
    """Project directions [..., 3] in a view's axes to the plane: x, y [..., 2].

    The scale is bounded, so that the antipode lies far outside instead of at infinity.
    """
    return np.asarray(local[..., :2] * (2 / np.maximum(1 + local[..., 2:], 1e-3)))


def from_plane(x: Floats, y: Floats) -> Floats:
    """Return the unit vectors [..., 3], in a view's axes, of places in the plane."""
    scale = 1 / (1 + (x * x + y * y) / 4)
    return np.stack([x * scale, y * scale, 2 * scale - 1], -1)


def side_of(fov: float) -> float:
    """Return the side in the plane of a view whose sides' middles are ``fov`` rad apart."""
    return 4 * math.tan(fov / 4)


@lru_cache(maxsize=32)  # 20 MiB at 160 pixels; masks of one view are measured several times in a frame
def pixel_directions(size: int, fov: float) -> Floats:
    """Compute the unit vectors [size, size, 3], in a view's axes, of its pixels."""
    across = _pixel_places(size, fov)
    directions = from_plane(*np.meshgrid(across, across))
    directions.flags.writeable = False
    return directions


def _pixel_places(size: int, fov: float) -> Floats:
    """Compute the places in the plane, [size], of a view's columns, and of its rows."""
    return np.asarray(((np.arange(size) + 0.5) / size - 0.5) * side_of(fov))


def placement(
    axes: Floats,
    fov: float,
    panorama: tuple[int, int],  # width, height, pixels
    *,
    vertical_fov: float,
    steps: int,  # of a pixel, in which places are given
) -> Floats:
    """Return what ``sampling_places`` has to know of a view in a panorama, float64 [PLACEMENT].

    The axes are relative to the longitude of the view's centre, which is added in whole steps: rolling the
    panorama by whole columns changes places by exactly that, since relative axes are rounded to what float32
    holds.
    """
    width, height = panorama
    centre = math.atan2(float(axes[2, 0]), float(axes[2, 2]))
    whole, fraction = divmod(round((centre / (2 * math.pi) * width) * steps * _FRACTIONS), _FRACTIONS)
    across = (steps * width / (2 * math.pi), fraction / _FRACTIONS, round((width / 2 - 0.5) * steps) + whole)
    down = (-steps * height / vertical_fov, steps * (height / 2 - 0.5), steps * (height - 1))
    return np.array([*_turned(axes, centre).ravel(), side_of(fov), *across, *down], np.float64)


def sampling_places(placements: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Compute where the pixels of views lie in a panorama: u and v, int32 [N, size, size], in steps.

    ``placements`` [N, PLACEMENT]. Rows are limited to the panorama, columns are not. Computed in float32 by
    the same operations on every device.
    """
    numbers = placements[:, 9:, None, None].unbind(1)
    at = ((torch.arange(size, dtype=placements.dtype, device=placements.device) + 0.5) / size) - 0.5
    scale_u, shift_u, _, scale_v, shift_v, last_v = (number.float() for number in numbers[1:])
    x, y, z = _directions(placements[:, :9].float(), (at * numbers[0][:, 0]).float())
    # torch's arctangent is vectorised on every CPU, numpy's only with AVX-512
    lon, lat = torch.atan2(x, z), torch.atan2(-y, (x * x + z * z).sqrt())
    u = (lon * scale_u + shift_u).round().int() + numbers[3].int()
    v = (lat * scale_v + shift_v).clamp(min=0).minimum(last_v).round().int()
    return u, v


def _turned(axes: Floats, lon: float) -> Floats:
    """Return a view's axes after the panorama was turned so that longitude ``lon`` is 0, rounded."""
    sine, cosine = math.sin(lon), math.cos(lon)
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return np.asarray(np.rint(axes @ turn * _EXACT) / _EXACT)


def _directions(axes: Tensor, places: Tensor) -> list[Tensor]:
    """Compute x, y and z, [N, size, size] each, of the directions of views' pixels, of length 1.

    ``axes`` [N, 9] float32, ``places`` [N, size] in the plane.
    """
    squares, down_at, right_at = places * places, places[:, :, None], places[:, None]
    scale = 1 / (1 + (squares[:, :, None] + squares[:, None]) / 4)
    right, down, forward = axes[..., None, None].unflatten(1, (3, 3)).unbind(1)
    return [
        scale * (down[:, i] * down_at + (right[:, i] * right_at + 2 * forward[:, i])) - forward[:, i]
        for i in range(3)
    ]
