"""`panosam2_prompt`: prompt objects and follow them, from a terminal or from a program that reads JSON.

All calls of the node are in `client.py`: together they are an example of a planner.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.utilities import remove_ros_args

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.io.printable import printable
from panosam2_ros.msg import ObjectBearing, ObjectPrompt, PromptDirection, PromptResult
from panosam2_ros.ros.cli.prompt_arguments import error_line, json_line, parser
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.conversion.messages import vector_msg
from panosam2_ros.ros.conversion.plain_values import STATE_WORDS, bearing_values, image_values
from panosam2_ros.ros.pointing import point_prompt
from panosam2_ros.ros.spin import first_signal, ros_running

INTERRUPTED, NOT_STARTED = "INTERRUPTED", "NOT_STARTED"


@dataclass(frozen=True)
class Answer:
    """What a command found: for programs and for people."""

    values: Mapping[str, Any]
    text: str


# --- commands: each calls the node and yields its answers


def list_objects(client: Client, _: argparse.Namespace) -> Iterator[Answer]:
    """List every object that the node knows."""
    answer = client.objects()
    known = answer.objects
    lines = [describe_bearing(bearing) for bearing in known.objects]
    memory = f"{answer.memory_bytes / 2**20:.1f} MiB of memory"
    lines.append(f"{len(lines)} of at most {answer.max_objects} objects, {memory}")
    values = {
        **image_values(known.header, known.epoch),
        "objects": [bearing_values(bearing, known.header) for bearing in known.objects],
        "memory_bytes": int(answer.memory_bytes),
        "max_objects": int(answer.max_objects),
    }
    yield Answer(values, "\n".join(lines))


def click(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Prompt a new object at a pixel."""
    return _prompt(client, options, _pointed(client, options, [[options.u, options.v]]))


def box(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Prompt a new object in a box."""
    corners = [options.u0, options.v0, options.u1, options.v1]
    return _prompt(client, options, _pointed(client, options, [], corners))


def direction(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Prompt a new object in a direction."""
    numbers = options.numbers
    vector = numbers if len(numbers) == 3 else _vector(numbers[0], numbers[1], _axes(client))
    way = PromptDirection(direction=vector_msg(vector), label=PromptDirection.FOREGROUND)
    return _prompt(client, options, ObjectPrompt(directions=[way]))


def correct(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Correct a known object by pixels that belong to it or do not."""
    prompt = _pointed(client, options, options.object)
    prompt.object_id, prompt.replace = options.id, options.replace
    return _prompt(client, options, prompt)


def follow(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Yield one object's bearing, message by message."""
    for i, message in enumerate(client.bearings(), start=1):
        known = {bearing.object_id: bearing for bearing in message.objects}
        if options.id not in known:
            text = f"object {options.id} is not known; known are {sorted(known)}"
            raise ClientError(text, PromptResult.UNKNOWN_OBJECT)
        found = known[options.id]
        values = image_values(message.header, message.epoch)
        yield Answer({**values, "object": bearing_values(found, message.header)}, describe_bearing(found))
        if i == options.count:
            break


def snapshot(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Write a picture of the newest panorama to a file."""
    from panosam2_ros.ros.cli.snapshot import (
        write_snapshot,
    )  # which imports torch: a second for every command

    values, text = write_snapshot(client, options)
    yield Answer(values, text)


def remove(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Forget objects."""
    client.remove(options.ids)
    yield Answer({"removed": options.ids}, f"removed {options.ids}")


def save(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Save what is remembered."""
    ids = client.save(options.name)
    yield Answer({"name": options.name, "object_ids": ids}, f"saved {options.name}: objects {ids}")


def load(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    """Load what was saved."""
    ids = client.load(options.name)
    yield Answer({"name": options.name, "object_ids": ids}, f"loaded {options.name}: objects {ids}")


def reset_tracker(client: Client, _: argparse.Namespace) -> Iterator[Answer]:
    """Forget everything."""
    text = client.reset()
    yield Answer({"message": text, "epoch": int(client.objects().objects.epoch)}, text)


Command = Callable[[Client, argparse.Namespace], Iterator[Answer]]
_COMMANDS: dict[str, Command] = {
    "list": list_objects, "click": click, "box": box, "direction": direction, "correct": correct,
    "follow": follow, "snapshot": snapshot, "remove": remove, "save": save, "load": load,
    "reset": reset_tracker,
}  # fmt: skip


# --- what the commands share


def _prompt(client: Client, options: argparse.Namespace, prompt: ObjectPrompt) -> Iterator[Answer]:
    prompt.label = getattr(options, "label", "")
    answer = client.prompted(prompt, stamp=options.stamp)
    bearing = answer.results[0].bearing
    values = {**image_values(answer.header, answer.epoch), "object": bearing_values(bearing, answer.header)}
    yield Answer(values, describe_bearing(bearing))


def _pointed(
    client: Client, options: argparse.Namespace, on: list[list[float]], box: Sequence[float] = ()
) -> ObjectPrompt:
    """Return the prompt of pixels, of the panorama or of the view that the options name."""
    if options.view is None:
        return point_prompt(on, options.background, box)
    from panosam2_ros.ros.cli.snapshot import picture_of_view

    try:
        return picture_of_view(client, options.view).prompt(on, options.background, box)
    except ValueError as error:
        raise ClientError(str(error), PromptResult.INVALID) from error


def describe_bearing(bearing: ObjectBearing) -> str:
    """Describe an object in one line: id, state, direction, score, label."""
    azimuth, elevation = math.degrees(bearing.azimuth), math.degrees(bearing.elevation)
    state = STATE_WORDS.get(bearing.state, "unknown")
    return (
        f"{bearing.object_id:5d} {state:8s} azimuth {azimuth:+7.1f} deg  elevation {elevation:+6.1f} deg  "
        f"score {bearing.score:.2f}  {printable(bearing.label)}"
    ).rstrip()


def _axes(client: Client) -> FrameConvention:
    """Return the axes of the images' frame, in which a prompt's directions are."""
    chosen = client.parameter("frame_convention")
    if chosen != "auto":
        return FrameConvention(chosen)
    return FrameConvention.of_frame_id(client.image_frame())


def _vector(azimuth: float, elevation: float, axes: FrameConvention) -> tuple[float, float, float]:
    """Return the unit vector of angles in degrees, in a frame with these axes."""
    x, y, z = CameraFrame(axes).vectors_of(math.radians(azimuth), math.radians(elevation)).tolist()
    return x, y, z


# --- the program


def _print(answer: Answer, options: argparse.Namespace, *, in_place: bool) -> None:
    if options.json:
        print(json_line({"ok": True, "command": options.command, **answer.values}), flush=True)
    elif in_place:
        print(f"\r{answer.text}", end="\033[K", flush=True)
    else:
        print(answer.text, flush=True)


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Run the command; return the exit status."""
    done = options.command == "follow"
    with ros_running(list(arguments)) as signals:
        name = f"panosam2_prompt_{os.getpid()}"
        node = rclpy.create_node(name, namespace=options.namespace or None, enable_rosout=False)
        client = Client(node, options.node, timeout=options.timeout)
        in_place = options.command == "follow" and sys.stdout.isatty()
        for answer in _COMMANDS[options.command](client, options):
            _print(answer, options, in_place=in_place)
        done = True
    return 0 if done else 128 + first_signal(signals)


def _fail(options: argparse.Namespace, code: str, message: str) -> int:
    """Say why a command failed; return the exit status."""
    if options.json:
        print(error_line(options.command, code, message), flush=True)
    else:
        print(f"panosam2_prompt: {printable(message)}", file=sys.stderr)
    return 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with 0, with 1 and the reason, or with 130 after Ctrl-C and 143 after SIGTERM.

    Once `follow` has begun, a signal ends it with 0.

    A reader that closes the pipe ends it with 0. Wrong arguments exit with 2.
    """
    arguments = list(sys.argv if arguments is None else ["panosam2_prompt", *arguments])
    top = parser()
    options = top.parse_args(remove_ros_args(arguments)[1:])
    if options.command == "direction" and len(options.numbers) not in (2, 3):
        top.error(f"a direction is AZIMUTH ELEVATION or X Y Z, got {len(options.numbers)} numbers")
    try:
        status = _run(options, arguments)
        if status and options.json:
            print(error_line(options.command, INTERRUPTED, "a signal ended the command"), flush=True)
    except ClientError as error:
        status = _fail(options, error.name, str(error))
    except BrokenPipeError:  # `panosam2_prompt follow 1 | head -3`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        status = 0
    except SystemExit as error:  # ROS cannot start
        if not options.json or not isinstance(error.code, str):
            raise
        status = _fail(options, NOT_STARTED, error.code)
    sys.exit(status)


if __name__ == "__main__":
    main()
