"""Masks, ids, bearings and an azimuth grid drawn on panoramas.

Everything is drawn across the 0/360 seam: what leaves the image on the right continues on the left. Images
are RGB [H, W, 3] and are changed in place; labels [H, W] are object ids, 0 for none.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from panosam2_ros.geometry.camera_frame import UPRIGHT, CameraFrame
from panosam2_ros.geometry.equirect import Equirect, box_width
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector
from panosam2_ros.visualization.text import put_text, text_width

Colour = tuple[int, int, int]  # RGB

WHITE: Colour = (255, 255, 255)
GREY: Colour = (170, 170, 170)
BLACK: Colour = (0, 0, 0)
_GOLDEN = 0.618033988749895  # the golden ratio: the fractional parts of its multiples are well separated


class Projection(Protocol):
    """The pixels of a picture: a panorama's or those of a perspective view."""

    @property
    def width(self) -> int:
        """Columns."""
        ...

    @property
    def height(self) -> int:
        """Rows."""
        ...

    def vector_to_pixel(self, vectors: ArrayLike) -> tuple[Floats, Floats]:
        """Return the pixel indices of directions [..., 3] in optical axes; NaN where a view has none."""
        ...


@dataclass(frozen=True, eq=False)
class Mark:
    """An object's direction and the text beside it."""

    obj_id: int
    direction: Floats  # [3] unit, optical axes
    text: str
    _: KW_ONLY
    seen: bool = True  # False: predicted or last known, drawn hollow


@lru_cache(maxsize=4096)
def colour(obj_id: int) -> Colour:
    """Return the colour of an object id, the same in every image."""
    hue = (0.4 + obj_id * _GOLDEN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 if obj_id % 2 else 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def stroke(width: int) -> int:
    """Return the line width, pixels, for an image of some width."""
    return max(1, round(width / 800))


def fill_masks(image: ImageArray, labels: LabelImage, *, opacity: float = 0.35) -> None:
    """Tint every object's pixels in its colour."""
    where = labels > 0
    tint = _colours_of(labels[where])
    image[where] = ((1 - opacity) * image[where] + opacity * tint).astype(np.uint8)


def outline_masks(
    image: ImageArray, labels: LabelImage, *, thickness: int = 2, paint: Colour | None = None
) -> None:
    """Draw the border of every object, in its own colour or in ``paint``.

    The seam and the poles are not drawn as borders.
    """
    reach = max(1, (thickness + 1) // 2)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    around = np.concatenate([labels[:, -reach:], labels, labels[:, :reach]], 1)
    highest = np.asarray(cv2.dilate(around, kernel))[:, reach:-reach]
    lowest = np.asarray(cv2.erode(around, kernel))[:, reach:-reach]
    edge = highest != lowest
    image[edge] = _colours_of(highest[edge]) if paint is None else paint


def draw_marks(image: ImageArray, marks: Sequence[Mark], grid: Projection) -> None:
    """Draw a cross in a ring and a text at every mark; only the ring where the object is not seen.

    What lies above or below a cropped panorama is marked at its border.
    """
    size, width = max(4, round(grid.width / 130)), stroke(grid.width)
    for mark in marks:
        u, v = (float(x) for x in grid.vector_to_pixel(mark.direction))
        if isinstance(grid, Equirect):
            v = min(max(v, -0.5), grid.height - 0.5)
        if not (-size <= u < grid.width + size and -size <= v < grid.height + size):
            continue  # a perspective view does not show it
        paint = colour(mark.obj_id)
        with _patch(image, u, 2 * size) as (patch, x):
            for extra, shade in ((2, BLACK), (0, paint)):
                at = (x, round(v))
                cv2.circle(patch, at, size, shade, width + extra, cv2.LINE_AA)
                if mark.seen:
                    cv2.drawMarker(patch, at, shade, cv2.MARKER_CROSS, size, width + extra)
        below = v + 2.6 * size if v + 4 * size < grid.height else v - 1.6 * size
        draw_text(image, mark.text, u, below, paint=paint)


def draw_text(
    image: ImageArray,
    text: str,
    u: float,
    v: float,
    *,
    paint: Colour = WHITE,
    scale: float | None = None,
) -> None:
    """Draw outlined text centred on ``u`` with its baseline at ``v``, across the seam.

    ``scale`` is OpenCV's font scale, by default one for the image's width.
    """
    width = image.shape[1]
    scale, thick = scale or max(0.45, width / 2000), stroke(width)
    length = text_width(text, scale)
    with _patch(image, u, round(0.6 * length) + 8) as (patch, x):
        # the outline is shifted copies, because in OpenCV 5 thicker text is also wider
        around = [(dx, dy, BLACK) for dx in (-thick, thick) for dy in (-thick, thick)]
        for dx, dy, shade in (*around, (0, 0, paint)):
            corner = (x - length // 2 + dx, round(v) + dy)
            put_text(patch, text, corner, scale, shade)


def draw_box(image: ImageArray, box: Sequence[float], *, paint: Colour = WHITE) -> None:
    """Draw a rectangle u_min, v_min, u_max, v_max, across the seam where u_min > u_max."""
    u_min, v_min, u_max, v_max = box
    half, thick = box_width(u_min, u_max, image.shape[1]) / 2, stroke(image.shape[1]) + 1
    with _patch(image, u_min + half, round(half) + 2 * thick) as (patch, x):
        corners = (x - round(half), round(v_min)), (x + round(half), round(v_max))
        cv2.rectangle(patch, *corners, paint, thick)


def draw_grid(
    image: ImageArray,
    grid: Equirect,
    *,
    step: int = 30,
    paint: Colour = GREY,
    camera: CameraFrame = UPRIGHT,
) -> None:
    """Draw the horizon and the meridians of a camera's frame.

    Meridians are ``step`` degrees apart and labelled by azimuth (positive to the left).
    """
    faint, names = image.copy(), []
    scale = max(0.35, grid.width / 2600)
    first = max(15.0, 34 * scale)  # row of the labels
    frame = CameraFrame(roll=camera.roll, pitch=camera.pitch, yaw=camera.yaw)
    along = np.linspace(-math.pi, math.pi, 361)
    _draw_lines(faint, frame.from_frame(lonlat_to_vector(along, 0.0)), grid, paint)
    for degrees in range(-180 + step, 181, step):
        meridian = frame.from_frame(lonlat_to_vector(-math.radians(degrees), along / 2))
        _draw_lines(faint, meridian, grid, paint)
        # not near the poles, where the labels would overlap
        u, v = grid.vector_to_pixel(meridian[45:-30])
        inside = np.where((v >= first) & (v < grid.height - 1), v, np.inf)
        top = int(np.argmin(inside))
        if np.isfinite(inside[top]):
            at = float(u[top]), round(float(v[top])) if camera.pitch or camera.roll else first
            names.append((at, f"{degrees:+d}" if degrees % 180 else f"{degrees}"))
    cv2.addWeighted(faint, 0.5, image, 0.5, 0, dst=image)
    for (at_u, at_v), name in names:
        draw_text(image, name, at_u, at_v, paint=paint, scale=scale)


def _draw_lines(image: ImageArray, directions: Floats, grid: Equirect, paint: Colour) -> None:
    """Draw a line through directions [N, 3], optical axes, interrupted at the seam."""
    # the offset keeps lines halfway between two columns from alternating between them by rounding
    u, v = (np.floor(x + 0.5 + 1e-6).astype(int) for x in grid.vector_to_pixel(directions))
    u %= grid.width
    breaks = np.flatnonzero(np.abs(np.diff(u)) > grid.width // 2) + 1
    pieces = np.split(np.stack([u, v], -1).astype(np.int32), breaks)
    cv2.polylines(image, pieces, False, paint, 1)


@contextmanager
def _patch(image: ImageArray, u: float, half: int) -> Iterator[tuple[ImageArray, int]]:
    """Provide columns u - half to u + half, across the seam, for drawing, and the position of ``u`` in them.

    OpenCV does not wrap, and it clips lines at an image's edge differently than inside the image.
    """
    half = min(half, image.shape[1] // 2)
    left, right = round(u) - half, round(u) + half
    if left >= 0 and right <= image.shape[1]:
        yield image[:, left:right], half
        return
    columns = np.arange(left, right) % image.shape[1]
    patch = np.ascontiguousarray(image[:, columns])
    yield patch, half
    image[:, columns] = patch


def _colours_of(ids: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the colours [N, 3] RGB of ids [N]."""
    distinct, index = np.unique(ids, return_inverse=True)
    table = np.array([colour(int(i)) for i in distinct] or [BLACK], np.uint8)
    return np.asarray(table[index.reshape(-1)] if ids.size else table[:0], np.uint8)
