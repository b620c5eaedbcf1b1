"""What a layout of Foxglove names: topics with their types, fields of messages, services and requests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.srv import PromptObjects

_PATH = re.compile(r"(?P<topic>/[\w/]+)(?P<fields>[^@]*)(?:\.@\w+)?")
_STEP = re.compile(r"\.(?P<name>\w+)(?P<slice>\[:\])?(?:\{(?P<key>\w+)==\d+\})?")


class Used(NamedTuple):
    """A topic or service of a layout."""

    name: str
    kind: str  # ROS type
    direction: Literal["shown", "sent", "called"]


def panels(layout: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Type and settings of every panel that the layout places."""
    for panel_id in placed(layout["layout"]):
        yield panel_id.split("!")[0], layout["configById"][panel_id]


def placed(node: Any) -> list[str]:
    """Panels in a tree of splits."""
    return [node] if isinstance(node, str) else [*placed(node["first"]), *placed(node["second"])]


def used(layout: dict[str, Any]) -> Iterator[Used]:
    """Every topic and service of a layout, with the type that its panel takes, as Foxglove documents it."""
    bearings = "panosam2_ros/msg/ObjectBearingArray"
    for kind, settings in panels(layout):
        if kind == "Image":
            yield Used(settings["imageMode"]["imageTopic"], "sensor_msgs/msg/CompressedImage", "shown")
        elif kind == "3D":
            cloud, markers = settings["topics"]
            yield Used(cloud, "sensor_msgs/msg/PointCloud2", "shown")
            yield Used(markers, "visualization_msgs/msg/MarkerArray", "shown")
            yield Used(settings["publish"]["pointTopic"], "geometry_msgs/msg/PointStamped", "sent")
        elif kind == "DiagnosticSummary":
            yield Used(settings["topicToRender"], "diagnostic_msgs/msg/DiagnosticArray", "shown")
        elif kind == "CallService":
            reset = settings["requestPayload"] == "{}"
            name = "std_srvs/srv/Trigger" if reset else "panosam2_ros/srv/PromptObjects"
            yield Used(settings["serviceName"], name, "called")
        else:
            for path in message_paths(settings):
                yield Used(_PATH.fullmatch(path)["topic"], bearings, "shown")  # type: ignore[index]


def message_paths(settings: dict[str, Any]) -> list[str]:
    """The message paths of a plot, a table or state transitions."""
    return [settings["topicPath"]] if "topicPath" in settings else [p["value"] for p in settings["paths"]]


def shown_field(path: str) -> str:
    """ROS type of the field that a path of ``ObjectBearingArray`` shows; KeyError for one there is not."""
    from rosidl_parser.definition import AbstractSequence

    kind: Any = ObjectBearingArray
    rest = _PATH.fullmatch(path)["fields"]  # type: ignore[index]
    for step in _STEP.finditer(rest):
        name = kind.get_fields_and_field_types()[step["name"]]
        place = list(kind.get_fields_and_field_types()).index(step["name"])
        is_array = isinstance(kind.SLOT_TYPES[place], AbstractSequence)
        if is_array:
            kind = message_class(name.removeprefix("sequence<").removesuffix(">"))
            assert step["key"] is None or step["key"] in kind.get_fields_and_field_types()
        assert is_array or not step["slice"], path
    assert "".join(step[0] for step in _STEP.finditer(rest)) == rest, path
    return str(name)


def message_class(name: str) -> Any:
    """Class of a message's type, such as ``panosam2_ros/ObjectBearing``."""
    from importlib import import_module

    package, _, message = name.partition("/")
    return getattr(import_module(f"{package}.msg"), message)


def filled_request(payload: str) -> PromptObjects.Request:
    """The request of a JSON text, as the bridge makes it; AttributeError for a field there is not."""
    request = PromptObjects.Request()
    _fill(request, json.loads(payload))
    return request


def _fill(message: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, list):
            kind = message.get_fields_and_field_types()[name].removeprefix("sequence<").removesuffix(">")
            items = [message_class(kind)() for _ in value]
            for item, of_item in zip(items, value, strict=True):
                _fill(item, of_item)
            setattr(message, name, items)
        else:
            assert hasattr(message, name), name
            setattr(message, name, type(getattr(message, name))(value))


def misfit(value: Any, hint: Any, where: str = "") -> str:
    """Where a setting has a name or value that the type of foxglove-sdk does not have; empty: nowhere."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return ""
    if origin in (Union, UnionType):
        found = [misfit(value, option, where) for option in inner]
        return "" if "" in found else max(found, key=len)
    if origin is Literal:
        return "" if value in inner else f"{where} must be one of {inner}, got {value!r}"
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            return f"{where} must be an object"
        hints = get_type_hints(hint)
        known = {_camel(field.name): hints[field.name] for field in fields(hint)} | {"layerId": str}
        wrong = [f"{where}.{key} is unknown" for key in value.keys() - known.keys()]
        return next(iter([*wrong, *filter(None, (misfit(v, known[k], f"{where}.{k}") for k, v in value.items()
            if k in known))]), "")  # fmt: skip
    if origin in (list, tuple, dict):
        values = value.values() if isinstance(value, dict) else value
        kinds = [inner[-1]] * len(values) if origin in (list, dict) else inner
        if len(kinds) != len(values):
            return f"{where} needs {len(inner)} values"
        return next(filter(None, map(misfit, values, kinds, [where] * len(kinds))), "")
    numbers = (int, float) if hint is float else hint
    return "" if isinstance(value, numbers) else f"{where} must be {hint}, got {value!r}"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
