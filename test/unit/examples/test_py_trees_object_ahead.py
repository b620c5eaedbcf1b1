"""The leaf of examples/py_trees_object_ahead.py, ticked by py_trees inside a tree."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")
pytest.importorskip("py_trees", reason='needs py_trees: make, or pip install "panosam2_ros[bt]"')

import py_trees
from py_trees.common import Status

from examples.py_trees_object_ahead import ObjectAhead, Patience
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.conversion.messages import ns_to_stamp

PATIENCE = Patience(tolerance=0.1, hold=1.0, occluded_for=3.0, silence=2.0, timeout=30.0)


class Robot:
    """Stands for a node: a clock that is set, and the callback of the one subscription."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.leaf = ObjectAhead(3, PATIENCE)
        waiting = py_trees.decorators.Inverter(name="not yet", child=self.leaf)
        self.tree = py_trees.trees.BehaviourTree(root=waiting)
        self.tree.setup(node=self)

    def create_subscription(self, kind: Any, topic: str, callback: Any, depth: int) -> object:
        assert (kind, topic) == (ObjectBearingArray, "panosam2/bearings")
        self._callback = callback
        return object()

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=round(self.now * 1e9)))

    def hears(
        self, azimuth: float = 0.0, state: int = ObjectBearing.STATE_VISIBLE, unseen: float = 0.0
    ) -> None:
        item = ObjectBearing(object_id=3, azimuth=azimuth, state=state)
        item.last_seen = ns_to_stamp(round((self.now - unseen) * 1e9))
        message = ObjectBearingArray(objects=[item])
        message.header.stamp = ns_to_stamp(round(self.now * 1e9))
        self._callback(message)

    def ticks(self, after: float = 0.0) -> Status:
        self.now += after
        self.tree.tick()
        return self.leaf.status


@pytest.fixture
def robot() -> Robot:
    started = Robot()
    assert started.ticks() is Status.RUNNING  # nothing has come yet
    return started


def test_it_succeeds_when_the_object_was_ahead_for_long_enough(robot):
    robot.hears(0.05)
    assert robot.ticks(0.1) is Status.RUNNING
    robot.hears(-0.09)
    assert robot.ticks(0.9) is Status.RUNNING
    robot.hears(0.2)  # it was away in between: the time begins anew
    assert robot.ticks(0.1) is Status.RUNNING and "degrees off" in robot.leaf.feedback_message
    robot.hears(0.0)
    assert robot.ticks(0.1) is Status.RUNNING
    robot.hears(0.0)
    assert robot.ticks(1.01) is Status.SUCCESS
    assert robot.tree.root.status is Status.FAILURE  # the inverter above has seen it


@pytest.mark.parametrize("state", [ObjectBearing.STATE_LOST, ObjectBearing.STATE_UNKNOWN])
def test_it_fails_for_a_lost_object(robot, state):
    robot.hears(state=state)
    assert robot.ticks(0.1) is Status.FAILURE and robot.leaf.feedback_message == "lost"


def test_it_waits_for_an_occluded_object_for_a_while(robot):
    robot.hears(0.0)
    robot.ticks(0.1)
    robot.hears(0.0, ObjectBearing.STATE_OCCLUDED, unseen=2.9)
    assert robot.ticks(1.1) is Status.RUNNING  # a prediction straight ahead is no success
    robot.hears(0.0, ObjectBearing.STATE_OCCLUDED, unseen=3.1)
    assert robot.ticks(0.1) is Status.FAILURE and "occluded for 3.1 s" in robot.leaf.feedback_message


def test_it_fails_for_an_id_that_is_not_known(robot):
    robot._callback(ObjectBearingArray())
    assert robot.ticks(0.1) is Status.FAILURE and "object 3 is not known" in robot.leaf.feedback_message


def test_silence_and_time_end_it(robot):
    assert robot.ticks(2.1) is Status.FAILURE and "no bearings for 2 s" in robot.leaf.feedback_message
    assert robot.ticks(0.1) is Status.RUNNING  # ticked again it begins anew
    for _ in range(31):
        robot.hears(1.0)
        status = robot.ticks(1.0)
    assert status is Status.FAILURE and "not ahead within 30 s" in robot.leaf.feedback_message
