"""An object's state over time against exact motion on the sphere."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry.bearing import UNKNOWN_VARIANCE, Bearing
from panosam2_ros.geometry.sphere import Floats, angle_between, lonlat_to_vector, normalised, rotation_matrix
from panosam2_ros.tracking.motion_model import BearingMotionModel, StateConfig, TrackState

PERIOD = 100_000_000  # ns
START = 1_700_000_000_000_000_000
CONFIG = StateConfig(lost_after=2.0)


def bearing(direction: Floats) -> Bearing:
    return Bearing(direction, 1e-4 * np.eye(2), 0.3, 0.2, 0.05)


def great_circle(start: Floats, axis: Floats, angle: float) -> Floats:
    return math.cos(angle) * start + math.sin(angle) * np.cross(axis, start)


def run(speed: float, axis: Floats, seen: int, start: Floats) -> BearingMotionModel:
    motion = BearingMotionModel(CONFIG)
    for i in range(seen):
        motion.update(START + i * PERIOD, bearing(great_circle(start, axis, 0.1 * i * speed)))
    return motion


def test_before_the_first_sight_it_may_be_anywhere() -> None:
    motion = BearingMotionModel(CONFIG)
    motion.update(START, None)
    assert motion.state is TrackState.LOST and motion.last_seen == 0
    assert np.allclose(motion.bearing.covariance, UNKNOWN_VARIANCE * np.eye(2))
    assert np.isnan(motion.angular_velocity).all()


def test_visible_occluded_lost_and_back() -> None:
    motion = BearingMotionModel(CONFIG)
    direction = lonlat_to_vector(0.3, 0.1)
    motion.update(START, bearing(direction))
    assert motion.state is TrackState.VISIBLE and motion.last_seen == START
    states = []
    for i in range(1, 30):
        motion.update(START + i * PERIOD, None)
        states.append(motion.state)
        assert motion.bearing.solid_angle == 0 and motion.last_seen == START
    assert states == [TrackState.OCCLUDED] * 20 + [TrackState.LOST] * 9
    motion.update(START + 30 * PERIOD, bearing(direction))
    assert motion.state is TrackState.VISIBLE
    assert motion.bearing.solid_angle == pytest.approx(0.05)


def test_hysteresis() -> None:
    motion = BearingMotionModel(StateConfig(appear=0.7, disappear=0.3))
    assert not motion.present(0.5) and motion.present(0.7)
    motion.update(START, bearing(lonlat_to_vector(0, 0)))
    assert motion.present(0.5) and motion.present(0.3) and not motion.present(0.29)
    motion.update(START + PERIOD, None)
    assert not motion.present(0.5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), speed=st.floats(0.05, 3.0))
def test_velocity_and_prediction_along_any_great_circle(seed: int, speed: float) -> None:
    rng = np.random.default_rng(seed)
    start = normalised(rng.normal(size=3))
    axis = normalised(np.cross(start, rng.normal(size=3)))
    motion = run(speed, axis, 10, start)
    assert np.allclose(motion.angular_velocity, speed * axis, atol=1e-6)
    angle = 0.9 * speed
    for i in range(10, 25):
        motion.update(START + i * PERIOD, None)
        unseen = 0.1 * (i - 9)
        decay = CONFIG.velocity_decay
        angle = 0.9 * speed + speed * decay * (1 - math.exp(-unseen / decay))
        assert angle_between(motion.bearing.direction, great_circle(start, axis, angle)) < 1e-6
    assert np.linalg.norm(motion.angular_velocity) == pytest.approx(speed * math.exp(-1.5 / decay))


def test_the_derivative_of_direction_is_velocity_cross_direction() -> None:
    start, axis = lonlat_to_vector(0, 0), np.array([0.0, 1.0, 0.0])  # y down: rightwards is +
    motion = run(0.5, axis, 5, start)
    before = motion.bearing.direction
    motion.update(START + 5 * PERIOD - PERIOD + 1_000_000, None)
    rate = (motion.bearing.direction - before) / 1e-3
    assert np.allclose(rate, np.cross(motion.angular_velocity, before), atol=1e-3)
    assert rate[0] > 0


def test_lost_keeps_the_last_known_direction_and_forgets_the_velocity() -> None:
    start, axis = lonlat_to_vector(3.1, 0), np.array([0.0, 1.0, 0.0])
    motion = run(0.5, axis, 5, start)
    last = motion.bearing.direction
    for i in range(5, 40):
        motion.update(START + i * PERIOD, None)
    assert motion.state is TrackState.LOST
    assert angle_between(motion.bearing.direction, last) < 1e-9
    assert np.isnan(motion.angular_velocity).all()


def test_covariance_grows_while_unseen_and_stays_bounded() -> None:
    motion = run(0.5, np.array([0.0, 1.0, 0.0]), 5, lonlat_to_vector(3.1, 0))
    traces = [np.trace(motion.bearing.covariance)]
    for i in range(5, 200):
        motion.update(START + i * PERIOD, None)
        traces.append(np.trace(motion.bearing.covariance))
    assert np.all(np.diff(traces) >= -1e-9)
    assert traces[-1] == pytest.approx(2 * UNKNOWN_VARIANCE)
    motion.update(START + 200 * PERIOD, bearing(lonlat_to_vector(0, 0)))
    assert np.trace(motion.bearing.covariance) == pytest.approx(2e-4)


def test_an_uneven_covariance_moves_along_the_great_circle() -> None:
    """Over a pole east becomes west: the ellipse must turn with the direction, not stay."""
    config = StateConfig(velocity_noise=0.0, velocity_decay=1e6, lost_after=100.0)
    motion = BearingMotionModel(config)
    covariance = np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    for i in range(2):
        direction = lonlat_to_vector(0, 1.0 + 0.1 * i)  # straight up at 1 rad/s
        motion.update(START + i * PERIOD, Bearing(direction, covariance, 0.1, 0.1, 0.01))
    for i in range(2, 12):
        motion.update(START + i * PERIOD, None)  # ends beyond the pole, at lon = pi
    expected = lonlat_to_vector(math.pi, math.pi - 2.1)
    assert angle_between(motion.bearing.direction, expected) < 1e-3
    assert np.allclose(motion.bearing.covariance, covariance, rtol=1e-3)


def test_dropped_frames_do_not_change_the_velocity() -> None:
    axis, start = np.array([0.0, 1.0, 0.0]), lonlat_to_vector(0, 0)
    motion = BearingMotionModel(CONFIG)
    for i in (0, 1, 4, 5, 11):
        motion.update(START + i * PERIOD, bearing(great_circle(start, axis, 0.05 * i)))
    assert np.allclose(motion.angular_velocity, 0.5 * axis, atol=1e-6)


def test_a_jump_is_no_motion() -> None:
    motion = BearingMotionModel(CONFIG)
    motion.update(START, bearing(lonlat_to_vector(0, 0)))
    motion.update(START + 1_000_000, bearing(lonlat_to_vector(3.0, 0)))
    assert np.linalg.norm(motion.angular_velocity) <= CONFIG.velocity_limit + 1e-9


def test_where_somebody_points_is_no_motion_of_what_was_out_of_sight() -> None:
    motion = run(0.5, np.array([0.0, 1.0, 0.0]), 5, lonlat_to_vector(0, 0))
    motion.update(START + 10 * PERIOD, None)
    motion.update(START + 20 * PERIOD, bearing(lonlat_to_vector(1.5, 0)), prompted=True)
    assert np.isnan(motion.angular_velocity).all() and motion.state is TrackState.VISIBLE
    motion.update(START + 21 * PERIOD, bearing(lonlat_to_vector(1.5, 0)))
    assert np.allclose(motion.angular_velocity, 0)
    assert np.allclose(motion.predict(START + 22 * PERIOD).direction, lonlat_to_vector(1.5, 0))


def test_stamps_that_repeat_or_go_back_are_survived() -> None:
    motion = run(0.5, np.array([0.0, 1.0, 0.0]), 5, lonlat_to_vector(0, 0))
    velocity = motion.angular_velocity
    motion.update(START + 4 * PERIOD, bearing(lonlat_to_vector(0.2, 0)))
    motion.update(START, bearing(lonlat_to_vector(0, 0)))
    assert np.allclose(motion.angular_velocity, velocity, atol=1e-3)
    assert motion.last_seen == START
    motion.update(START - PERIOD, None)
    assert motion.state is TrackState.OCCLUDED
    assert np.isfinite(motion.bearing.direction).all()


def turning(i: int) -> Floats:
    """A camera's axes in frame ``i``: how far directions of still things have turned since frame 0."""
    return rotation_matrix(i * np.array([0.01, -0.05, 0.02]))


def test_what_stands_still_moves_only_as_the_camera_turns() -> None:
    start, motion = lonlat_to_vector(1.0, 0.4), BearingMotionModel(CONFIG)
    step = turning(1)
    for i in range(4):
        if i:
            motion.compensate_rotation(step)
            expected = motion.predict(START + i * PERIOD)
            assert expected is not None and angle_between(expected.direction, turning(i) @ start) < 1e-9
        motion.update(START + i * PERIOD, bearing(turning(i) @ start))
    rate = (turning(4) @ start - turning(2) @ start) / 0.2
    assert np.allclose(np.cross(motion.angular_velocity, motion.bearing.direction), rate, atol=2e-3)
    for i in range(4, 40):  # OCCLUDED, then LOST: it is still where it was
        motion.compensate_rotation(step)
        motion.update(START + i * PERIOD, None)
        assert angle_between(motion.bearing.direction, turning(i) @ start) < 1e-9
    assert motion.state is TrackState.LOST


@pytest.mark.parametrize("recalled", [False, True])
def test_what_moves_by_itself_goes_on_while_the_camera_turns(recalled: bool) -> None:
    axis, start = normalised(np.array([0.2, 1.0, 0.0])), lonlat_to_vector(-0.4, 0.0)
    start = normalised(start - axis * (axis @ start))
    config = StateConfig(lost_after=5.0, velocity_decay=1e9)
    motion = BearingMotionModel(config)

    def truth(i: int) -> Floats:
        return turning(i) @ great_circle(start, axis, 0.03 * i)

    for i in range(30):
        if i:
            motion.compensate_rotation(turning(1))
        if recalled and i == 10:
            motion = BearingMotionModel.from_dict(json.loads(json.dumps(motion.to_dict())), config)
        motion.update(START + i * PERIOD, bearing(truth(i)) if i < 10 else None)
    assert angle_between(motion.bearing.direction, truth(29)) < 1e-6
    rate = (truth(30) - truth(28)) / 0.2
    assert np.allclose(np.cross(motion.angular_velocity, motion.bearing.direction), rate, atol=5e-3)


def test_an_ellipse_turns_with_the_camera() -> None:
    covariance = np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    motion = BearingMotionModel(StateConfig(velocity_noise=0.0, lost_after=100.0))
    motion.update(START, Bearing(lonlat_to_vector(0.0, 0.0), covariance, 0.1, 0.1, 0.01))
    motion.compensate_rotation(rotation_matrix([0.0, 0.0, math.pi / 2]))  # a quarter roll: right becomes down
    motion.update(START + PERIOD, None)
    assert np.allclose(motion.bearing.covariance, [[1e-4, -1e-4], [-1e-4, 4e-4]])


def test_the_camera_stands_still_again() -> None:
    """Its turn counts for the time between two updates, whatever the stamps do."""
    motion = BearingMotionModel(CONFIG)
    motion.update(START, bearing(lonlat_to_vector(0, 0)))
    motion.compensate_rotation(turning(3))
    motion.update(START - PERIOD, bearing(turning(3) @ lonlat_to_vector(0, 0)))
    motion.update(START, bearing(turning(3) @ lonlat_to_vector(0, 0)))
    assert np.allclose(motion.angular_velocity, 0, atol=1e-9)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"lost_after": -1.0}, "lost_after must be >= 0"),
        ({"velocity_decay": 0.0}, "velocity_decay must be > 0"),
        ({"appear": 0.2}, "disappear <= appear"),
    ],
)
def test_bad_settings_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StateConfig(**values)


def test_what_others_leave_of_an_object_does_not_change_its_velocity() -> None:
    start, axis = lonlat_to_vector(0.2, 0.0), np.array([0.0, 1.0, 0.0])
    whole, partly = (run(0.5, axis, 6, start) for _ in range(2))
    before = partly.angular_velocity
    aside = bearing(great_circle(start, axis, 0.1 * 5 * 0.5))  # it seems to stand still
    partly.update(START + 6 * PERIOD, aside, whole=False)
    whole.update(START + 6 * PERIOD, aside)
    assert (
        partly.state is TrackState.VISIBLE and angle_between(partly.bearing.direction, aside.direction) < 1e-9
    )
    assert np.allclose(partly.angular_velocity, before, atol=1e-6)
    assert np.linalg.norm(whole.angular_velocity) < 0.7 * np.linalg.norm(before)


def test_a_prediction_follows_what_happened_since_it_was_asked_for() -> None:
    """It is kept for one image, since several rules ask for the same."""
    motion = run(0.5, np.array([0.0, 1.0, 0.0]), 4, np.array([0.0, 0.0, 1.0]))
    soon, later = START + 5 * PERIOD, START + 9 * PERIOD
    first = motion.predict(soon)
    assert first is not None and motion.predict(soon) is first
    after = motion.predict(later)
    assert after is not None and angle_between(after.direction, first.direction) > 0.1
    turn = rotation_matrix([0.0, 0.3, 0.0])
    motion.compensate_rotation(turn)
    turned = motion.predict(later)
    assert turned is not None and angle_between(turned.direction, turn @ after.direction) < 1e-9
    motion.update(later, bearing(np.array([1.0, 0.0, 0.0])))
    seen = motion.predict(later)
    assert seen is not None and angle_between(seen.direction, turned.direction) > 0.1
