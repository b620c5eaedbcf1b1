"""The stereographic projection of square views: pixels to directions, directions to pixels, and sampling.

A direction at the angle t from the centre of a view is 2 tan(t / 2) away from it in the plane. Axes [3, 3]
of a view are its right, down and forward, in optical axes.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from panosam2_ros.geometry.sphere import Floats

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


def sampling_places(
    axes: Floats,
    fov: float,
    size: int,
    panorama: tuple[int, int],  # width, height, pixels
    *,
    vertical_fov: float,
    steps: int,  # of a pixel, in which places are given
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Compute where in a panorama the pixels of a view lie: u and v, [size, size] each, in ``steps``.

    Rows are limited to the panorama, columns are not. In float32, but relative to the longitude of the
    view's centre, which is added in whole steps: rolling the panorama by whole columns changes the results
    by exactly that, since the view's axes relative to it are rounded to what float32 holds.
    """
    width, height = panorama
    centre = math.atan2(float(axes[2, 0]), float(axes[2, 2]))
    relative = _turned(axes, centre).astype(np.float32)
    x, y, z = _directions(relative, _pixel_places(size, fov).astype(np.float32))
    # torch's arctangent is vectorised on every CPU, numpy's only with AVX-512
    lon, lat = _atan2(x, z), _atan2(-y, np.sqrt(x * x + z * z))
    whole, fraction = divmod(round((centre / (2 * math.pi) * width) * steps * _FRACTIONS), _FRACTIONS)
    middle = round((width / 2 - 0.5) * steps) + whole
    u = np.rint(lon * np.float32(steps * width / (2 * math.pi)) + np.float32(fraction / _FRACTIONS))
    v = lat * np.float32(-steps * height / vertical_fov) + np.float32(steps * (height / 2 - 0.5))
    v = np.rint(v.clip(0, steps * (height - 1)))
    return u.astype(np.int32) + np.int32(middle), v.astype(np.int32)


def _turned(axes: Floats, lon: float) -> Floats:
    """Return a view's axes after the panorama was turned so that longitude ``lon`` is 0, rounded."""
    sine, cosine = math.sin(lon), math.cos(lon)
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return np.asarray(np.rint(axes @ turn * _EXACT) / _EXACT)


def _directions(axes: NDArray[np.float32], places: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Compute x, y and z, [size, size] each, of the directions of a view's pixels, of length 1."""
    squares = places * places
    scale = 1 / (1 + (squares[:, None] + squares) / 4)
    right, down, forward = axes
    return tuple(
        scale * (down[i] * places[:, None] + (right[i] * places + 2 * forward[i])) - forward[i]
        for i in range(3)
    )


def _atan2(y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = torch.atan2(torch.from_numpy(y), torch.from_numpy(x)).numpy()
    return found
