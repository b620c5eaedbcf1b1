"""Parameters: the documented file and the declared ones agree; changes take effect or are refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml

from helpers.process import ROOT

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

import rclpy
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.node import Node
from rclpy.parameter import Parameter

from panosam2_ros.ros.lifecycle_node import SteadyLifecycleNode
from panosam2_ros.ros.parameter_access import (
    ParameterError,
    declare_parameters,
    no_such_parameters,
    read_parameters,
    refusal,
    unknown_parameters,
)
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
        with pytest.raises(ValueError, match="one of raw, compressed, ffmpeg, foxglove, got 'theora'"):
            declare_parameters(node)
    finally:
        node.destroy_node()
        rclpy.shutdown()


def started(*arguments: str) -> tuple[Parameters, str]:
    """Return the parameters of a node started with these arguments, and what it says of unknown ones."""
    rclpy.init(args=["--ros-args", *arguments])
    node = Node("parameters")
    try:
        return declare_parameters(node), unknown_parameters(node)
    finally:
        node.destroy_node()
        rclpy.shutdown()


@pytest.mark.faults
def test_an_integer_for_a_number_is_taken_as_one(tmp_path: Path) -> None:
    assert started("-p", "lost_after:=7")[0].lost_after == 7.0
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"lost_after": 7, "max_objects": 5}}}))
    found = started("--params-file", str(file))[0]
    assert (found.lost_after, found.max_objects) == (7.0, 5) and type(found.lost_after) is float


@pytest.mark.faults
def test_an_integer_for_a_number_is_taken_at_run_time_too() -> None:
    rclpy.init()
    node = SteadyLifecycleNode("parameters")
    try:
        declare_parameters(node)
        assert node.set_parameters_atomically([Parameter("lost_after", value=7)]).successful
        value = node.get_parameter("lost_after").value
        assert value == 7.0 and type(value) is float
        assert not node.set_parameters_atomically([Parameter("lost_after", value=99999)]).successful
        assert not node.set_parameters_atomically([Parameter("lost_after", value=True)]).successful
        assert not node.set_parameters_atomically([Parameter("max_objects", value=3.0)]).successful
        refused = node.set_parameters_atomically([Parameter("lost_aftr", value=3.0)])
        assert not refused.successful and "did you mean lost_after?" in refused.reason
    finally:
        node.destroy_node()
        rclpy.shutdown()


@pytest.mark.parametrize(
    "given, reason",
    [
        ("model:=5", r"model needs a string, got 5 \(int\); quote it: \"'5'\""),
        ("lost_after:=soon", r"lost_after needs a number, got 'soon' \(str\)$"),
        ("max_objects:=0", "max_objects needs a value from 1 to 65535, got 0"),
        ("lost_after:=99999", "lost_after needs a value from 0 to 3600, got 99999"),
        ("autostart:=7", "autostart needs true or false, got 7"),
        ("max_objects:=[1, 2]", "max_objects needs an integer, got"),
    ],
)
def test_what_cannot_be_used_is_explained(given: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        started("-p", given)


@pytest.mark.faults
def test_parameters_that_do_not_exist_are_named_with_the_nearest() -> None:
    assert started("-p", "lost_after:=3.0", "-p", "use_sim_time:=true")[1] == ""
    assert started("-p", "qos_overrides./masks.publisher.depth:=3")[1] == ""
    said = started("-p", "lost_afterr:=3.0", "-p", "modle:=x", "-p", "zzzz:=1")[1]
    assert "'lost_afterr' (did you mean lost_after?)" in said and "'modle' (did you mean model?)" in said
    assert "'zzzz'" in said and "'zzzz' (" not in said
    many = no_such_parameters([f"{i}" + 200 * "x" for i in range(1000)], ["model"])
    assert "990 more" in many and len(many) < 1500


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
