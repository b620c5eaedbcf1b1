"""Boxes of overlapping views: a ring of views round a panorama sees each thing once, on the seam too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from panosam2_ros.detections.boxes import DetectedBoxes
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.detections.placement import place_through_view
from panosam2_ros.detections.views import join_views
from panosam2_ros.geometry.angular_box import AngularBoxes, box_ious
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.geometry.sphere import Floats, angle_between, lonlat_to_vector

GRID = Equirect(360, 180)
RING = [
    PerspectiveView.facing(UPRIGHT, math.radians(60 * i), 0.0, math.radians(90), (128, 128)) for i in range(6)
]


def seen(view: PerspectiveView, things: dict[str, tuple[Floats, float]]) -> PlacedBoxes:
    """Return the boxes of discs as a perfect detector gives them in a view."""
    u, v = np.meshgrid(np.arange(view.width), np.arange(view.height))
    directions, rows, names = view.pixel_to_vector(u, v), [], []
    for name, (centre, radius) in things.items():
        down, across = np.nonzero(angle_between(directions, centre) < radius)
        if across.size and np.ptp(across) > 1 and np.ptp(down) > 1:
            rows.append([across.min() - 0.5, down.min() - 0.5, across.max() + 0.5, down.max() + 0.5])
            names.append(name[0])
    edges = np.reshape(np.array(rows, float), (-1, 4))
    return place_through_view(DetectedBoxes(edges, np.full(len(rows), 0.8), tuple(names)), view, GRID)


def extent(centre: Floats, radius: float) -> AngularBoxes:
    u, v = np.meshgrid(np.arange(GRID.width), np.arange(GRID.height))
    bearing = mask_bearing(angle_between(GRID.pixel_to_vector(u, v), centre) < radius, GRID)
    assert bearing is not None
    size = np.array([[bearing.extent_horizontal, bearing.extent_vertical]])
    return AngularBoxes(bearing.direction[None], size)


def joined(things: dict[str, tuple[Floats, float]]) -> PlacedBoxes:
    return join_views([seen(view, things) for view in RING], GRID, 0.3)


@pytest.mark.parametrize("lon", range(-180, 180, 30))
@pytest.mark.parametrize("radius", [0.1, 0.25, 0.6, 0.8])
def test_a_thing_is_found_once_wherever_it_is(lon: int, radius: float) -> None:
    """The largest is wider than the views overlap, so that views cut it everywhere."""
    centre = lonlat_to_vector(math.radians(lon), 0.05)
    found = joined({"a": (centre, radius)})
    assert len(found) == 1
    assert box_ious(found.angular, extent(centre, radius))[0, 0] > 0.8


def test_two_things_of_a_class_stay_two() -> None:
    things = {"a1": (lonlat_to_vector(3.1, 0), 0.15), "a2": (lonlat_to_vector(-2.6, 0), 0.15)}
    assert len(joined(things)) == 2


def test_things_that_touch_are_joined_only_if_they_are_of_one_class() -> None:
    things = {"a": (lonlat_to_vector(0.5, 0), 0.3), "b": (lonlat_to_vector(0.95, 0), 0.3)}
    assert sorted(joined(things).detected.classes) == ["a", "b"]


def test_nothing_is_found_where_nothing_is() -> None:
    assert len(joined({})) == 0
