"""Boxes laid onto the sphere: from panoramas and from perspective views, against rendered things."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.fuzzing import examples
from panosam2_ros.detections.boxes import DetectedBoxes, usable
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.detections.placement import place_on_panorama, place_through_view
from panosam2_ros.geometry.angular_box import AngularBoxes, box_ious
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.geometry.sphere import Floats, angle_between, lonlat_to_vector
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.prompts.validation import check_prompt

GRID = Equirect(512, 256)
VIEW = PerspectiveView.facing(UPRIGHT, math.pi, 0.2, math.pi / 2, (400, 300))  # across the seam
coordinates = st.floats(-1200, 1200)


def one(edges: Floats | list[float]) -> DetectedBoxes:
    return DetectedBoxes(np.array(edges, float)[None], np.array([0.9]), ("thing",))


def disc(direction: Floats, radius: float) -> np.ndarray:
    u, v = np.meshgrid(np.arange(GRID.width), np.arange(GRID.height))
    return np.asarray(angle_between(GRID.pixel_to_vector(u, v), direction) < radius)


def panorama_edges(mask: np.ndarray) -> list[float]:
    """Return what a detector that knows the seam says of a mask."""
    box = mask_box(mask)
    assert box is not None
    u_min, v_min, u_max, v_max = box
    return [u_min - 0.5, v_min - 0.5, u_min + box_width(u_min, u_max, GRID.width) + 0.5, v_max + 0.5]


def check_as_prompt(placed: PlacedBoxes) -> None:
    """Raise where a box would be refused as a prompt."""
    for box in placed.prompts.tolist():
        check_prompt(Prompt(box=tuple(box)), GRID, corrects=False)


@pytest.mark.parametrize("lon", [0.0, math.pi, -math.pi / 2])
@pytest.mark.parametrize(("lat", "least"), [(0.0, 0.85), (0.9, 0.7), (-1.2, 0.6), (1.5, 0.5)])
def test_a_box_of_the_panorama_is_where_the_mask_is(lon: float, lat: float, least: float) -> None:
    mask = disc(lonlat_to_vector(lon, lat), 0.25)
    placed = place_on_panorama(one(panorama_edges(mask)), GRID)
    bearing = mask_bearing(mask, GRID)
    assert bearing is not None
    extents = np.array([[bearing.extent_horizontal, bearing.extent_vertical]])
    of_mask = AngularBoxes(bearing.direction[None], extents)
    assert box_ious(placed.angular, of_mask)[0, 0] > least
    check_as_prompt(placed)


def test_prompt_boxes_are_those_of_the_mask() -> None:
    mask = disc(lonlat_to_vector(math.pi, 0.1), 0.25)
    placed = place_on_panorama(one(panorama_edges(mask)), GRID)
    assert placed.prompts[0].tolist() == [float(x) for x in mask_box(mask) or ()]
    assert placed.prompts[0][0] > placed.prompts[0][2]


def test_halves_at_the_seam_are_one_thing() -> None:
    mask = disc(lonlat_to_vector(math.pi, 0.1), 0.25)
    u_min, v_min, u_max, v_max = panorama_edges(mask)
    halves = [[u_min, v_min, 511.5, v_max], [-0.5, v_min, u_max - GRID.width, v_max]]
    both = DetectedBoxes(np.array(halves), np.array([0.9, 0.8]), ("thing", "thing"))
    placed = place_on_panorama(both, GRID)
    assert len(placed) == 1 and not placed.cut.any()
    assert placed.prompts[0].tolist() == [float(x) for x in mask_box(mask) or ()]
    assert place_on_panorama(one(halves[0]), GRID).cut.tolist() == [True]


@pytest.mark.parametrize(("across", "down"), [(200, 150), (60, 240), (345, 55)])
def test_a_box_of_a_view_is_where_the_thing_is(across: float, down: float) -> None:
    """Of a disc, which is seen in the view and in the panorama."""
    direction, radius = VIEW.pixel_to_vector(across, down), 0.12
    u, v = np.meshgrid(np.arange(VIEW.width), np.arange(VIEW.height))
    rows, columns = np.nonzero(angle_between(VIEW.pixel_to_vector(u, v), direction) < radius)
    edges = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
    placed = place_through_view(one(edges), VIEW, GRID)
    mask = disc(direction, radius)
    bearing = mask_bearing(mask, GRID)
    assert bearing is not None
    whole = np.array([[bearing.extent_horizontal, bearing.extent_vertical]])
    assert not placed.cut.any()
    assert box_ious(placed.angular, AngularBoxes(bearing.direction[None], whole))[0, 0] > 0.75
    truth, found = panorama_edges(mask), placed.prompts[0]
    wide, expected = box_width(found[0], found[2], GRID.width) + 1, truth[2] - truth[0]
    assert expected - 2 <= wide <= 1.3 * expected + 4  # the corners of a view's box reach farther
    check_as_prompt(placed)


def test_a_box_of_a_view_that_holds_a_pole_has_all_columns() -> None:
    up = PerspectiveView.facing(UPRIGHT, 0.3, math.pi / 2, math.pi / 2, (300, 300))
    placed = place_through_view(one([100, 100, 200, 200]), up, GRID)
    assert placed.prompts[0, [0, 1, 2]].tolist() == [0, 0, GRID.width - 1]
    assert placed.angular.directions[0] == pytest.approx([0, -1, 0], abs=0.01)


def test_boxes_at_the_border_of_a_view_are_cut() -> None:
    assert place_through_view(one([0, 100, 50, 200]), VIEW, GRID).cut.tolist() == [True]
    assert place_through_view(one([100, 100, 150, 200]), VIEW, GRID).cut.tolist() == [False]


@examples(200)
@given(coordinates, coordinates, coordinates, coordinates, st.booleans())
def test_any_usable_box_becomes_a_prompt(
    left: float, top: float, right: float, bottom: float, seen_through: bool
) -> None:
    boxes = one([left, top, right, bottom])
    size = (VIEW.width, VIEW.height) if seen_through else (GRID.width, GRID.height)
    if not usable(boxes, *size).all():
        return
    placed = place_through_view(boxes, VIEW, GRID) if seen_through else place_on_panorama(boxes, GRID)
    assert np.isfinite(placed.angular.extents).all() and (placed.angular.extents > 0).all()
    check_as_prompt(placed)
