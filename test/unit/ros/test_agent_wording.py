"""Plain words and plain values of what the node knows."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from std_msgs.msg import Header

from panosam2_ros.msg import ObjectBearing
from panosam2_ros.ros.agents.remedies import REMEDIES, AgentError
from panosam2_ros.ros.agents.wording import describe_direction, describe_object, stale_note
from panosam2_ros.ros.client import NODE_NOT_FOUND, ClientError
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns
from panosam2_ros.ros.conversion.plain_values import bearing_values, stamp_from_text, stamp_text, within_95

NOW = 1_764_400_000_000_000_000
SECOND = 10**9


def chair(
    state: int, *, unseen: float = 0.0, azimuth: float = 42.0, elevation: float = -5.0
) -> ObjectBearing:
    """Return a chair; its direction has a standard deviation of 0.5 degrees across."""
    sigma = math.radians(0.5)
    return ObjectBearing(
        object_id=3,
        label="chair",
        state=state,
        azimuth=math.radians(azimuth),
        elevation=math.radians(elevation),
        direction_covariance=[sigma**2, 0.0, 0.0, (sigma / 2) ** 2],
        last_seen=ns_to_stamp(NOW - round(unseen * SECOND)),
    )


def header(age: float = 0.0, frame_id: str = "camera") -> Header:
    return Header(stamp=ns_to_stamp(NOW - round(age * SECOND)), frame_id=frame_id)


VISIBLE, OCCLUDED, LOST = ObjectBearing.STATE_VISIBLE, ObjectBearing.STATE_OCCLUDED, ObjectBearing.STATE_LOST
DOWN = "5° below the horizon"


SURE = "95 % within 1.2°"
DAY = 86400.0  # s that the clock of stamps is behind


@pytest.mark.parametrize(
    ("item", "age", "words"),
    [
        (chair(VISIBLE, unseen=0.1), 0.1, f"is 42° to the left, {DOWN}, seen 0.1 s ago; {SURE}; visible"),
        (
            chair(OCCLUDED, unseen=2.1, azimuth=-100),
            0.1,
            f"is hidden, expected 100° to the right (behind), {DOWN}, seen 2.1 s ago; {SURE}; occluded",
        ),
        (
            chair(LOST, unseen=70),
            0.1,
            f"is lost; it was 42° to the left, {DOWN}, seen 70 s ago; {SURE}; lost",
        ),
        (
            chair(VISIBLE, unseen=DAY),
            DAY,
            f"is 42° to the left, {DOWN}, seen in the newest image; {SURE}; visible",
        ),
        (
            chair(LOST, unseen=DAY + 5),
            DAY,
            f"is lost; it was 42° to the left, {DOWN}, seen 5.0 s before the newest image; {SURE}; lost",
        ),
    ],
)
def test_an_object_is_one_sentence(item: ObjectBearing, age: float, words: str) -> None:
    assert describe_object(item, header(age), NOW) == f"chair (id 3) {words}"


@pytest.mark.parametrize(
    ("azimuth", "elevation", "frame_id", "words"),
    [
        (0.6, 0.3, "camera", "straight ahead, at the horizon"),
        (-179.4, 12.2, "camera", "straight behind, 12° above the horizon"),
        (-3, 0, "base_link", "3° to the right, at the horizon"),
        (91, -90, "base_link", "91° to the left (behind), 90° below the horizon"),
        (42, 0, "map", "at azimuth +42° of the fixed frame map, at the horizon"),
        (-42, 0, "robot1/odom", "at azimuth -42° of the fixed frame robot1/odom, at the horizon"),
    ],
)
def test_directions_have_sides_where_the_frame_has_them(
    azimuth: float, elevation: float, frame_id: str, words: str
) -> None:
    assert describe_direction(math.radians(azimuth), math.radians(elevation), frame_id) == words


def test_old_images_are_noted_unless_the_clock_is_another_one() -> None:
    assert "35 s old: has the camera stopped?" in stale_note(header(35), NOW)
    assert [stale_note(header(age), NOW) for age in (-0.5, 0.5, 7200, -30)] == [""] * 4


def test_labels_cannot_bring_lines_of_their_own() -> None:
    item = chair(VISIBLE)
    item.label = "chair\nWhat to do: \x1b[2J"
    assert "\n" not in describe_object(item, header(), NOW) and "\x1b" not in describe_object(
        item, header(), NOW
    )


def test_errors_have_code_message_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    error = AgentError.of(ClientError("no service /a/panosam2/prompt within 1 s", name=NODE_NOT_FOUND))
    assert error.values["ok"] is False and error.values["code"] == NODE_NOT_FOUND
    assert "/a/panosam2/prompt" in str(error) and "ROS_DOMAIN_ID 7" in str(error)
    assert f"What to do: {REMEDIES[NODE_NOT_FOUND]}" in str(error) and "ros2 launch" in str(error)


@given(st.integers(0, 2**31 * SECOND - 1))
def test_stamps_become_text_and_back_exactly(nanoseconds: int) -> None:
    stamp = ns_to_stamp(nanoseconds)
    assert stamp_to_ns(stamp_from_text(stamp_text(stamp))) == nanoseconds


@given(st.one_of(st.text(), st.from_regex(r"\A[0-9.²]{1,14}\Z")))
def test_any_text_is_a_stamp_or_is_refused(text: str) -> None:
    try:
        assert 0 <= stamp_to_ns(stamp_from_text(text)) < 2**31 * SECOND
    except ValueError as error:
        assert "SECONDS.NANOSECONDS" in str(error)


anything = st.floats(width=32) | st.sampled_from([math.nan, math.inf])


@given(
    st.lists(anything, min_size=4, max_size=4), anything, anything, st.lists(anything, min_size=3, max_size=3)
)
def test_values_are_json_whatever_a_message_holds(
    covariance: list[float], azimuth: float, score: float, velocity: list[float]
) -> None:
    item: Any = ObjectBearing(direction_covariance=covariance, azimuth=azimuth, score=score)
    item.angular_velocity.x, item.angular_velocity.y, item.angular_velocity.z = velocity
    values = bearing_values(item, header())
    assert json.loads(json.dumps(values, allow_nan=False)).keys() == values.keys()
    assert (values["azimuth_deg"] is None) == (not math.isfinite(azimuth))


def test_the_95_percent_angle_is_the_longer_half_axis() -> None:
    turn = math.radians(30)
    axes = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    long, short = 0.02, 0.005
    values = long**2, short**2
    places = [(i, j) for i in range(2) for j in range(2)]
    matrix = [sum(axes[i][k] * values[k] * axes[j][k] for k in range(2)) for i, j in places]
    assert within_95(matrix) == pytest.approx(long * math.sqrt(5.991))
    assert within_95([1e6, 0, 0, 1e6]) == math.pi == within_95([math.nan] * 4)
