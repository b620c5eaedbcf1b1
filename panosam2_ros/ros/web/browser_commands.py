"""What a browser may ask of the tracking node: JSON in, calls of its services, JSON out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from panosam2_ros.io.printable import printable
from panosam2_ros.msg import ObjectPrompt, PromptPoint
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.conversion.plain_values import bearing_values, image_values, stamp_from_text
from panosam2_ros.ros.pointing import point_prompt
from panosam2_ros.visualization.drawing import colour

MOST_POINTS_OF_A_PAGE = 100
_LARGEST_ID = 65535
_LARGEST_PIXEL = 1e6

Values = dict[str, Any]


class CommandError(ValueError):
    """A command that no page of this node sends; the message says what was needed and what came."""


def read_command(text: str) -> Values:
    """Read a command; raise CommandError where it is no JSON object with a call, and a number as id."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"a command is JSON: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("call"), str):
        raise CommandError("a command is a JSON object with a call")
    number = values.setdefault("id", 0)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
        raise CommandError("the id of a command is an integer that JavaScript can hold")
    return values


def refused_values(command: Values, name: str, message: str, code: int | None = None) -> Values:
    """Return the answer to a command that had no effect."""
    answer = {"type": "answer", "id": command.get("id", 0), "ok": False, "name": name, "message": message}
    return answer | {"code": code}


class BrowserCommands:
    """Carries commands out, in the thread that calls ``answer``, which waits for the node's services."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._calls: dict[str, Callable[[Values], Values]] = {
            "prompt": self._prompt,
            "remove": self._remove,
            "reset": self._reset,
            "save": self._save,
            "load": self._load,
            "objects": self._objects,
        }

    def answer(self, command: Values) -> Values:
        """Carry a command out; return the answer, also where it is refused."""
        call = self._calls.get(command["call"])
        if call is None:
            known = ", ".join(self._calls)
            return refused_values(
                command, "INVALID", f"calls are {known}; got {printable(command['call'], most=40)}"
            )
        try:
            return {"type": "answer", "id": command["id"], "ok": True, **call(command)}
        except CommandError as error:
            return refused_values(command, "INVALID", str(error))
        except ClientError as error:
            return refused_values(command, error.name, str(error), error.code)
        except Exception as error:  # such as a node whose messages are of another version
            return refused_values(command, "INTERNAL", printable(f"{type(error).__name__}: {error}"))

    def _prompt(self, command: Values) -> Values:
        prompt = prompt_of(command)
        stamp = command.get("stamp")
        try:
            at = stamp_from_text(_text(command, "stamp")) if stamp is not None else None
        except ValueError as error:
            raise CommandError(str(error)) from error
        answer = self._client.prompted(prompt, stamp=at)
        found = bearing_values(answer.results[0].bearing, answer.header)
        return {**image_values(answer.header, answer.epoch), "object": found}

    def _remove(self, command: Values) -> Values:
        ids = _list(command, "object_ids", most=1000)
        self._client.remove([_object_id(each, least=1) for each in ids])
        return {}

    def _reset(self, command: Values) -> Values:
        return {"message": self._client.reset()}

    def _save(self, command: Values) -> Values:
        return {"object_ids": self._client.save(_text(command, "name"))}

    def _load(self, command: Values) -> Values:
        return {"object_ids": self._client.load(_text(command, "name"))}

    def _objects(self, command: Values) -> Values:
        answer = self._client.objects()
        header = answer.objects.header
        found = [
            {**bearing_values(item, header), "colour": page_colour(int(item.object_id))}
            for item in answer.objects.objects
        ]
        return {
            **image_values(header, answer.objects.epoch),
            "objects": found,
            "max_objects": answer.max_objects,
        }


def page_colour(obj_id: int) -> str:
    """Return the colour of an object as CSS has it."""
    red, green, blue = colour(obj_id)
    return f"#{red:02x}{green:02x}{blue:02x}"


def prompt_of(command: Values) -> ObjectPrompt:
    """Return the prompt of a command, in pixels of the image; raise CommandError for what is none."""
    on: list[tuple[float, float]] = []
    off: list[tuple[float, float]] = []
    for each in _list(command, "points", most=MOST_POINTS_OF_A_PAGE):
        if not isinstance(each, list) or len(each) != 3 or each[2] not in (0, 1):
            raise CommandError("a point is u, v and 1 (on the object) or 0 (beside it)")
        (on if each[2] == PromptPoint.FOREGROUND else off).append((_pixel(each[0]), _pixel(each[1])))
    box = [_pixel(each) for each in _list(command, "box", most=4)]
    prompt = point_prompt(on, off, box)
    prompt.object_id = _object_id(command.get("object_id", 0), least=0)
    prompt.label = _text(command, "label") if "label" in command else ""
    return prompt


def _list(command: Values, name: str, *, most: int) -> list[Any]:
    values = command.get(name, [])
    if not isinstance(values, list) or len(values) > most:
        raise CommandError(f"{name} is a list of at most {most}")
    return values


def _text(command: Values, name: str) -> str:
    value = command.get(name)
    if not isinstance(value, str) or len(value) > 1000:
        raise CommandError(f"{name} is a text of at most 1000 characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CommandError(f"{name} is no Unicode text") from error
    return value


def _object_id(value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST_ID:
        raise CommandError(f"an object's id is {least} to {_LARGEST_ID}")
    return value


def _pixel(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CommandError("a pixel is a number")
    if abs(value) > _LARGEST_PIXEL:
        raise CommandError(f"a pixel is at most {_LARGEST_PIXEL:g}")
    return float(value)
