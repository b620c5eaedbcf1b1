"""The overlay of the node and of the demo: masks, directions, texts and the azimuth grid on an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.video import IMAGE_SUFFIXES, resized_image
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.visualization import drawing

_STATES = {TrackState.VISIBLE: "", TrackState.OCCLUDED: " hidden", TrackState.LOST: " lost"}
_MAX_LENGTH = 20  # characters of a label that are shown


def short(label: str) -> str:
    """Shorten a label to 20 characters; of the path of an image file, only its name without suffix is kept.

    Characters that cannot be drawn, such as line breaks, become question marks.
    """
    shown = Path(label).stem if label.lower().endswith(IMAGE_SUFFIXES) else label
    return "".join(c if c.isprintable() else "?" for c in shown[:_MAX_LENGTH])


def name(obj_id: int, label: str, state: int, score: float) -> str:
    """Format id, label, score and, unless it is visible, state of an object, as in every view."""
    return f"#{obj_id} {short(label)} {score:.2f}".replace("  ", " ") + _STATES[TrackState(state)]


def object_mark(
    obj_id: int,
    label: str,
    state: int,  # as in ObjectBearing.msg
    score: float,
    direction: Floats,  # [3] unit, optical axes
    *,
    camera: CameraFrame,
) -> drawing.Mark:
    """Make a mark with an object's name, and its azimuth (left positive) and elevation in degrees."""
    azimuth, elevation = camera.azimuth_elevation(camera.to_frame(direction))
    angles = f"{math.degrees(float(azimuth)):+.0f}/{math.degrees(float(elevation)):+.0f} deg"
    text = f"{name(obj_id, label, state, score)} {angles}"
    return drawing.Mark(obj_id, np.asarray(direction), text, seen=state == TrackState.VISIBLE)


def fitted(image: ImageArray, labels: LabelImage, grid: Equirect) -> tuple[ImageArray, LabelImage]:
    """Copy an image and its labels at the grid's size."""
    picture = resized_image(image, grid.width, grid.height)
    if picture is image:
        picture = image.copy()
    return picture, resize_labels(labels, grid.width, grid.height)


def draw_overlay(
    picture: ImageArray,  # [H, W, 3], changed in place
    labels: LabelImage,  # [H, W]
    marks: Sequence[drawing.Mark],
    grid: Equirect,
    camera: CameraFrame,
) -> None:
    """Draw the azimuth grid of the camera's frame, filled and outlined masks, and marks."""
    drawing.draw_grid(picture, grid, camera=camera)
    drawing.fill_masks(picture, labels)
    drawing.outline_masks(picture, labels, thickness=drawing.stroke(grid.width))
    drawing.draw_marks(picture, marks, grid)
