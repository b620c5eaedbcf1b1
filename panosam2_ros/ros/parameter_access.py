"""Declare the node's parameters, read them, and judge changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from panosam2_ros.ros.parameters import Change, Parameters


def declare_parameters(node: Node) -> Parameters:
    """Declare all parameters on the node; raise where an override has a wrong type or is out of range."""
    for item in fields(Parameters):
        node.declare_parameter(item.name, item.default, _descriptor(item))
    parameters = read_parameters(node)
    for item in fields(Parameters):
        wrong = _not_a_choice(item, getattr(parameters, item.name))
        if wrong:
            raise ValueError(wrong)
    return parameters


def read_parameters(node: Node) -> Parameters:
    """Return the values that are set now."""
    names = [item.name for item in fields(Parameters)]
    return Parameters(**{name: node.get_parameter(name).value for name in names})


def refusal(changes: Sequence[Parameter], current: Parameters, *, configured: bool) -> str:
    """Return why these changes cannot be made, with the remedy; empty where they can."""
    known = {item.name: item for item in fields(Parameters)}
    for change in changes:
        item = known.get(change.name)
        if item is None or change.value == getattr(current, change.name):
            continue
        wrong = _not_a_choice(item, change.value)
        if wrong:
            return wrong
        if item.metadata["change"] is Change.UNCONFIGURED and configured:
            return (
                f"{change.name} {Change.UNCONFIGURED.value}: deactivate it and clean it up first "
                "(lifecycle), or set it at start"
            )
    return ""


def _not_a_choice(item: Field[Any], value: Any) -> str:
    choices = item.metadata["choices"]
    if not choices or value in choices:
        return ""
    return f"{item.name} must be one of {', '.join(choices)}, got {value!r}"


def _descriptor(item: Field[Any]) -> ParameterDescriptor:
    change, span = item.metadata["change"], item.metadata["span"]
    descriptor = ParameterDescriptor(
        name=item.name,
        description=f"{item.metadata['description']} ({change.value})",
        additional_constraints=", ".join(item.metadata["choices"]),
        read_only=change is Change.START,
    )
    if span and isinstance(item.default, int):
        descriptor.integer_range = [IntegerRange(from_value=span[0], to_value=span[1], step=1)]
    elif span:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(span[0]), to_value=float(span[1]))
        ]
    return descriptor
