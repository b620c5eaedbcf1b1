"""A tracker tells where its objects were in earlier images, and takes back objects that nobody knows of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.spherical_shapes import disc
from helpers.tracker_inputs import mask_prompt, picture
from panosam2_ros import PanoTracker, Prompt, build_model
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.model.panosam2 import PanoSAM2

SPEED = 0.05  # rad per image
SECOND = 10**9


@pytest.fixture(scope="module")
def network() -> PanoSAM2:
    return build_model("panosam2_nano")


def film(index: int) -> np.ndarray:
    """Return a red disc that moves across the seam before a green ground."""
    image = np.full((256, 512, 3), (60, 160, 60), np.uint8)
    image[disc(3.0 + SPEED * index, 0.1, 0.25)] = (220, 30, 30)
    return image


def where(index: float) -> np.ndarray:
    return lonlat_to_vector(3.0 + SPEED * index, 0.1)


def test_it_tells_where_an_object_was_in_every_image_and_between_two(network: PanoSAM2) -> None:
    tracker = PanoTracker(network)
    tracker.prompt(film(0), 0, [Prompt(mask=disc(3.0, 0.1, 0.25), label="it")])
    for index in range(1, 6):
        tracker.step(film(index), index * SECOND)
    for index in (0, 1, 2.5, 4, 5):
        (track,) = tracker.tracks_at(int(index * SECOND))
        assert (track.obj_id, track.label) == (1, "it")
        assert angle_between(track.past.bearing.direction, where(index)) < math.radians(2)
    (late,) = tracker.tracks_at(99 * SECOND)
    assert late.past.stamp == 5 * SECOND


def test_it_tells_so_of_an_object_that_is_replayed(network: PanoSAM2) -> None:
    tracker = PanoTracker(network)
    for index in range(6):
        tracker.step(film(index), index * SECOND)
    (outcome,) = tracker.prompt(film(0), 0, [Prompt(mask=disc(3.0, 0.1, 0.25))])
    assert outcome.success and tracker.replaying
    for index in (2, 4):
        tracker.replay(film(index), index * SECOND)
    for index in (0, 1, 2, 3, 4):
        (track,) = tracker.tracks_at(index * SECOND)
        assert angle_between(track.past.bearing.direction, where(index)) < math.radians(2)


def test_what_is_restored_is_where_it_was_remembered(network: PanoSAM2) -> None:
    tracker = PanoTracker(network)
    tracker.prompt(film(0), SECOND, [Prompt(mask=disc(3.0, 0.1, 0.25))])
    other = PanoTracker(network)
    other.restore(tracker.snapshot())
    (track,) = other.tracks_at(SECOND)
    assert angle_between(track.past.bearing.direction, where(0)) < math.radians(2)


def test_objects_that_are_taken_back_leave_no_id_behind(network: PanoSAM2) -> None:
    tracker, image = PanoTracker(network), picture()
    tracker.prompt(image, 0, [mask_prompt(10, 40)])
    tracker.prompt(image, 0, [mask_prompt(80, 40), mask_prompt(140, 40), mask_prompt(200, 40)])
    tracker.withdraw([2, 4])
    assert [track.obj_id for track in tracker.tracks()] == [1, 3]
    (outcome,) = tracker.prompt(image, 0, [mask_prompt(80, 40)])
    assert outcome.track is not None and outcome.track.obj_id == 4  # 2 is given no more: 3 came after it
