"""examples/face_object.py: its controller on a simulated base, and its answer to every kind of bearing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from examples.face_object import PERIOD, ObjectFollower, Settings, TurnController, wrapped
from panosam2_ros.demo.turning_base import TurningBase, TurnLimits
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.conversion.messages import ns_to_stamp

OWN = Settings(object_id=3)
AHEAD = math.radians(5)
NOW = 1_700_000_000.0


def turned_to(start: float, speed: float, rate: float, latency: float, noise: list[float]) -> list[float]:
    """Return the errors, rad, every 50 ms of 25 s; checks the limits of every command on the way.

    ``start``: the object's azimuth; it moves at ``speed`` rad/s, is seen at ``rate`` Hz, ``latency`` s late.
    """
    controller = TurnController(OWN)
    base = TurningBase(TurnLimits(rate=1.5, acceleration=2.5), now=0.0)
    seen, errors, before, images = [(0.0, start)], [], 0.0, 1
    for tick in range(500):
        now = tick * PERIOD
        base.advance(now)
        error = wrapped(start + speed * now - base.yaw)
        errors.append(error)
        if now >= images / rate:
            seen.append((now, error + noise[images % len(noise)]))
            images += 1
        known = [(stamp, azimuth) for stamp, azimuth in seen if stamp + latency <= now]
        wanted = None
        if known:
            stamp, azimuth = known[-1]
            wanted = wrapped(azimuth - controller.turned_since(stamp, now))
        command = controller.step(wanted, now)
        assert abs(command) <= OWN.max_rate + 1e-9
        assert abs(command - before) <= OWN.max_acceleration * PERIOD + 1e-9
        before = command
        base.command(command, now)
    return errors


@settings(deadline=None, max_examples=40)
@given(
    start=st.floats(-math.pi, math.pi),
    speed=st.floats(-0.05, 0.05),
    rate=st.floats(3, 15),
    latency=st.floats(0.0, 0.6),
    noise=st.lists(st.floats(-0.01, 0.01), min_size=1, max_size=20),
)
def test_any_object_gets_ahead_and_stays_there(start, speed, rate, latency, noise):
    errors = turned_to(start, speed, rate, latency, noise)
    assert max(map(abs, errors[300:])) < AHEAD
    settled = next(i for i in range(len(errors)) if max(map(abs, errors[i:])) < AHEAD)
    assert settled * PERIOD < 12.0


def test_it_takes_the_shorter_way_and_does_not_hesitate_behind():
    flip = [0.02, -0.02]  # straight behind, the bearing's sign changes from image to image
    errors = turned_to(math.pi - 0.005, 0.0, 6.0, 0.2, flip)
    travelled = sum(abs(wrapped(b - a)) for a, b in pairwise(errors))
    assert travelled < math.pi + 0.3
    left = turned_to(math.radians(150), 0.0, 6.0, 0.2, [0.0])
    assert min(left) > -math.radians(3) and max(left) <= math.radians(150)  # no detour, hardly an overshoot


def test_without_knowing_its_own_turn_late_images_would_make_it_swing(monkeypatch):
    late = {"start": 2.6, "speed": 0.0, "rate": 6.0, "latency": 0.6, "noise": [0.0]}
    assert min(turned_to(**late)) > -AHEAD
    monkeypatch.setattr(TurnController, "turned_since", lambda *_: 0.0)
    assert min(turned_to(**late)) < -AHEAD


def bearing(
    state: int = ObjectBearing.STATE_VISIBLE, unseen: float = 0.0, **more: float
) -> ObjectBearingArray:
    """Return a message of an image 0.2 s old, with object 3, last seen ``unseen`` s before that image."""
    item = ObjectBearing(object_id=3, state=state, azimuth=0.5)
    item.last_seen = ns_to_stamp(round((NOW - 0.2 - unseen) * 1e9))
    for name, value in more.items():
        setattr(item, name, value)
    message = ObjectBearingArray(epoch=7, objects=[ObjectBearing(object_id=1), item])
    message.header.stamp = ns_to_stamp(round((NOW - 0.2) * 1e9))
    return message


def follower(message: ObjectBearingArray | None) -> ObjectFollower:
    own = ObjectFollower(OWN, lambda _, item: item.azimuth)
    if message is not None:
        assert own.update(message)
    return own


@pytest.mark.parametrize(
    ("message", "now", "why"),
    [
        (None, NOW, "no bearings yet"),
        (bearing(), NOW + 1.0, "older than 1 s"),
        (bearing(), NOW - 2.0, "from the future"),
        (bearing(object_id=4), NOW, "object 3 is not known"),
        (bearing(ObjectBearing.STATE_OCCLUDED, unseen=2.5), NOW, "occluded for too long"),
        (bearing(ObjectBearing.STATE_LOST), NOW, "lost"),
        (bearing(ObjectBearing.STATE_UNKNOWN), NOW, "lost"),
        (bearing(elevation=1.5), NOW, "straight above or below"),
        (bearing(azimuth=math.nan), NOW, "not a number"),
    ],
)
def test_it_rests_and_says_why(message, now, why):
    azimuth, _, said = follower(message).azimuth(now)
    assert azimuth is None
    assert said.startswith("resting: ") and why in said


def test_it_follows_what_is_visible_and_for_a_while_what_is_predicted():
    for message in (bearing(), bearing(ObjectBearing.STATE_OCCLUDED, unseen=1.5)):
        azimuth, stamp, said = follower(message).azimuth(NOW)
        assert azimuth == 0.5 and stamp == pytest.approx(NOW - 0.2) and said == "following"


def test_a_missing_transform_is_a_reason_to_rest():
    def unknown(header, item):
        raise LookupError("no transform from 'camera' to 'base_link'")

    own = ObjectFollower(OWN, unknown)
    own.update(bearing())
    assert own.azimuth(NOW)[2] == "resting: no transform from 'camera' to 'base_link'"


def test_a_new_epoch_is_noticed():
    own, message = follower(bearing()), bearing()
    message.epoch = 8
    assert not own.update(message)


def test_it_comes_to_rest_within_the_time_that_it_states():
    controller, now = TurnController(OWN), 0.0
    while controller.rate < OWN.max_rate:
        controller.step(2.0, now)
        now += PERIOD
    began = now
    while controller.rate:
        controller.step(None, now)
        now += PERIOD
    assert now - began <= OWN.max_rate / OWN.max_acceleration + 2 * PERIOD


def test_turned_since_counts_each_command_for_its_own_time():
    controller = TurnController(replace(OWN, max_acceleration=100.0, gain=1e3))
    for tick in range(10):
        controller.step(1.0, tick * 0.1)
    assert controller.turned_since(0.35, 1.0) == pytest.approx(0.65 * OWN.max_rate)
    assert controller.turned_since(-5.0, 1.0) == pytest.approx(OWN.max_rate)  # nothing before the first
    assert controller.turned_since(1.0, 1.0) == 0.0
