"""Where objects were: exact at images, between them, on replays, and when time jumps."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.tracking.bearing_history import MOST_RECORDS, BearingHistory, PastBearing
from panosam2_ros.tracking.motion_model import TrackState


def record(stamp: int, lon: float, state: TrackState = TrackState.VISIBLE) -> PastBearing:
    return PastBearing(stamp, state, Bearing(lonlat_to_vector(lon, 0.0), np.eye(2), 0.2, 0.3, 0.06))


def history(*records: PastBearing) -> BearingHistory:
    made = BearingHistory()
    for each in records:
        made.add(each)
    return made


def lon_at(past: BearingHistory, stamp: int) -> float:
    found = past.at(stamp)
    assert found is not None
    return math.atan2(found.bearing.direction[0], found.bearing.direction[2])


def test_between_images_it_lies_between_them_also_across_the_seam() -> None:
    past = history(record(0, math.pi - 0.1), record(100, -math.pi + 0.1))
    found = past.at(50)
    assert found is not None and found.stamp == 50
    assert angle_between(found.bearing.direction, lonlat_to_vector(math.pi, 0)) == pytest.approx(0, abs=1e-9)
    assert lon_at(past, 100) == pytest.approx(-math.pi + 0.1)


def test_state_is_that_of_the_nearer_image() -> None:
    past = history(record(0, 0.0), record(100, 0.1, TrackState.OCCLUDED))
    states = [found.state for stamp in (0, 49, 51, 100) if (found := past.at(stamp))]
    assert states == [TrackState.VISIBLE] * 2 + [TrackState.OCCLUDED] * 2


def test_outside_it_is_the_nearest_record_with_its_own_stamp() -> None:
    past = history(record(10, 0.1), record(20, 0.2))
    assert [found.stamp for stamp in (0, 99) if (found := past.at(stamp))] == [10, 20]
    assert BearingHistory().at(0) is None


def test_opposite_directions_have_none_between_them() -> None:
    past = history(record(0, 0.0), record(100, math.pi))
    assert lon_at(past, 40) == pytest.approx(0) and abs(lon_at(past, 60)) == pytest.approx(math.pi)


def test_a_replay_takes_the_place_of_what_came_after_its_image() -> None:
    past = history(*(record(10 * i, 0.0) for i in range(5)))
    past.add(record(25, 1.0))
    assert lon_at(past, 40) == pytest.approx(1.0) and lon_at(past, 20) == pytest.approx(0.0)


def test_copies_go_their_own_way() -> None:
    past = history(record(0, 0.0))
    other = copy.deepcopy(past)
    other.add(record(10, 1.0))
    assert lon_at(past, 10) == pytest.approx(0.0) and lon_at(other, 10) == pytest.approx(1.0)


def test_it_is_bounded() -> None:
    past = history(*(record(i, 0.0) for i in range(MOST_RECORDS + 10)))
    found = past.at(0)
    assert found is not None and found.stamp == 10
