"""Boxes that known objects explain, and boxes of one thing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from panosam2_ros.detections.association import KnownObjects, unexplained, without_duplicates
from panosam2_ros.detections.boxes import DetectedBoxes
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.detections.placement import place_on_panorama
from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.tracking.bearing_history import PastBearing
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import PastTrack

GRID = Equirect(720, 360)  # half a degree a pixel
STAMP = 10**10


def placed(*centres: tuple[float, float, float, float], classes: str = "") -> PlacedBoxes:
    """Return boxes by the azimuth to the right, latitude, width and height of each, degrees."""
    rows = []
    for lon, lat, wide, high in centres:
        u, v = GRID.lonlat_to_pixel(math.radians(lon), math.radians(lat))
        rows.append([u - wide, v - high, u + wide, v + high])
    names, scores = tuple(classes or "a" * len(rows)), np.linspace(0.9, 0.6, len(rows))
    return place_on_panorama(DetectedBoxes(np.reshape(rows, (-1, 4)), scores, names), GRID)


def track(
    lon: float,
    lat: float,
    size: float,
    label: str = "",
    state: TrackState = TrackState.VISIBLE,
    *,
    sigma: float = 0.0,  # degrees
    stamp: int = STAMP,
) -> PastTrack:
    direction = lonlat_to_vector(math.radians(lon), math.radians(lat))
    side = math.radians(size)
    bearing = Bearing(direction, math.radians(sigma) ** 2 * np.eye(2), side, side, side**2)
    return PastTrack(1, label, PastBearing(stamp, state, bearing))


def new(boxes: PlacedBoxes, *tracks: PastTrack, overlap: float = 0.3) -> list[int]:
    return unexplained(boxes, KnownObjects.at(STAMP, tracks), overlap).tolist()


def test_without_objects_every_box_is_new() -> None:
    assert new(placed((0, 0, 20, 20), (50, 0, 20, 20))) == [0, 1]
    assert new(placed()) == []


@pytest.mark.parametrize("lon", [0, 90, 180, -179])
def test_an_object_explains_its_own_box_wherever_it_is(lon: float) -> None:
    assert new(placed((lon, 5, 20, 20)), track(lon + 3, 7, 18)) == []
    assert new(placed((lon, 5, 20, 20)), track(lon + 25, 5, 18)) == [0]


def test_overlap_decides() -> None:
    """Squares of 20 degrees 10 degrees apart have an intersection over union of a third."""
    assert new(placed((0, 0, 20, 20)), track(10, 0, 20), overlap=0.3) == []
    assert new(placed((0, 0, 20, 20)), track(10, 0, 20), overlap=0.4) == [0]
    # a mask that has drifted off its thing
    assert new(placed((0, 0, 20, 20)), track(10, 0, 20, "a"), overlap=0.4) == []
    assert new(placed((0, 0, 20, 20)), track(15, 0, 20, "a"), overlap=0.4) == [0]


def test_a_part_is_explained_by_a_thing_of_its_class_only() -> None:
    """A mask that has only the upper part of a person, and a cup on a table."""
    assert new(placed((0, 0, 20, 40)), track(0, 10, 10, "a")) == []
    assert new(placed((0, 0, 20, 40)), track(0, 10, 10, "b")) == [0]


def test_half_a_thing_at_the_seam_is_explained_by_the_whole() -> None:
    """The detector missed the other half, and this one is small."""
    boxes = placed((-176, 0, 8, 20), classes="a")
    assert boxes.cut.tolist() == [True]
    assert new(boxes, track(173, 0, 30, "another label")) == []
    assert new(boxes, track(150, 0, 30)) == [0]


def test_an_occluded_object_explains_what_appears_where_it_is_expected() -> None:
    near, far = placed((10, 0, 10, 10)), placed((60, 0, 10, 10))
    hidden = track(0, 0, 10, state=TrackState.OCCLUDED, sigma=3)
    assert new(near, hidden) == [] and new(far, hidden) == [0]
    assert new(placed((10, 0, 60, 60)), hidden) == [0]  # of quite another size
    lost = track(0, 0, 10, state=TrackState.LOST, sigma=60)
    assert new(placed((12, 0, 10, 10)), lost) == [0]  # nobody knows where it is


def test_an_object_that_was_not_known_then_explains_what_is_near() -> None:
    """It was prompted half a second after the image of the boxes: it may have moved."""
    later = track(12, 0, 10, stamp=STAMP + 500_000_000)
    assert new(placed((0, 0, 10, 10)), later) == []
    assert new(placed((0, 0, 10, 10)), track(12, 0, 10)) == [0]
    assert new(placed((60, 0, 10, 10)), later) == [0]


def test_an_object_that_is_looked_for_may_be_the_nearest_box_of_its_label() -> None:
    hidden = track(0, 0, 10, "a", TrackState.OCCLUDED, sigma=1)
    assert new(placed((40, 0, 10, 10), (-35, 0, 10, 10), classes="aa"), hidden) == [0]
    assert new(placed((40, 0, 10, 10), (-35, 0, 10, 10), classes="ab"), hidden) == [1]
    assert new(placed((60, 0, 10, 10)), hidden) == [0]
    # it was found where it was: the other box is another thing
    assert new(placed((2, 0, 10, 10), (40, 0, 10, 10)), hidden) == [1]


def test_double_boxes_count_once_with_the_better_score() -> None:
    boxes = placed((0, 0, 20, 20), (3, 2, 22, 18), (60, 0, 20, 20), classes="aba")
    kept = without_duplicates(boxes, 0.3)
    assert kept.detected.classes == ("a", "a") and len(kept) == 2


def test_a_nested_box_counts_once_if_it_is_of_the_same_class() -> None:
    assert len(without_duplicates(placed((0, 0, 20, 40), (0, 10, 10, 10)), 0.3)) == 1
    assert len(without_duplicates(placed((0, 0, 20, 40), (0, 10, 10, 10), classes="ab"), 0.3)) == 2
