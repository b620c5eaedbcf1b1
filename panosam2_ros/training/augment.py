"""Changes to a clip that keep it a true panorama of the same things."""

from __future__ import annotations

import math

import cv2
import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, rotation_matrix

_COARSEST, _QUALITIES = 3.0, (25, 90)  # pixels of a good camera to one of a poor one; of JPEG


def turned(images: ImageArray, labels: ImageArray, rotation: Floats) -> tuple[ImageArray, ImageArray]:
    """Images [T, H, W, 3] and labels [T, H, W] as a camera turned by a rotation [3, 3] sees them."""
    height, width = labels.shape[1:]
    grid = Equirect(width, height)
    x, y, z = grid.rotated_vectors(rotation)
    u = np.arctan2(x, z) * np.float32(width / (2 * math.pi)) + np.float32(width / 2 + 0.5)  # of the padded
    v = np.arctan2(y, np.hypot(x, z)) * np.float32(height / math.pi) + np.float32((height - 1) / 2)
    seen = np.empty_like(images)
    ids = np.empty_like(labels)
    for t, (image, label) in enumerate(zip(images, labels, strict=True)):
        for source, target, how in ((image, seen, cv2.INTER_LINEAR), (label, ids, cv2.INTER_NEAREST)):
            padded = np.concatenate([source[:, -1:], source, source[:, :1]], 1)
            target[t] = cv2.remap(padded, u, v, how, borderMode=cv2.BORDER_REPLICATE)
    return seen, ids


def random_rotation(rng: np.random.Generator, tilt: float) -> Floats:
    """A turn [3, 3] about a random horizontal axis by up to ``tilt`` rad; yaw is for the roll to choose."""
    heading = rng.uniform(-np.pi, np.pi)
    return rotation_matrix(rng.uniform(0, tilt) * np.array([np.cos(heading), 0.0, np.sin(heading)]))


def augmented(
    rng: np.random.Generator, images: ImageArray, labels: ImageArray, tilt: float = 0.0
) -> tuple[ImageArray, ImageArray]:
    """A clip turned in yaw and by up to ``tilt`` rad, perhaps mirrored, backwards, in other colours.

    images [T, H, W, 3], labels [T, H, W].
    """
    shift = int(rng.integers(labels.shape[2]))
    images, labels = np.roll(images, shift, 2), np.roll(labels, shift, 2)
    if tilt > 0:
        images, labels = turned(images, labels, random_rotation(rng, tilt))
    if rng.random() < 0.5:
        images, labels = images[:, :, ::-1], labels[:, :, ::-1]
    if rng.random() < 0.5:
        images, labels = images[::-1], labels[::-1]
    return recoloured_frames(rng, images), labels


def degraded(rng: np.random.Generator, images: ImageArray) -> ImageArray:
    """Images [T, H, W, 3] as a poorer camera sends them: coarser, or compressed, or both."""
    height, width = images.shape[1:3]
    factor = math.exp(rng.uniform(0, math.log(_COARSEST)))
    coarse = (max(round(width / factor), 4), max(round(height / factor), 4))
    quality = int(rng.integers(*_QUALITIES)) if rng.random() < 0.5 else 0
    poor = []
    for image in images:
        small = cv2.resize(image, coarse, interpolation=cv2.INTER_AREA)
        if quality:
            code = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            small = cv2.imdecode(code, cv2.IMREAD_COLOR)
        poor.append(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(np.stack(poor), np.uint8)


def recoloured_frames(rng: np.random.Generator, images: ImageArray) -> ImageArray:
    """Images [..., 3] as another camera sees them."""
    gain = rng.uniform(0.75, 1.3, 3) * rng.uniform(0.8, 1.2)
    offset = rng.uniform(-15, 15)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return np.stack([table[:, c][images[..., c]] for c in range(3)], -1)
