"""Draw the figures of docs/concepts.md and docs/design.md with the package's own geometry and drawing.

python -m tools.doc_figures --out docs/pictures
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import ELLIPSE_95, Bearing, mask_bearing
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector, normalised, tangent_basis, vector_to_lonlat
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.compositor import Background, paint_labels, project
from panosam2_ros.simulation.sprites import Sprite
from panosam2_ros.tracking.motion_model import BearingMotionModel, TrackState
from panosam2_ros.visualization import drawing

GRID = Equirect(960, 480)
STRIDE = 15  # px, of the tokens in the figure of the canonical yaw
BLUE: drawing.Colour = (70, 130, 255)
DARK: drawing.Colour = (30, 30, 30)
STATES: dict[TrackState, drawing.Colour] = {
    TrackState.VISIBLE: (60, 160, 75), TrackState.OCCLUDED: (235, 150, 30), TrackState.LOST: (200, 55, 55),
}  # fmt: skip


def scene(
    sprites: Sequence[tuple[str, float, float, float]],  # sprite, lon, lat and diameter, degrees
) -> tuple[ImageArray, LabelImage]:
    """Render a lobby with sprites in it, [H, W, 3], and their labels [H, W] from 1."""
    library = AssetLibrary.shipped(Split.TRAIN)
    image = Background(np.asarray(library.panoramas["lobby"], np.uint8), GRID).render(np.eye(3))
    layers = []
    for label, (name, lon, lat, diameter) in enumerate(sprites, start=1):
        patches = project(Sprite(library.sprite(name)), _facing(lon, lat), math.radians(diameter), GRID)
        for patch in patches:
            patch.blend(image)
        layers.append((label, patches))
    return image, paint_labels(layers, GRID)[0].astype(np.uint16)


def _facing(lon: float, lat: float) -> Floats:
    """Return the pose [3, 3] of an upright sprite in a direction, degrees, that faces the camera."""
    direction = lonlat_to_vector(math.radians(lon), math.radians(lat))
    east, north = tangent_basis(direction)
    return np.stack([east, -north, direction], -1)


def _bearing_and_box(mask: MaskArray) -> tuple[Bearing, tuple[int, int, int, int]]:
    """Measure a mask; raise ValueError for an empty one."""
    bearing, box = mask_bearing(mask, GRID), mask_box(mask)
    if bearing is None or box is None:
        raise ValueError("the object of a figure is not visible")
    return bearing, box


def seam() -> ImageArray:
    """Draw an object across the seam: its mask, its box, the mean of its pixels and its bearing."""
    image, labels = scene([("1f69b.webp", 176, -8, 42)])
    mask = labels == 1
    bearing, box = _bearing_and_box(mask)
    drawing.draw_grid(image, GRID)
    drawing.fill_masks(image, labels)
    drawing.outline_masks(image, labels)
    drawing.draw_box(image, box)
    drawing.draw_marks(image, [drawing.Mark(1, bearing.direction, "")], GRID)
    azimuth = -math.degrees(float(vector_to_lonlat(bearing.direction)[0]))
    words = f"bearing: azimuth {azimuth:+.0f} deg"
    drawing.draw_text(image, words, GRID.width - 110, box[1] - 12, paint=drawing.colour(1), scale=0.55)
    v, u = (float(index.mean()) for index in np.nonzero(mask))
    at = round(u), round(v)
    cv2.drawMarker(image, at, DARK, cv2.MARKER_TILTED_CROSS, 24, 6)
    cv2.drawMarker(image, at, BLUE, cv2.MARKER_TILTED_CROSS, 24, 3)
    words = "mean of the mask's pixels: where nothing of it is"
    drawing.draw_text(image, words, u, v + 34, paint=BLUE, scale=0.55)
    _arrowed(image, box[0], box[3] + 26, "u_min", -60)
    _arrowed(image, box[2], box[3] + 26, "u_max", 60)
    return image


def _arrowed(image: ImageArray, u: int, v: int, name: str, aside: int) -> None:
    """Name a column of the image beside an arrow that points up to it."""
    cv2.arrowedLine(image, (u, v + 12), (u, v - 20), drawing.WHITE, 2, tipLength=0.3)
    drawing.draw_text(image, f"{name} = {u}", u + aside, v + 34, scale=0.55)


def latitudes() -> ImageArray:
    """Draw the same disc of 20 degrees at several latitudes and over a pole."""
    image = np.full((GRID.height, GRID.width, 3), 236, np.uint8)
    places = ((-120.0, 0.0), (-30.0, 45.0), (85.0, 75.0), (0.0, -90.0))
    sprite = _disc()
    layers = [
        (i, project(sprite, _facing(*place), math.radians(20), GRID)) for i, place in enumerate(places, 1)
    ]
    labels = paint_labels(layers, GRID)[0].astype(np.uint16)
    drawing.draw_grid(image, GRID, paint=(120, 120, 120))
    drawing.fill_masks(image, labels, opacity=0.8)
    drawing.outline_masks(image, labels, paint=DARK)
    for label, (lon, lat) in enumerate(places, 1):
        bearing, box = _bearing_and_box(labels == label)
        wide = round(box_width(box[0], box[2], GRID.width)) + 1
        u, v = (float(x) for x in GRID.lonlat_to_pixel(math.radians(lon), math.radians(lat)))
        above = box[1] - 34 if lat < 0 else v + (box[3] - box[1]) / 2 + 24
        drawing.draw_text(image, f"latitude {lat:.0f} deg: {wide} x {box[3] - box[1] + 1} pixels", u, above)
        drawing.draw_text(image, f"{bearing.solid_angle:.2f} sr", u, above + 20)
    return image


def _disc() -> Sprite:
    """Return a white disc that fills its square."""
    side = 256
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    rgba = np.full((side, side, 4), 255, np.uint8)
    rgba[..., 3] = np.where(np.hypot(x, y) < side / 2, 255, 0)
    return Sprite(rgba)


def canonical_yaw() -> ImageArray:
    """Draw the camera's image, and the image that the mask decoder gets for the object on the seam."""
    image, labels = scene([("1f69b.webp", 176, -8, 42), ("1f43b.webp", -60, -25, 30)])
    _, box = _bearing_and_box(labels == 1)
    token = math.floor((box[0] + box_width(box[0], box[2], GRID.width) / 2) % GRID.width / STRIDE)
    shift = (GRID.width // STRIDE // 2 - token) * STRIDE
    panels = []
    views = ((0, "what the camera delivers"), (shift, "what the mask decoder gets for the truck"))
    for moved, words in views:
        picture, ids = np.roll(image, moved, 1), np.roll(labels, moved, 1)
        drawing.fill_masks(picture, ids)
        drawing.outline_masks(picture, ids)
        if moved:
            edge = moved % GRID.width
            cv2.line(picture, (edge, 0), (edge, GRID.height), drawing.WHITE, 2)
            drawing.draw_text(picture, "the seam", edge - 50, 380, scale=0.6)
            words += f": rolled by {abs(shift)} columns"
        drawing.draw_text(picture, words, GRID.width / 2, 115, scale=0.6)
        panels.append(picture[90:400])
    gap = np.full((8, GRID.width, 3), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]])


def states() -> ImageArray:
    """Draw the true and the predicted bearing of an object that is hidden, and the uncertainty."""
    stamps = np.arange(0, 9.01, 0.1)
    true = 20.0 * np.minimum(stamps, 3.5)  # degrees; the object stops behind what hides it
    seen = (stamps < 2) | (stamps >= 7)
    motion, predicted = BearingMotionModel(), []
    pixels = GRID.pixel_to_vector(*np.meshgrid(np.arange(GRID.width), np.arange(GRID.height)))
    for stamp, azimuth, visible in zip(stamps, true, seen, strict=True):
        direction = normalised(lonlat_to_vector(-math.radians(azimuth), 0.0))
        disc = pixels @ direction > math.cos(math.radians(8))
        motion.update(round(stamp * 1e9), mask_bearing(disc, GRID, mask_iou=0.9) if visible else None)
        lon, _ = vector_to_lonlat(motion.bearing.direction)
        deviation = math.sqrt(ELLIPSE_95 * motion.bearing.covariance[0, 0])
        predicted.append((-math.degrees(float(lon)), math.degrees(deviation), motion.state))
    return _chart(stamps, true, predicted)


def _chart(
    stamps: Floats,  # [N] s
    true: Floats,  # [N] azimuth, degrees
    predicted: Sequence[tuple[float, float, TrackState]],  # azimuth, half a 95 % interval, both degrees
) -> ImageArray:
    """Draw the true and the predicted azimuth over time, its 95 % interval, and below it the state."""
    image = np.full((404, GRID.width, 3), 255, np.uint8)

    def at(stamp: float, azimuth: float) -> tuple[int, int]:
        return round(70 + 95 * stamp), round(245 - 1.5 * min(max(azimuth, -60.0), 150.0))

    above = [at(t, a + half) for t, (a, half, _) in zip(stamps, predicted, strict=True)]
    below = [at(t, a - half) for t, (a, half, _) in zip(stamps, predicted, strict=True)]
    cv2.fillPoly(image, [np.array(above + below[::-1], np.int32)], (205, 220, 245))
    for azimuth in range(-60, 151, 30):
        cv2.line(image, at(0, azimuth), at(9, azimuth), (215, 215, 215), 1)
        _label(image, f"{azimuth:+d}", 10, at(0, azimuth)[1] + 5)
    lines = ((true, (110, 110, 110)), ([a for a, _, _ in predicted], (30, 70, 190)))
    for values, paint in lines:
        points = np.array([at(t, a) for t, a in zip(stamps, values, strict=True)], np.int32)
        cv2.polylines(image, [points], False, paint, 2, cv2.LINE_AA)
    for (_, _, state), first in zip(predicted, stamps, strict=True):
        corner = at(first, 0)[0]
        cv2.rectangle(image, (corner, 362), (corner + 10, 376), STATES[state], -1)
    for state, stamp in ((TrackState.VISIBLE, 0.5), (TrackState.OCCLUDED, 2.8), (TrackState.LOST, 5.6)):
        _label(image, state.name, at(stamp, 0)[0], 394, paint=STATES[state])
    hidden = [
        stamp for stamp, (_, _, state) in zip(stamps, predicted, strict=True) if state != TrackState.VISIBLE
    ]
    for stamp in (hidden[0], hidden[-1]):
        cv2.line(image, at(stamp, -60), at(stamp, 150), (150, 150, 150), 1)
    _label(image, "hidden", at(hidden[0], 0)[0] + 8, at(0, -55)[1])
    for second in range(10):
        _label(image, f"{second} s", at(second, 0)[0] - 8, 354)
    words = "azimuth, degrees: the object (grey), its bearing in the messages (blue) with the 95 % interval"
    _label(image, words, 70, 12)
    return image


def _label(image: ImageArray, text: str, u: int, v: int, *, paint: drawing.Colour = DARK) -> None:
    """Write text from a pixel on, left-aligned."""
    cv2.putText(image, text, (u, v), cv2.FONT_HERSHEY_SIMPLEX, 0.45, paint, 1, cv2.LINE_AA)


FIGURES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "seam": seam, "latitudes": latitudes, "canonical_yaw": canonical_yaw, "states": states,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("tools.doc_figures", description=(__doc__ or "").splitlines()[0])
    pictures = Path(__file__).parents[1] / "docs" / "pictures"
    parser.add_argument("--out", type=Path, default=pictures, help="folder (default: docs/pictures)")
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        path = out / f"{name}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(draw(), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        print(f"{path}: {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
