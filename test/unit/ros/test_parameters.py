"""Parameters: the documented file and the declared ones agree; changes take effect or are refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, fields

import pytest
import yaml

from helpers.process import ROOT

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

import rclpy
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.node import Node
from rclpy.parameter import Parameter

from panosam2_ros.ros.parameter_access import declare_parameters, read_parameters, refusal
from panosam2_ros.ros.parameters import Change, Parameters

CONFIG = ROOT / "config" / "panosam2.yaml"


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = Node("parameters")
    yield node
    node.destroy_node()
    rclpy.shutdown()


def test_the_documented_file_has_every_parameter_with_its_default() -> None:
    documented = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert documented == asdict(Parameters())
    for item in fields(Parameters):
        assert type(documented[item.name]) is type(item.default), item.name


def test_the_file_can_be_given_to_a_node() -> None:
    rclpy.init(args=["--ros-args", "--params-file", str(CONFIG)])
    node = Node("parameters")
    try:
        assert declare_parameters(node) == Parameters()
    finally:
        node.destroy_node()
        rclpy.shutdown()


def test_every_parameter_is_described_and_bounded(node: Node) -> None:
    assert declare_parameters(node) == Parameters() == read_parameters(node)
    for item in fields(Parameters):
        descriptor = node.describe_parameter(item.name)
        assert descriptor.description, item.name
        assert descriptor.read_only == (item.metadata["change"] is Change.START)
        if type(item.default) is int:
            assert descriptor.integer_range, item.name
        if type(item.default) is float:
            assert descriptor.floating_point_range, item.name


@pytest.mark.parametrize(
    "name, value",
    [("max_objects", 0), ("camera_yaw", 4.0), ("history_seconds", -1.0), ("autostart", False)],
)
def test_out_of_range_and_read_only_are_refused(node: Node, name: str, value: object) -> None:
    declare_parameters(node)
    assert not node.set_parameters([Parameter(name, value=value)])[0].successful


def test_a_choice_that_is_none_stops_the_start() -> None:
    rclpy.init(args=["--ros-args", "-p", "image_transport:=theora"])
    node = Node("parameters")
    try:
        with pytest.raises(ValueError, match="one of raw, compressed, got 'theora'"):
            declare_parameters(node)
    finally:
        node.destroy_node()
        rclpy.shutdown()


def test_refusals_name_the_remedy() -> None:
    now = Parameters()
    model = [Parameter("model", value="other.safetensors")]
    assert "deactivate it and clean it up first" in refusal(model, now, configured=True)
    assert refusal(model, now, configured=False) == ""
    assert refusal([Parameter("model", value=now.model)], now, configured=True) == ""
    assert refusal([Parameter("camera_roll", value=math.pi / 2)], now, configured=True) == ""
    wrong = refusal([Parameter("frame_convention", value="ned")], now, configured=False)
    assert "auto, optical, body" in wrong and "'ned'" in wrong
    assert refusal([Parameter("not_ours", value=1)], now, configured=True) == ""


def test_nothing_is_read_that_was_not_declared(node: Node) -> None:
    with pytest.raises(ParameterNotDeclaredException):
        read_parameters(node)
