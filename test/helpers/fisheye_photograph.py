"""What a dual fisheye camera sees of a world whose colour is known in every direction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.camera_frame import body_rotation
from panosam2_ros.geometry.dual_fisheye import DualFisheye

Floats = NDArray[np.float64]
OPTICAL_OF_BODY = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])


def world(directions: Floats) -> Floats:
    """The colour [..., 3] of directions [..., 3], smooth and different everywhere."""
    x, y, z = np.moveaxis(directions, -1, 0)
    waves = np.stack([np.sin(3 * x + y), np.sin(2 * y - 2 * z + 1), np.sin(3 * z + x * y)], -1)
    return 127.5 + 110 * waves


def photographed(
    camera: DualFisheye, scale: float = 1.0, colours: Callable[[Floats], Floats] = world
) -> NDArray[np.uint8]:
    """What the camera sees: every pixel's ray is followed outwards, the other way round than the table."""
    width, height = round(camera.width * scale), round(camera.height * scale)
    u, v = np.meshgrid((np.arange(width) + 0.5) / scale - 0.5, (np.arange(height) + 0.5) / scale - 0.5)
    image = np.zeros((height, width, 3))
    for lens in (camera.front, camera.back):
        right, down = u - lens.center[0], v - lens.center[1]
        distance = np.hypot(right, down)
        theta = distance / lens.radius * lens.fov / 2
        out = np.sin(theta) / np.maximum(distance, 1e-9)
        body = np.stack([np.cos(theta), -right * out, -down * out], -1)  # forward, left, up of the lens
        body = body @ body_rotation(lens.roll, lens.pitch, lens.yaw).T
        seen = distance <= lens.radius + 2
        image[seen] = colours(body @ OPTICAL_OF_BODY.T)[seen]
    return np.rint(image).astype(np.uint8)
