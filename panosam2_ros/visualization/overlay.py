"""What the node and the demo show of an image: masks, directions, words and the azimuth grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from panosam2_ros.geometry.camera_frame import UPRIGHT, CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.video import resized_image
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.visualization import drawing

_STATES = {TrackState.VISIBLE: "", TrackState.OCCLUDED: " hidden", TrackState.LOST: " lost"}
_LONGEST = 20  # characters of a label that are shown


def short(label: str) -> str:
    """A label without its folder-like ends, at most 20 ASCII characters: OpenCV draws no more."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in Path(label).stem)
    return plain[:_LONGEST]


def name(obj_id: int, label: str, state: int, score: float) -> str:
    """Id, label, score and, unless it is visible, state: the words that every view has in common."""
    return f"#{obj_id} {short(label)} {score:.2f}".replace("  ", " ") + _STATES[TrackState(state)]


def object_mark(
    obj_id: int,
    label: str,
    state: int,  # as in ObjectBearing.msg
    score: float,
    direction: Floats,  # [3] unit, optical axes
    camera: CameraFrame,
) -> drawing.Mark:
    """An object's name with azimuth (left positive) and elevation in the camera's frame, degrees."""
    azimuth, elevation = camera.azimuth_elevation(camera.to_frame(direction))
    words = f"{math.degrees(float(azimuth)):+.0f}/{math.degrees(float(elevation)):+.0f} deg"
    text = f"{name(obj_id, label, state, score)} {words}"
    return drawing.Mark(obj_id, np.asarray(direction), text, state == TrackState.VISIBLE)


def fitted(
    image: drawing.ImageArray, labels: drawing.LabelImage, grid: Equirect
) -> tuple[drawing.ImageArray, drawing.LabelImage]:
    """Copies of the image and of its labels, of the grid's size."""
    picture = resized_image(image, grid.width, grid.height)
    if picture is image:
        picture = image.copy()
    return picture, resize_labels(labels, grid.width, grid.height)


def draw_overlay(
    picture: drawing.ImageArray,  # [H, W, 3], drawn on
    labels: drawing.LabelImage,  # [H, W]
    marks: Sequence[drawing.Mark],
    grid: Equirect,
    camera: CameraFrame = UPRIGHT,
) -> None:
    """The azimuth grid of the camera's frame, masks filled and outlined, and marks."""
    drawing.draw_grid(picture, grid, camera=camera)
    drawing.fill_masks(picture, labels)
    drawing.outline_masks(picture, labels, drawing.stroke(grid.width))
    drawing.draw_marks(picture, marks, grid)
