"""Rulers on a picture, so that somebody who looks at it can name a place in it.

Lines of azimuth and elevation are those of the frame in which directions are given; numbers along the lower
and the right edge are pixel indices. Images are RGB [H, W, 3].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.visualization import drawing
from panosam2_ros.visualization.drawing import GREY, WHITE, Colour, Mark, Projection
from panosam2_ros.visualization.text import put_text, text_width

_ROUND = (1, 2, 5)  # of which steps between ticks are multiples by a power of ten
_STEPS = (1, 2, 5, 10, 15, 30)  # degrees between lines
_LINES = 6  # across a picture, about
_SPACING = 70  # pixels between ticks, at least
_STRIP = 20, 42  # pixels: the height of the lower ruler and the width of the right one
_DARK = 0.35  # what is left of the brightness below a ruler
_BORDER = 160  # pixels around a view on which marks may be drawn before it is cut out
_FAR = 1e4  # pixels: lines are not drawn beyond
_SCALE, _NAME_SCALE = 0.4, 0.5  # of OpenCV's font
_TEXT_HEIGHT = 12  # pixels at that scale


def annotated(
    picture: ImageArray,  # [h, w, 3], unchanged
    labels: LabelImage | None,  # [h, w]; None: outlines are not known
    marks: Sequence[Mark],
    projection: Equirect | PerspectiveView,  # of the picture
    camera: CameraFrame,
    *,
    pixel_step: float = 1.0,  # what a pixel of the picture counts on the rulers
) -> ImageArray:
    """Draw outlines and names of objects, lines of azimuth and elevation, and rulers on a copy."""
    if isinstance(projection, PerspectiveView):  # drawing wraps around the edges of a panorama
        shown = _with_border(picture, labels, marks, projection)
    else:
        shown = picture.copy()
        _draw_objects(shown, labels, marks, projection)
    draw_angles(shown, projection, camera)
    draw_pixel_rulers(shown, pixel_step=pixel_step)
    return shown


def _with_border(
    picture: ImageArray, labels: LabelImage | None, marks: Sequence[Mark], view: PerspectiveView
) -> ImageArray:
    side = (_BORDER,) * 4
    wide = np.asarray(cv2.copyMakeBorder(picture, *side, cv2.BORDER_REPLICATE), np.uint8)
    ids = None if labels is None else np.pad(labels, _BORDER, mode="edge")
    _draw_objects(wide, ids, marks, view.widened(_BORDER))
    return np.ascontiguousarray(wide[_BORDER:-_BORDER, _BORDER:-_BORDER])


def _draw_objects(
    image: ImageArray, labels: LabelImage | None, marks: Sequence[Mark], projection: Projection
) -> None:
    if labels is not None:
        drawing.outline_masks(image, labels, thickness=drawing.stroke(projection.width))
    drawing.draw_marks(image, [replace(mark, text="") for mark in marks], projection)
    for mark in marks:
        u, v = (float(x) for x in projection.vector_to_pixel(mark.direction))
        if -_BORDER < u < projection.width + _BORDER and -_BORDER < v < projection.height + _BORDER:
            drawing.draw_text(image, mark.text, u, v + 2.2 * _TEXT_HEIGHT, paint=WHITE, scale=_NAME_SCALE)


def draw_pixel_rulers(image: ImageArray, *, pixel_step: float = 1.0) -> None:
    """Draw the numbers of columns along the lower edge and of rows along the right one.

    ``pixel_step``: what a pixel of the picture counts: more than 1 where it is a smaller copy of the image
    that is meant.
    """
    height, width = image.shape[:2]
    high, wide = _STRIP
    for strip in (image[height - high :, :], image[: height - high, width - wide :]):
        strip[:] = (strip * _DARK).astype(np.uint8)
    for number, u in _ticks(width - wide, pixel_step):
        cv2.line(image, (u, height - high), (u, height - high + 5), WHITE, 1)
        name = f"u {number}" if number == 0 else str(number)
        _write(image, name, u + 2, height - 4, paint=WHITE)
    for number, v in _ticks(height - high, pixel_step):
        cv2.line(image, (width - wide, v), (width - wide + 5, v), WHITE, 1)
        name = f"v {number}" if number == 0 else str(number)
        _write(image, name, width - wide + 7, v + (_TEXT_HEIGHT if number == 0 else 4), paint=WHITE)


def _ticks(length: int, step: float) -> Iterator[tuple[int, int]]:
    """Yield the numbers of ticks and the pixels of a picture at which they are."""
    least = _SPACING * step
    power = 10 ** math.floor(math.log10(least))
    apart = next((r * power for r in _ROUND if r * power >= least), 10 * power)
    number = 0
    while (place := (number + 0.5) / step - 0.5) < length:
        yield number, round(place)
        number += math.ceil(apart)


@dataclass
class _Names:
    """Names that are on a picture: none is written over another one."""

    image: ImageArray
    taken: list[tuple[float, float, float]] = field(default_factory=list)  # left, right, baseline

    def write(self, name: str, u: float, v: float) -> None:
        """Write a name that is centred on a pixel, inside the picture, unless another one is there."""
        height, width = self.image.shape[:2]
        length = text_width(name, _SCALE)
        left = min(max(u - length / 2, 2.0), width - _STRIP[1] - length - 2)
        base = min(max(v, _TEXT_HEIGHT + 1.0), height - _STRIP[0] - 4)
        right = left + length
        if any(a < right + 6 and left - 6 < b and abs(c - base) < _TEXT_HEIGHT for a, b, c in self.taken):
            return
        self.taken.append((left, right, base))
        _write(self.image, name, round(left), round(base), paint=WHITE)


def draw_angles(image: ImageArray, projection: Projection, camera: CameraFrame) -> None:
    """Draw lines of azimuth, named at the top, and of elevation, named at the left, of a camera's frame."""
    faint, names, step = image.copy(), _Names(image), line_step(projection)
    lines: list[tuple[str, Floats, bool]] = []
    for degrees in range(-180 + step, 181, step):
        along = np.linspace(-math.pi / 2, math.pi / 2, 721)
        lines.append((f"az {_signed(degrees)}", camera.vectors_of(math.radians(degrees), along), True))
    for degrees in range(-90 + step, 90, step):
        along = np.linspace(-math.pi, math.pi, 1441)
        lines.append((f"el {_signed(degrees)}", camera.vectors_of(along, math.radians(degrees)), False))
    found = []
    for name, directions, upright in lines:
        u, v = projection.vector_to_pixel(camera.from_frame(directions))
        _draw_curve(faint, u, v, paint=GREY)
        inside = (u >= 0) & (u < projection.width) & (v >= 0) & (v < projection.height)
        if inside.any():
            first = int(np.argmin(np.where(inside, v if upright else u, np.inf)))
            found.append((name, float(u[first]), float(v[first]), upright))
    cv2.addWeighted(faint, 0.5, image, 0.5, 0, dst=image)
    for name, at_u, at_v, upright in found:
        names.write(name, at_u, at_v + (_TEXT_HEIGHT if upright else -2))


def _signed(degrees: int) -> str:
    return f"{degrees:+d}" if degrees % 180 else str(degrees)


def line_step(projection: Projection) -> int:
    """Return how many degrees lie between lines: 30 in a panorama, fewer in a narrow view."""
    if not isinstance(projection, PerspectiveView):
        return _STEPS[-1]
    across = 2 * math.degrees(math.atan(projection.width / 2 / projection.focal))
    return next((step for step in _STEPS if step >= across / _LINES), _STEPS[-1])


def _draw_curve(image: ImageArray, u: Floats, v: Floats, *, paint: Colour) -> None:
    """Draw a line through places [N], interrupted at the seam and where there are none."""
    drawn = np.isfinite(u) & np.isfinite(v) & (np.abs(u) < _FAR) & (np.abs(v) < _FAR)
    jumps = np.abs(np.diff(np.where(drawn, u, 0))) > image.shape[1] / 2
    breaks = np.flatnonzero(jumps | (drawn[1:] != drawn[:-1])) + 1
    for piece in np.split(np.arange(len(u)), breaks):
        if drawn[piece[0]]:
            points = np.floor(np.stack([u[piece], v[piece]], -1) + 0.5 + 1e-6).astype(np.int32)
            cv2.polylines(image, [points], False, paint, 1)


def _write(image: ImageArray, text: str, left: int, base: int, *, paint: Colour) -> None:
    """Write outlined text from a pixel on."""
    for du, dv in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        put_text(image, text, (left + du, base + dv), _SCALE, drawing.BLACK)
    put_text(image, text, (left, base), _SCALE, paint)
