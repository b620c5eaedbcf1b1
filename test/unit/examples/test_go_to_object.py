"""examples/go_to_object.py: where a robot is to stand before an object, and which objects are refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from geometry_msgs.msg import PoseWithCovariance

from examples.go_to_object import GoalError, check_deviation, direction_of, goal_before, place_of
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray

metres = st.floats(-50, 50)


@given(st.tuples(metres, metres, metres), st.tuples(metres, metres, metres), st.floats(0.1, 5.0))
def test_the_goal_faces_the_object_from_the_stand_off_on_the_robots_side(robot, place, stand_off):
    own, there = np.array(robot[:2]), np.array(place[:2])
    distance = np.hypot(*(there - own))
    if distance <= 1e-3:
        with pytest.raises(GoalError, match="no direction"):
            goal_before(robot, place, stand_off)
        return
    goal = goal_before(robot, place, stand_off)
    at = np.array([goal.x, goal.y])
    assert np.hypot(*(there - at)) == pytest.approx(min(stand_off, distance), abs=1e-6)
    assert np.hypot(*(at - own)) + np.hypot(*(there - at)) == pytest.approx(distance, abs=1e-6)  # on the line
    ahead = np.array([math.cos(goal.yaw), math.sin(goal.yaw)])
    assert ahead @ (there - own) == pytest.approx(distance, abs=1e-6)


def test_a_place_that_is_not_a_number_is_refused():
    with pytest.raises(GoalError):
        goal_before([0.0, 0.0], [math.nan, 1.0], 1.0)


def test_places_are_refused_by_their_worst_level_direction():
    turn = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    covariance = turn @ np.diag([0.01, 0.16, 100.0]) @ turn.T  # 0.4 m across, 10 m of height
    check_deviation(covariance, 0.41)
    with pytest.raises(GoalError, match=r"deviation 0\.40 m, wanted 0\.39 m"):
        check_deviation(covariance, 0.39)
    for nothing in (np.zeros((3, 3)), np.full((3, 3), np.nan), -np.eye(3)):
        with pytest.raises(GoalError, match="unknown"):
            check_deviation(nothing, 1.0)


def test_the_place_is_that_of_the_object_with_its_covariance():
    pose = PoseWithCovariance()
    pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = 1.0, 2.0, 3.0
    whole = np.arange(36, dtype=float)
    pose.covariance = whole
    known = SimpleNamespace(id="3", results=[SimpleNamespace(pose=pose)])
    message = SimpleNamespace(detections=[SimpleNamespace(id="2", results=[]), known])
    position, covariance = place_of(message, 3)
    assert position.tolist() == [1.0, 2.0, 3.0]
    assert covariance.tolist() == [[0, 1, 2], [6, 7, 8], [12, 13, 14]]
    for other in (2, 4):
        with pytest.raises(GoalError, match=f"object {other} has no place"):
            place_of(message, other)


def test_directions_are_those_of_visible_objects():
    seen = ObjectBearing(object_id=3, state=ObjectBearing.STATE_VISIBLE)
    seen.direction.x = 1.0
    hidden = ObjectBearing(object_id=4, state=ObjectBearing.STATE_OCCLUDED)
    message = ObjectBearingArray(objects=[seen, hidden])
    assert direction_of(message, 3).tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(GoalError, match="4 is not visible"):
        direction_of(message, 4)
    with pytest.raises(GoalError, match="5 is not known"):
        direction_of(message, 5)
