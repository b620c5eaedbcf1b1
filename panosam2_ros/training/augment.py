"""Augmentation of clips: changes that leave a panorama a panorama, with labels that agree."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, rotation_matrix

_STOPS, _RAMP = (0.4, 1.5), 4  # change of light in a clip, either way; frames that it takes at most
_GAMMA = 2.2
_COARSEST, _QUALITIES = 3.0, (25, 90)  # largest downsampling factor; range of JPEG qualities


def rotate_clip(images: ImageArray, labels: ImageArray, rotation: Floats) -> tuple[ImageArray, ImageArray]:
    """Render images [T, H, W, 3] and labels [T, H, W] for a camera that is rotated by ``rotation`` [3, 3]."""
    height, width = labels.shape[1:]
    grid = Equirect(width, height)
    x, y, z = grid.rotated_vectors(rotation)
    u = np.arctan2(x, z) * np.float32(width / (2 * math.pi)) + np.float32(width / 2 + 0.5)  # in ``padded``
    v = np.arctan2(y, np.hypot(x, z)) * np.float32(height / math.pi) + np.float32((height - 1) / 2)
    seen = np.empty_like(images)
    ids = np.empty_like(labels)
    for t, (image, label) in enumerate(zip(images, labels, strict=True)):
        for source, target, how in ((image, seen, cv2.INTER_LINEAR), (label, ids, cv2.INTER_NEAREST)):
            padded = np.concatenate([source[:, -1:], source, source[:, :1]], 1)
            target[t] = cv2.remap(padded, u, v, how, borderMode=cv2.BORDER_REPLICATE)
    return seen, ids


def random_rotation(rng: np.random.Generator, tilt: float) -> Floats:
    """Draw a rotation [3, 3] about a horizontal axis by up to ``tilt`` rad, without yaw."""
    heading = rng.uniform(-np.pi, np.pi)
    return rotation_matrix(rng.uniform(0, tilt) * np.array([np.cos(heading), 0.0, np.sin(heading)]))


def augment_clip(
    rng: np.random.Generator, images: ImageArray, labels: ImageArray, *, tilt: float = 0.0
) -> tuple[ImageArray, ImageArray]:
    """Augment a clip by yaw, a tilt of up to ``tilt`` rad, mirroring, time reversal and other colours.

    images [T, H, W, 3], labels [T, H, W].
    """
    shift = int(rng.integers(labels.shape[2]))
    images, labels = np.roll(images, shift, 2), np.roll(labels, shift, 2)
    if tilt > 0:
        images, labels = rotate_clip(images, labels, random_rotation(rng, tilt))
    if rng.random() < 0.5:
        images, labels = images[:, :, ::-1], labels[:, :, ::-1]
    if rng.random() < 0.5:
        images, labels = images[::-1], labels[::-1]
    return recolour_frames(rng, images), labels


def degrade_images(rng: np.random.Generator, images: ImageArray) -> ImageArray:
    """Degrade images [T, H, W, 3] as a poorer camera: coarser, and in half of the cases compressed."""
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


def recolour_frames(rng: np.random.Generator, images: ImageArray) -> ImageArray:
    """Change the gains and the offset of the colours of images [..., 3] as another camera would."""
    gain = rng.uniform(0.75, 1.3, 3) * rng.uniform(0.8, 1.2)
    offset = rng.uniform(-15, 15)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return np.stack([table[:, c][images[..., c]] for c in range(3)], -1)


def relight_frames(rng: np.random.Generator, images: ImageArray) -> ImageArray:
    """Change the light within images [T, H, W, 3]: from a time on, or where a shadow's edge passes."""
    stops = rng.uniform(*_STOPS) * rng.choice((-1, 1))
    if rng.random() < 0.5:
        weights = _light_over_time(rng, len(images))[:, None, None]
        tables = [_exposure_table(stops * weight) for weight in weights.ravel()]
        return np.stack([cv2.LUT(image, table) for image, table in zip(images, tables, strict=True)])
    weights, table = _shadow(rng, images.shape[:3]), _exposure_table(stops)
    relit = images + (table[images] - images.astype(np.float32)) * weights[..., None]
    return np.asarray(np.rint(relit), np.uint8)


def _exposure_table(stops: float) -> ImageArray:
    """Tabulate display values that are exposed by ``stops`` more."""
    return np.asarray(np.clip(np.arange(256) * 2 ** (stops / _GAMMA), 0, 255), np.uint8)


def _light_over_time(rng: np.random.Generator, frames: int) -> NDArray[np.float32]:
    """Return how much the light has changed, 0..1, in each frame: a step, or a short ramp."""
    since = np.arange(frames) - rng.integers(0, max(frames, 2))
    return np.asarray(np.clip(since / rng.integers(1, _RAMP + 1) + 1, 0, 1), np.float32)


def _shadow(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return how much pixels [T, H, W] are on one side of a straight, soft edge that moves across them."""
    frames, height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width) - 0.5
    heading, soft = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.08)
    along = x * np.float32(np.cos(heading)) + y * np.float32(np.sin(heading))
    start, end = rng.uniform(-0.6, 0.6, 2)
    edge = np.linspace(start, end, frames, dtype=np.float32)
    return np.asarray(expit((along - edge[:, None, None]) / np.float32(soft)), np.float32)
