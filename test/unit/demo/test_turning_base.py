"""The base on which the virtual camera turns, and frames as seen after a turn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from panosam2_ros.demo.playback import Playback, PlaybackConfig, Played
from panosam2_ros.demo.turning_base import TurningBase, TurnLimits, seen_after_turn, whole_columns
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, rotation_matrix

LIMITS = TurnLimits(rate=1.0, acceleration=2.0, timeout=0.5)


def test_it_accelerates_turns_and_brakes_when_commands_stop():
    base = TurningBase(LIMITS)
    for tick in range(20):
        base.command(5.0, tick * 0.1)  # more than it can
        assert abs(base.rate) <= 1.0
    assert base.rate == pytest.approx(1.0)
    at = base.yaw
    assert at == pytest.approx(1.9 - 0.25, abs=0.02)  # half a second of acceleration
    base.advance(10.0)
    assert base.rate == 0.0
    assert base.yaw - at == pytest.approx(0.5 + 0.25, abs=0.03)  # the time-out, then braking


def test_it_ignores_what_is_not_a_number():
    base = TurningBase(LIMITS)
    assert base.command(0.5, 0.0)
    assert not base.command(math.nan, 0.1) and not base.command(math.inf, 0.2)
    base.advance(0.4)
    assert base.rate == pytest.approx(0.5)
    with pytest.raises(ValueError, match="above 0"):
        TurnLimits(rate=0.0)


@pytest.fixture(scope="module")
def frames() -> list[Played]:
    config = PlaybackConfig(width=128, height=64, frames=2, seed=2, camera_tilt=0.0, objects=3)
    return list(Playback(config))


@pytest.mark.parametrize("columns", [0, 1, 50, -9, 128 + 7])
def test_the_turned_truth_fits_the_turned_masks(frames, columns):
    grid = Equirect(128, 64)
    seen = seen_after_turn(frames[0], columns, 0.3)
    compared = 0
    for truth, before in zip(seen.objects, frames[0].objects, strict=True):
        assert angle_between(truth.centre, truth.direction) == pytest.approx(
            angle_between(before.centre, before.direction), abs=1e-6
        )
        if truth.visible:
            found = mask_bearing(seen.labels == truth.obj_id, grid)
            assert np.degrees(angle_between(truth.direction, found.direction)) < 1e-4
            compared += 1
    assert compared
    assert np.array_equal(seen.image, np.roll(frames[0].image, columns, 1))


def test_a_turn_to_the_left_moves_things_to_the_right_at_its_rate(frames):
    truth = replace(frames[0].objects[0], angular_velocity=np.zeros(3))
    played = replace(frames[0], objects=(truth,))
    (there,) = seen_after_turn(played, 0, 0.5).objects
    moved = rotation_matrix(0.02 * there.angular_velocity) @ there.centre
    (after,) = seen_after_turn(played, whole_columns(0.5 * 0.02, 128 * 10000) // 10000, 0.5).objects
    assert after.centre[0] == there.centre[0]  # less than a column
    angle = math.atan2(moved[0], moved[2]) - math.atan2(there.centre[0], there.centre[2])
    assert math.remainder(angle, 2 * math.pi) == pytest.approx(0.01, rel=1e-3)
    assert there.angular_velocity @ there.centre == pytest.approx(0.0, abs=1e-9)
