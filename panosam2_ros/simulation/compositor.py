"""Rendering on the sphere: a panorama seen by a rotated camera, and sprites on tangent planes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, vector_to_lonlat
from panosam2_ros.simulation.sprites import Sprite

LARGEST_DIAMETER = math.radians(150)  # a tangent plane stretches larger objects too much
_OUTSIDE = np.float32(-1e4)  # a position outside every texture
_FINE_ENOUGH = 1024  # columns; a wider background is rendered at half size and enlarged


class Background:
    """A panorama at infinity."""

    def __init__(self, panorama: ImageArray, grid: Equirect) -> None:
        """Resample a panorama [h, w, 3] RGB for images of a grid."""
        halve = grid.width > _FINE_ENOUGH and grid.width % 2 == 0 and grid.height % 2 == 0
        self._doubled = halve
        self._grid = Equirect(grid.width // 2, grid.height // 2) if halve else grid
        texture = _wrapped_resize(panorama, self._grid.width, self._grid.height)
        # the texture begins at longitude 0, because angles are computed in 0..2 pi, and has two columns
        # of overlap on either side, to be sampled across its own seam
        texture = np.roll(texture, -(self._grid.width // 2), 1)
        self._offset = 2 - (0.5 if self._grid.width % 2 == 0 else 0.0)
        self._texture = np.concatenate([texture[:, -2:], texture, texture[:, :2]], 1)

    def render(self, camera_rotation: Floats) -> ImageArray:
        """Render RGB uint8 [H, W, 3] for a world-to-camera rotation [3, 3]."""
        angles = self._angles(camera_rotation)
        image = self._at(*(np.broadcast_to(a, (self._grid.height, self._grid.width)) for a in angles))
        if self._doubled:
            wide = np.concatenate([image[:, -1:], image, image[:, :1]], 1)
            image = np.ascontiguousarray(cv2.resize(wide, None, fx=2, fy=2)[:, 2:-2])
        return np.asarray(image, np.uint8)

    def seen(self, vectors: NDArray[np.float32]) -> ImageArray:
        """Sample RGB uint8 [h, w, 3] in world directions [3, h, w]."""
        return self._at(*_polar(*vectors))

    def _at(self, lon: NDArray[np.float32], colatitude: NDArray[np.float32]) -> ImageArray:
        """Sample RGB at world longitudes, 0..2 pi, and angles from the zenith, rad, [h, w] each."""
        u = lon * np.float32(self._grid.width / (2 * math.pi)) + np.float32(self._offset)
        v = colatitude * np.float32(self._grid.height / math.pi) - np.float32(0.5)
        image = cv2.remap(self._texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(image, np.uint8)

    def _angles(self, camera_rotation: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute the world longitude, 0..2 pi, and the angle from the zenith of the pixels, rad.

        [H, W] each, to about 0.01 degrees; for an upright camera exactly, [1, W] and [H, 1].
        """
        if camera_rotation[1, 1] > 1 - 1e-12:
            yaw = math.atan2(camera_rotation[2, 0], camera_rotation[0, 0])
            lon = (self._grid.column_longitudes() + yaw) % (2 * math.pi)
            colatitude = math.pi / 2 - self._grid.row_latitudes()
            return lon[None].astype(np.float32), colatitude[:, None].astype(np.float32)
        return _polar(*self._grid.rotated_vectors(camera_rotation.T))


def _polar(
    x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute longitude, 0..2 pi, and angle from the zenith, rad, to about 0.01 degrees."""
    lon, colatitude = cv2.phase(z, x), cv2.phase(-y, cv2.magnitude(x, z))
    return np.asarray(lon, np.float32), np.asarray(colatitude, np.float32)


def _wrapped_resize(image: ImageArray, width: int, height: int) -> ImageArray:
    """Resize a panorama [h, w, 3], anti-aliased or bicubic, seamless across its sides."""
    source = image.shape[1]
    unit = source // math.gcd(source, width)  # source columns that make whole target columns
    border = unit * -(-4 // unit)
    margin = border * width // source
    wide = np.concatenate([image[:, -border:], image, image[:, :border]], 1)
    method = cv2.INTER_AREA if width < source else cv2.INTER_CUBIC
    resized = cv2.resize(wide, (width + 2 * margin, height), interpolation=method)
    return np.asarray(resized[:, margin : margin + width], np.uint8)


@dataclass(frozen=True, eq=False)
class SpritePatch:
    """A rendered sprite in one rectangle of the image."""

    rows: slice
    columns: slice
    rgba: ImageArray  # [h, w, 4], premultiplied

    @property
    def solid(self) -> NDArray[np.bool_]:
        """[h, w]: the pixels that count as the object."""
        return np.asarray(self.rgba[..., 3] > 127)

    def blend(self, image: ImageArray) -> None:
        """Blend the sprite over an RGB image [H, W, 3], in place."""
        blend(image[self.rows, self.columns], self.rgba)


def blend(image: ImageArray, rgba: ImageArray) -> None:
    """Blend premultiplied RGBA [h, w, 4] over RGB [h, w, 3], in place."""
    behind = cv2.cvtColor(255 - rgba[..., 3], cv2.COLOR_GRAY2RGB)
    front = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    image[:] = cv2.add(cv2.multiply(image, behind, scale=1 / 255), front)


def project(
    sprite: Sprite,
    pose: Floats,  # [3, 3] columns right, down, forward of the sprite in camera axes
    diameter: float,  # rad, of the sprite's square
    grid: Equirect,
) -> list[SpritePatch]:
    """Render a sprite to the rectangles of the image that it covers, two where it crosses the seam."""
    half = math.tan(diameter / 2)
    texture = sprite.level(2 * half * grid.width / (2 * math.pi))
    rows, spans = _bounds(pose[:, 2], math.atan(math.hypot(half, half)), grid)
    each = ((columns, grid.rotated_vectors(pose.T, rows=rows, columns=columns)) for columns in spans)
    return [SpritePatch(rows, columns, drawn(texture, half, *vectors)) for columns, vectors in each]


def drawn(
    texture: ImageArray,  # [s, s, 4], in a plane at depth 1
    half: float,  # half of its side there
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> ImageArray:
    """Sample a texture, RGBA [h, w, 4], in directions [h, w] along its axes right, down and forward."""
    side = texture.shape[0]
    front = depth > 0.02
    scale = np.float32(side / (2 * half)) / np.where(front, depth, np.float32(1))
    map_x = np.where(front, x * scale + np.float32((side - 1) / 2), _OUTSIDE)
    map_y = np.where(front, y * scale + np.float32((side - 1) / 2), _OUTSIDE)
    rgba = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(rgba, np.uint8)


def _bounds(centre: Floats, radius: float, grid: Equirect) -> tuple[slice, list[slice]]:
    """Return rows and spans of columns that contain every pixel within ``radius`` rad of a direction."""
    lon, lat = (float(angle) for angle in vector_to_lonlat(centre))
    _, top = grid.lonlat_to_pixel(0, lat + radius)
    u, bottom = grid.lonlat_to_pixel(lon, lat - radius)
    rows = slice(max(int(top), 0), min(int(bottom) + 2, grid.height))
    if abs(lat) + radius >= math.pi / 2 - math.pi / grid.height:
        return rows, [slice(0, grid.width)]
    reach = math.asin(math.sin(radius) / math.cos(lat)) * grid.width / (2 * math.pi)
    first, last = math.floor(float(u) - reach), math.ceil(float(u) + reach)
    return rows, list(_wrapped_spans(first, last + 1, grid.width))


def _wrapped_spans(first: int, end: int, width: int) -> Iterator[slice]:
    """Yield the columns first..end of an image, in two slices where they cross the seam."""
    if end - first >= width:
        yield slice(0, width)
        return
    first, end = first % width, first % width + (end - first)
    yield slice(first, min(end, width))
    if end > width:
        yield slice(0, end - width)


def paint_labels(
    layers: list[tuple[int, list[SpritePatch]]],  # label and patches, far to near
    grid: Equirect,
) -> tuple[ImageArray, list[float]]:
    """Render labels uint8 [H, W] with occlusion, and measure every layer's solid angle without it, sr."""
    labels = np.zeros((grid.height, grid.width), np.uint8)
    row_areas = grid.pixel_solid_angles()
    areas = []
    for label, patches in layers:
        area = 0.0
        for patch in patches:
            solid = patch.solid
            labels[patch.rows, patch.columns][solid] = label
            area += float(np.count_nonzero(solid, 1) @ row_areas[patch.rows])
        areas.append(area)
    return labels, areas


def solid_moment(mask: NDArray[np.bool_], rows: slice, columns: slice, grid: Equirect) -> Floats:
    """Sum area times unit vector [3] over a mask's pixels, sr, and area [1], sr; returns both as [4].

    ``mask`` [h, w] is the block ``rows, columns`` of the image.
    """
    lon, lat = grid.column_longitudes()[columns], grid.row_latitudes()[rows]
    area = grid.pixel_solid_angles()[rows]
    sums = mask @ np.stack([np.sin(lon), np.cos(lon), np.ones_like(lon)], -1)  # [h, 3]
    flat, up = area * np.cos(lat), area * np.sin(lat)
    return np.array([flat @ sums[:, 0], -(up @ sums[:, 2]), flat @ sums[:, 1], area @ sums[:, 2]], float)
