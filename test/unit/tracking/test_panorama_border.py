"""Objects that leave a cropped panorama above or below: no mask outside, and a prediction that goes on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers.red_things import BLUE, RED, sees_red
from helpers.spherical_shapes import disc, iou
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector, vector_to_lonlat
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.panorama_border import limited_to_panorama
from panosam2_ros.tracking.track import TrackState
from panosam2_ros.tracking.tracker import PanoTracker

FOV = math.radians(120)
GRID = Equirect(576, 192, FOV)  # 1920x640, small
RADIUS, LON, FRAME = 0.2, 3.0, 100_000_000
EDGE = FOV / 2


def seen(lat: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    truth = disc(LON, lat, RADIUS, GRID)
    return np.where(truth[..., None], RED, BLUE).astype(np.uint8), truth


def tracking(monkeypatch: pytest.MonkeyPatch, lat: float) -> PanoTracker:
    """Return what knows the disc by a mask; its network sees red, also in rows that are repeated."""
    config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2)
    model = random_model(3, config=config).eval().requires_grad_(False)
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model, TrackerConfig(vertical_fov=FOV, camera_motion=False))
    image, truth = seen(lat)
    (outcome,) = tracker.prompt(image, 0, [Prompt(mask=truth, label="disc")])
    assert outcome.success
    return tracker


@pytest.mark.faults
@pytest.mark.parametrize("side", [1, -1])
def test_what_sticks_out_has_the_bearing_of_its_visible_part(
    monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    tracker, compared = tracking(monkeypatch, side * 0.5), 0
    for index, lat in enumerate(np.arange(0.55, EDGE + 0.1, 0.1), 1):
        image, truth = seen(side * lat)
        frame = tracker.step(image, index * FRAME)
        (track,) = frame.tracks
        expected = mask_bearing(truth, GRID)
        assert expected is not None and track.state is TrackState.VISIBLE
        assert iou(frame.labels > 0, truth) > 0.8
        assert angle_between(track.bearing.direction, expected.direction) < math.radians(1.0)
        assert track.bearing.extent_vertical == pytest.approx(expected.extent_vertical, abs=0.06)
        compared += lat + RADIUS > EDGE
    assert compared >= 3


@pytest.mark.faults
def test_what_has_left_is_occluded_where_it_went_and_found_when_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = tracking(monkeypatch, 0.5)
    way = np.arange(0.55, EDGE + RADIUS + 0.12, 0.08)  # rad, 0.8 rad/s upwards
    for index, lat in enumerate(way, 1):
        image, truth = seen(lat)
        frame = tracker.step(image, index * FRAME)
        if lat > EDGE + RADIUS + 0.02:  # all of it is outside
            assert not truth.any() and not frame.labels.any()
            assert frame.tracks[0].state is TrackState.OCCLUDED
    lon, lat = vector_to_lonlat(frame.tracks[0].bearing.direction)
    assert lat > EDGE and lat == pytest.approx(way[-1], abs=0.2)
    assert lon == pytest.approx(LON, abs=0.1)
    for index, lat in enumerate((0.9, 0.8, 0.8), len(way) + 1):
        image, truth = seen(lat)
        frame = tracker.step(image, index * FRAME)
    assert frame.tracks[0].state is TrackState.VISIBLE and iou(frame.labels == 1, truth) > 0.8


@settings(deadline=None, max_examples=30)
@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(0.05, 1.0), st.floats(0.3, math.pi))
def test_outside_is_what_has_no_latitude_in_the_panorama(lon, lat, diameter, fov):
    region = SearchRegion.around(TargetExtent(lonlat_to_vector(lon, lat), diameter, diameter))
    outside = region.outside(40, fov)
    _, latitudes = vector_to_lonlat(region.directions(40))
    expected = np.abs(latitudes) > fov / 2
    if outside is None:
        assert fov == math.pi or not (np.abs(latitudes) > fov / 2 + 1e-9).any()
    else:
        unsure = np.abs(np.abs(latitudes) - fov / 2) < 1e-9
        assert (outside == expected)[~unsure].all()


def test_views_stay_where_there_is_an_image():
    inside = lonlat_to_vector(1.0, 0.9)
    assert limited_to_panorama(inside, FOV) is inside
    for side in (1, -1):
        lon, lat = vector_to_lonlat(limited_to_panorama(lonlat_to_vector(1.0, side * 1.4), FOV))
        assert (lon, lat) == pytest.approx((1.0, side * EDGE))
