"""Textures of the objects in a scene: cropped, premultiplied, with a pyramid for small sizes."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.image_types import ImageArray

MIN_FILL = 0.2  # smallest opaque fraction of the square of a compact sprite
MIN_WHOLE = 0.9  # smallest fraction of a compact sprite's opaque pixels that are connected
SHAPE_SIZE = 192  # px
PART_SHARE = (0.15, 0.6)  # of a thing's opaque pixels, that a part of it has
MOST_TURNED, _DISTANCE = 0.8, (3.0, 8.0)  # rad; distance of a plane that turns, in half sides
DARKEST = 0.45  # largest opacity of a shadow
STRIP_SIZE = 256  # px, of a strip's longer side


class Sprite:
    """A square RGBA texture, cropped to its opaque pixels unless it is a view of a solid object."""

    def __init__(self, rgba: ImageArray, *, cropped: bool = True) -> None:
        """Make a sprite of RGBA [H, W, 4] with straight alpha; ``cropped``: crop it to its opaque pixels."""
        self.rgba = _crop_square(rgba) if cropped else rgba
        solid = self.rgba[..., 3] > 127
        self.fill = float(solid.mean())  # opaque fraction of the square

    @property
    def thin(self) -> bool:
        """Whether the opaque pixels are a small fraction of the square."""
        return self.fill < MIN_FILL

    @cached_property
    def parted(self) -> bool:
        """Whether a considerable fraction of the opaque pixels is not connected with the largest part."""
        solid = (self.rgba[..., 3] > 127).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(solid)
        return bool(stats[1:, cv2.CC_STAT_AREA].max() < MIN_WHOLE * solid.sum())

    @property
    def compact(self) -> bool:
        """Whether a click is unambiguous: the sprite is connected and not thin."""
        return not self.thin and not self.parted

    @cached_property
    def reach(self) -> float:
        """The radius, in half sides, of the smallest centred disc that contains all opaque pixels."""
        return float(self._distances(self.rgba[..., 3] > 127, 0.5).max())

    @cached_property
    def core(self) -> float:
        """The radius, in half sides, of the largest centred disc without any transparent pixel."""
        return float(self._distances(self.rgba[..., 3] < 255, -0.5).min(initial=1.0))

    @cached_property
    def contrast(self) -> float:
        """The standard deviation of the opaque pixels' colours, grey levels; 0 = a single colour."""
        colours = self.rgba[self.rgba[..., 3] > 127][:, :3]
        return float(np.linalg.norm(colours.std(0)))

    def _distances(self, chosen: NDArray[np.bool_], corner: float) -> NDArray[np.float64]:
        """Compute distances from the centre to the farther (0.5) or nearer (-0.5) corners of pixels."""
        half = chosen.shape[0] / 2
        y, x = (abs(index + 0.5 - half) + corner for index in np.nonzero(chosen))
        return np.asarray(np.hypot(x, y) / half)

    @cached_property
    def _pyramid(self) -> list[ImageArray]:
        """The levels of premultiplied RGBA, each half the size of the one before, down to 4 px."""
        alpha = self.rgba[..., 3]
        weight = cv2.merge([alpha, alpha, alpha, np.full_like(alpha, 255)])
        levels = [np.asarray(cv2.multiply(self.rgba, weight, scale=1 / 255), np.uint8)]
        while levels[-1].shape[0] >= 8:
            side = (levels[-1].shape[0] + 1) // 2
            shrunk = cv2.resize(levels[-1], (side, side), interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(shrunk, np.uint8))
        return levels

    def level(self, side: float) -> ImageArray:
        """Return premultiplied RGBA [S, S, 4] of the level nearest to ``side`` pixels."""
        ratio = self._pyramid[0].shape[0] / max(side, 1.0)
        index = round(float(np.log2(max(ratio, 1.0))))
        return self._pyramid[min(index, len(self._pyramid) - 1)]


def _crop_square(rgba: ImageArray) -> ImageArray:
    """Crop RGBA [H, W, 4] to the square around its opaque pixels; raise ValueError where it has none."""
    solid = rgba[..., 3] > 127
    if not solid.any():
        raise ValueError("a sprite needs opaque pixels, got none")
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    crop = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = crop.shape[:2]
    square = np.zeros((max(height, width),) * 2 + (4,), np.uint8)
    top, left = (square.shape[0] - height) // 2, (square.shape[0] - width) // 2
    square[top : top + height, left : left + width] = crop
    return square


def recoloured(rgba: ImageArray, hue: float, saturation: float, value: float) -> ImageArray:
    """Rotate the hue (rad) of RGBA [H, W, 4] and multiply saturation and value."""
    hsv = cv2.cvtColor(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), cv2.COLOR_RGB2HSV)
    values = np.arange(256, dtype=float)
    channels = [(values + np.degrees(hue) / 2) % 180, values * saturation, values * value]
    table = np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)
    colour = cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB)
    return np.asarray(np.dstack([colour, rgba[..., 3]]), np.uint8)


def swaying(rng: np.random.Generator, rgba: ImageArray, count: int) -> list[ImageArray]:
    """Bend a square RGBA [H, H, 4] to and fro: a closed sequence of ``count`` views."""
    height = rgba.shape[0]
    margin = height // 6  # for pixels that are bent beyond the sides
    padded = np.pad(rgba, ((margin, margin), (margin, margin), (0, 0)))
    v, u = np.indices(padded.shape[:2], np.float32) / height
    waves = rng.uniform(0.5, 1.6, 3), rng.uniform(0, 2 * np.pi, 3)
    strength = height * rng.uniform(0.03, 0.09, 2)
    bent = []
    for phase in 2 * np.pi * np.arange(count) / count:
        along = np.sin(2 * np.pi * waves[0][0] * v + waves[1][0] + phase)
        across = np.sin(2 * np.pi * waves[0][1] * u + waves[1][1] + 2 * phase)
        map_u = u * height + strength[0] * along * np.cos(2 * np.pi * waves[0][2] * u + waves[1][2])
        map_v = v * height + 0.5 * strength[1] * across
        bent.append(cv2.remap(padded, map_u.astype(np.float32), map_v.astype(np.float32), cv2.INTER_LINEAR))
    return [np.asarray(image, np.uint8) for image in bent]


def turning(rng: np.random.Generator, rgba: ImageArray, count: int) -> list[ImageArray]:
    """Turn the plane of a square RGBA [H, H, 4] to and fro about its vertical axis, seen in perspective.

    Return a closed sequence of ``count`` views.
    """
    side = rgba.shape[0]
    most, phase, distance = rng.uniform(0, MOST_TURNED), rng.uniform(0, 2 * np.pi), rng.uniform(*_DISTANCE)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    views = []
    for angle in most * np.sin(phase + 2 * np.pi * np.arange(count) / count):
        depth = distance + np.sin(angle) * corners[:, :1]
        seen = corners * [np.cos(angle), 1.0] * (distance / depth)
        ends = ((each * side + side - 1) / 2 for each in (corners, seen / max(np.abs(seen).max(), 1.0)))
        places = cv2.getPerspectiveTransform(*(each.astype(np.float32) for each in ends))
        views.append(np.asarray(cv2.warpPerspective(rgba, places, (side, side)), np.uint8))
    return views


def with_shadow(rng: np.random.Generator, rgba: ImageArray) -> ImageArray:
    """Put a soft shadow under a square RGBA [H, H, 4], and soften its outline; the square becomes larger.

    What is shadow alone stays below half opacity: it does not belong to the object.
    """
    side = rgba.shape[0]
    margin = side // 5
    padded = np.pad(rgba, ((margin, margin), (margin, margin), (0, 0))).astype(np.float32) / 255
    padded[..., :3] *= padded[..., 3:]
    soft = cv2.GaussianBlur(padded, (0, 0), rng.uniform(0.3, 1.2) * side / 200)
    colours, alpha = soft[..., :3], soft[..., 3]
    shift = np.array([[1, 0, rng.uniform(-0.1, 0.1) * side], [0, 1, rng.uniform(0, 0.12) * side]])
    cast = cv2.warpAffine(alpha, shift, alpha.shape[::-1])
    shadow = rng.uniform(0, DARKEST) * cv2.GaussianBlur(cast, (0, 0), rng.uniform(0.01, 0.06) * side)
    total = alpha + (1 - alpha) * shadow
    opaque = np.where(alpha > 0.5, total, np.minimum(total, DARKEST))
    straight = np.dstack([colours / np.maximum(total, 1e-3)[..., None], opaque])
    return np.asarray((255 * straight).round().clip(0, 255), np.uint8)


def textured_shape(
    rng: np.random.Generator,
    texture: ImageArray,  # [h, w, 3], any size
    dent: float,  # 0 = a disc; the outline stays outside 1 - dent of the half side
) -> ImageArray:
    """Make a random smooth blob or polygon with a texture, RGBA [S, S, 4]."""
    side = SHAPE_SIZE
    fill = cv2.resize(texture, (side, side), interpolation=cv2.INTER_CUBIC)
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    orders = np.arange(2, 7)
    waves = np.cos(np.outer(angles, orders) + rng.uniform(0, 2 * np.pi, 5)) @ (rng.normal(size=5) / orders)
    radius = 1 - dent * (waves.max() - waves) / max(np.ptp(waves), 1e-6)
    if dent > 0.3 and rng.random() < 0.4:
        corners = np.sort(rng.choice(96, rng.integers(4, 9), replace=False))
        angles, radius = angles[corners], np.ones(len(corners))
    points = np.stack([np.cos(angles), np.sin(angles)], -1) * radius[:, None]
    alpha = np.zeros((side, side), np.uint8)
    fixed = np.round((points * (side / 2 - 1) + (side - 1) / 2) * 16).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
    return np.asarray(np.dstack([fill, alpha]), np.uint8)


def part_of(rng: np.random.Generator, views: tuple[Sprite, ...]) -> tuple[Sprite, ...]:
    """Return the same part of all views, which have one size, of ``PART_SHARE`` of their opaque pixels.

    Of a solid thing that turns it is the upper or the lower part, of a flat one what lies on any side.
    """
    solid = np.max([view.rgba[..., 3] for view in views], 0) > 127
    angle = rng.choice((-0.5, 0.5)) * np.pi if len(views) > 1 else rng.uniform(-np.pi, np.pi)
    v, u = np.indices(solid.shape) / len(solid)
    along = np.cos(angle) * u + np.sin(angle) * v
    inside = along <= np.quantile(along[solid], rng.uniform(*PART_SHARE))
    kept = [np.dstack([view.rgba[..., :3], view.rgba[..., 3] * inside]) for view in views]
    return tuple(Sprite(np.asarray(rgba, np.uint8), cropped=False) for rgba in kept)


def thin_strip(
    texture: ImageArray,  # RGBA [h, w, 4]
    thickness: float,  # of its length
) -> ImageArray:
    """Make a thin level strip of the colours of a texture's opaque pixels, RGBA [S, S, 4]."""
    opaque = texture[texture[..., 3] > 127][:, :3]
    colours = opaque[np.linspace(0, len(opaque) - 1, STRIP_SIZE).astype(int)]
    rgba = np.zeros((STRIP_SIZE, STRIP_SIZE, 4), np.uint8)
    high = round(STRIP_SIZE * thickness)
    top = (STRIP_SIZE - high) // 2
    rgba[top : top + high] = np.concatenate([colours, np.full((STRIP_SIZE, 1), 255, np.uint8)], 1)
    return rgba
