"""Declare the node's parameters, read them, and judge changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from panosam2_ros.ros.parameters import Change, Parameters

_Settings = TypeVar("_Settings")
_NAMED = 10  # unknown parameters that are named
_IN_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


class ParameterError(ValueError):
    """A parameter that was given at the start and cannot be used; the message names what is needed."""


def declare_parameters(node: Node) -> Parameters:
    """Declare all parameters on the node; raise ParameterError where an override cannot be used."""
    return declare_settings(node, Parameters)


def declare_settings(node: Node, kind: type[_Settings]) -> _Settings:
    """Declare the parameters that the fields of ``kind`` describe, as ``declare_parameters`` does."""
    described: tuple[Field[Any], ...] = fields(kind)  # type: ignore[arg-type]
    for item in described:
        declare_parameter(node, item.name, item.default, _descriptor(item))
    settings = kind(**{item.name: node.get_parameter(item.name).value for item in described})
    for item in described:
        wrong = _not_a_choice(item, getattr(settings, item.name))
        if wrong:
            raise ParameterError(wrong)
    return settings


def declare_parameter(node: Node, name: str, default: Any, descriptor: ParameterDescriptor) -> None:
    """Declare a parameter, and take an integer that was given for a number as one.

    Raise ParameterError for an override of another type or out of range.
    """
    # rclpy refuses the integer (rclcpp#979), and has no public way to what files and command line give
    given = node._parameter_overrides
    if name in given:
        given[name] = as_number(given[name], default)
    try:
        node.declare_parameter(name, default, descriptor)
    except InvalidParameterTypeException as error:
        value = given[name].value
        quoted = (
            f"; quote it: \"'{value}'\"" if isinstance(default, str) and not isinstance(value, list) else ""
        )
        raise ParameterError(
            f"parameter {name} needs {_IN_WORDS.get(type(default), 'a list')}, got {_brief(value)} "
            f"({type(value).__name__}){quoted}"
        ) from error
    except InvalidParameterValueException as error:
        raise ParameterError(
            f"parameter {name} needs a value {_range(descriptor)}, got {_brief(given[name].value)}"
        ) from error


def as_number(parameter: Parameter, like: Any) -> Parameter:
    """Return an integer parameter as a number where ``like``, its value so far, is one; others unchanged."""
    if parameter.type_ == Parameter.Type.INTEGER and isinstance(like, float):
        return Parameter(parameter.name, Parameter.Type.DOUBLE, float(parameter.value))
    of_numbers = isinstance(like, list | tuple) and like and all(isinstance(each, float) for each in like)
    if parameter.type_ == Parameter.Type.INTEGER_ARRAY and of_numbers:
        return Parameter(parameter.name, Parameter.Type.DOUBLE_ARRAY, [float(x) for x in parameter.value])
    return parameter


def unknown_parameters(node: Node) -> str:
    """Return which parameters were given and are none of the node's, with the nearest; empty: none.

    For use when all have been declared. ``qos_overrides`` are left out: topics declare them later.
    """
    known = [name for name in node._parameters if not name.startswith("qos_overrides.")]
    unknown = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    return no_such_parameters([name for name in unknown if not name.startswith("qos_overrides.")], known)


def is_given(node: Node, name: str) -> bool:
    """Tell whether a parameter was given at start, in a file or an argument."""
    return name in node._parameter_overrides


def no_such_parameters(names: Sequence[str], known: Iterable[str]) -> str:
    """Describe parameters that do not exist, with the nearest that do; empty where there are no names."""
    if not names:
        return ""
    known = list(known)
    described = []
    for name in names[:_NAMED]:
        nearest = get_close_matches(name, known, 1)
        described.append(_brief(name) + (f" (did you mean {nearest[0]}?)" if nearest else ""))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"no such parameter, without effect: {', '.join(described)}{more}; `ros2 param list` shows all"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _range(descriptor: ParameterDescriptor) -> str:
    spans: list[Any] = [*descriptor.integer_range, *descriptor.floating_point_range]
    return " and ".join(f"from {span.from_value:g} to {span.to_value:g}" for span in spans)


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
