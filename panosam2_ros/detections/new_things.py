"""From the boxes of an image to those of things that are new."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from panosam2_ros.detections.association import KnownObjects, unexplained, without_duplicates
from panosam2_ros.detections.boxes import DetectedBoxes, Wanted, best, usable
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.detections.placement import place_on_panorama, place_through_view
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.perspective_view import PerspectiveView


class DetectedImageError(ValueError):
    """The image in which the boxes should be cannot be; the message names the parameters."""


@dataclass(frozen=True)
class DetectedImage:
    """The image in which a detector's boxes are: the panorama, or a perspective view of it."""

    width: int = 0  # pixels; 0: the panorama's
    height: int = 0
    horizontal_fov: float = 0.0  # rad, of the view; 0: the panorama itself
    azimuth: float = 0.0  # rad, of the view's middle from the panorama's, positive to the left
    elevation: float = 0.0  # rad, positive upwards

    def view(self) -> PerspectiveView | None:
        """Return the view; None for the panorama. Raise DetectedImageError for one that no view is."""
        if not self.horizontal_fov:
            return None
        if not self.width or not self.height:
            raise DetectedImageError(
                "boxes of a perspective view (detection_fov) need the size of its image: set detection_width "
                "and detection_height"
            )
        size = self.width, self.height
        try:
            return PerspectiveView.facing(UPRIGHT, self.azimuth, self.elevation, self.horizontal_fov, size)
        except ValueError as error:
            raise DetectedImageError(
                f"{error}: see detection_fov, _azimuth, _elevation, _width and _height"
            ) from error

    def place(self, boxes: DetectedBoxes, grid: Equirect) -> PlacedBoxes:
        """Place boxes of this image, in its own pixels, on a panorama."""
        if (view := self.view()) is not None:
            return place_through_view(boxes, view, grid)
        scale = np.array(
            [grid.width / (self.width or grid.width), grid.height / (self.height or grid.height)]
        )
        edges = (boxes.edges + 0.5) * np.tile(scale, 2) - 0.5
        return place_on_panorama(DetectedBoxes(edges, boxes.scores, boxes.classes), grid)


@dataclass(frozen=True)
class DetectionRules:
    """Which boxes become objects, and what counts as one thing."""

    wanted: Wanted = field(default_factory=Wanted)
    overlap: float = 0.3  # intersection over union on the sphere from which on two are one thing
    image: DetectedImage = field(default_factory=DetectedImage)


def usable_boxes(boxes: DetectedBoxes, grid: Equirect, image: DetectedImage) -> DetectedBoxes:
    """Return the boxes that are boxes of the image."""
    width, height = image.width or grid.width, image.height or grid.height
    return boxes.of(np.flatnonzero(usable(boxes, width, height)))


def new_things(
    boxes: DetectedBoxes, grid: Equirect, known: KnownObjects, rules: DetectionRules
) -> PlacedBoxes:
    """Return the boxes of things that no known object explains, each thing once, by falling score.

    ``boxes`` are usable, ``grid`` is that of the panorama, ``known`` as of the image of the boxes.
    """
    placed = rules.image.place(best(boxes, rules.wanted), grid)
    placed = without_duplicates(placed, rules.overlap)
    return placed.of(unexplained(placed, known, rules.overlap))
