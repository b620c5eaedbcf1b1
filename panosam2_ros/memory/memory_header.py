"""The header of a memory file: one schema, which every file is checked against before it is used.

A file may pass its checksum and still be of a program that writes other fields. What JSON Schema cannot say,
such as the length of a direction, is checked beside it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import numpy as np

from panosam2_ros.io.printable import printable

FORMATS = (2, 3)  # that can be read; the last one is written
MAX_OBJ_ID = 65535  # the largest value of a mono16 label image
MAX_LABEL_LENGTH = 1000  # characters, of any object's label
_TOLERANCE = 1e-3  # of unit vectors and rotations
_Schema = dict[str, Any]


class MemoryFileError(ValueError):
    """A memory file that cannot be used; the message names the reason and the remedy."""


def _integer(low: int, high: int) -> _Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _number(low: float, high: float) -> _Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def _positive(high: float) -> _Schema:
    return {"type": "number", "exclusiveMinimum": 0, "maximum": high}


def _array(count: int, item: _Schema) -> _Schema:
    return {"type": "array", "minItems": count, "maxItems": count, "items": item}


def _or_null(schema: _Schema) -> _Schema:
    return schema | {"type": ["null", schema["type"]]}


def _fields(required: dict[str, _Schema], optional: dict[str, _Schema] | None = None) -> _Schema:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


_STAMP = _integer(-(2**31) * 10**9, 2**31 * 10**9 - 1)  # ns; seconds are int32 in messages
_WHOLE = _integer(0, 2**62)
_VECTOR = _array(3, _number(-1.01, 1.01))
_BEARING = _fields({
    "direction": _VECTOR,
    "covariance": _array(2, _array(2, _number(-100, 100))),
    "extent_horizontal": _number(0, 7),
    "extent_vertical": _number(0, 7),
    "solid_angle": _number(0, 13),
})  # fmt: skip
_MOTION = _fields({
    "stamp": _or_null(_STAMP),
    "unseen": _WHOLE,
    "state": _integer(1, 3),
    "last_seen": _STAMP,
    "bearing": _BEARING,
    "seen": _or_null(_BEARING),
    "angular_velocity": _array(3, _or_null(_number(-1000, 1000))),
})  # fmt: skip
_REGION = _fields({
    "axes": _array(3, _VECTOR), "diameter": _positive(7), "longest": _positive(7), "unseen": _WHOLE,
})  # fmt: skip
_OBJECT = _fields(
    {
        "obj_id": _integer(1, MAX_OBJ_ID),
        "label": {"type": "string", "maxLength": MAX_LABEL_LENGTH},
        "motion": _MOTION,
    },
    {"view": _or_null(_REGION), "last_view": _or_null(_REGION)},
)
SCHEMA = _fields(
    {
        "format": {"type": "integer", "enum": list(FORMATS)},
        "network": {"type": "object"},  # both are compared with the node's own
        "rules": {"type": "object", "additionalProperties": {"type": ["number", "boolean"]}},
        "epoch": _integer(0, 2**31),
        "next_id": _integer(1, MAX_OBJ_ID + 1),
        "objects": {"type": "array", "items": _OBJECT},
    },
    {"final": {"type": "boolean"}, "first_column": _array(2, _integer(0, 2**31))},
)


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(
        value, bool
    )  # JSON Schema takes 1.0 as one, ROS does not


_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft7Validator,
    type_checker=jsonschema.Draft7Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def parse_header(text: str) -> dict[str, Any]:
    """Return the header of a memory file; raise MemoryFileError, naming the field, for a wrong one."""
    try:
        header = json.loads(text, parse_constant=_not_a_number)
    except (ValueError, RecursionError) as error:
        raise MemoryFileError(f"the header is no JSON: {printable(str(error))}") from error
    wrong = next(_Validator(SCHEMA).iter_errors(header), None)
    if wrong is not None:
        value = repr(wrong.instance)  # with which most messages begin
        reason = wrong.message.replace(value, printable(value, most=60))
        raise MemoryFileError(f"{_place(wrong.absolute_path)}: {printable(reason, most=300)}")
    for i, item in enumerate(header["objects"]):
        _check_object(f"objects[{i}]", item)
    return dict(header)


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _place(path: Any) -> str:
    """Return the path to a field as one writes it in Python."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{printable(str(part), most=50)}" for part in path)
    return "".join(parts).lstrip(".") or "the header"


def _check_object(place: str, item: dict[str, Any]) -> None:
    """Raise MemoryFileError for text that no message can carry, and for directions that are none."""
    try:
        item["label"].encode()
    except UnicodeEncodeError as error:
        raise MemoryFileError(f"{place}.label is no Unicode text: {error.reason}") from error
    for name in ("bearing", "seen"):
        if item["motion"][name] is not None:
            _check_bearing(f"{place}.motion.{name}", item["motion"][name])
    for name in ("view", "last_view"):
        if item.get(name) is not None:
            axes = np.array(item[name]["axes"], float)
            if not np.allclose(axes @ axes.T, np.eye(3), atol=_TOLERANCE) or np.linalg.det(axes) < 0:
                raise MemoryFileError(f"{place}.{name}.axes is no rotation: {axes.tolist()}")


def _check_bearing(place: str, bearing: dict[str, Any]) -> None:
    length = math.hypot(*bearing["direction"])
    if abs(length - 1) > _TOLERANCE:
        raise MemoryFileError(f"{place}.direction has the length {length:g}, needed is 1")
    covariance = np.array(bearing["covariance"], float)
    if (
        not np.allclose(covariance, covariance.T, atol=_TOLERANCE)
        or np.linalg.eigvalsh(covariance)[0] < -1e-6
    ):
        raise MemoryFileError(f"{place}.covariance is none: {covariance.tolist()}")
