"""The whole way from boxes to new things, for panoramas, smaller panoramas and views."""

from __future__ import annotations

import math

import numpy as np
import pytest

from panosam2_ros.detections.association import KnownObjects
from panosam2_ros.detections.boxes import DetectedBoxes, Wanted
from panosam2_ros.detections.new_things import (
    DetectedImage,
    DetectedImageError,
    DetectionRules,
    new_things,
    usable_boxes,
)
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between

GRID = Equirect(1920, 960)
NOBODY = KnownObjects.at(0, [])


def boxes(*rows: tuple[float, float, float, float], names: str = "") -> DetectedBoxes:
    scores = np.linspace(0.9, 0.6, len(rows))
    return DetectedBoxes(np.reshape(rows, (-1, 4)), scores, tuple(names or "a" * len(rows)))


def test_wanted_boxes_become_prompts_once_each() -> None:
    rows = (100, 400, 200, 600), (110, 405, 205, 600), (1800, 400, 1919, 500), (-0.5, 400, 90, 500)
    found = new_things(boxes(*rows, names="aabb"), GRID, NOBODY, DetectionRules(Wanted(0.5)))
    assert found.detected.classes == ("a", "b")
    assert found.prompts[1].round().tolist() == [1800, 400, 90, 500]
    assert len(new_things(boxes(), GRID, NOBODY, DetectionRules())) == 0
    through = DetectionRules(image=DetectedImage(640, 480, 1.0))
    assert len(new_things(boxes(), GRID, NOBODY, through)) == 0
    none = new_things(boxes(*rows), GRID, NOBODY, DetectionRules(Wanted(0.5, frozenset("c"))))
    assert len(none) == 0


def test_boxes_of_a_smaller_panorama_are_scaled() -> None:
    rules = DetectionRules(image=DetectedImage(960, 480))
    found = new_things(boxes((99.5, 199.5, 199.5, 299.5)), GRID, NOBODY, rules)
    assert found.prompts[0].tolist() == [200, 400, 399, 599]


def test_boxes_of_a_view_are_placed_by_its_middle() -> None:
    image = DetectedImage(640, 480, math.radians(90), math.radians(90), 0.0)
    found = new_things(boxes((270, 190, 370, 290)), GRID, NOBODY, DetectionRules(image=image))
    left = GRID.pixel_to_vector(GRID.width / 4 - 0.5, GRID.height / 2 - 0.5)
    assert angle_between(found.angular.directions[0], left) < 0.01


def test_a_view_needs_the_size_of_its_image() -> None:
    with pytest.raises(DetectedImageError, match="detection_width"):
        DetectedImage(horizontal_fov=1.0).view()


def test_what_is_usable_depends_on_the_image_of_the_boxes() -> None:
    far = boxes((700, 100, 800, 200))
    assert len(usable_boxes(far, GRID, DetectedImage())) == 1
    assert len(usable_boxes(far, GRID, DetectedImage(640, 480, 1.0))) == 0
