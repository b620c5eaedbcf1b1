"""`panosam2_prompt`: point at objects and follow them, from a terminal.

All that it does with the node is in `client.py`: together they are an example of a planner.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Vector3
from rclpy.utilities import remove_ros_args
from std_srvs.srv import Trigger

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.msg import ObjectBearing, ObjectPrompt
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.spin import ros_running

_STATES = {
    ObjectBearing.VISIBLE: "visible", ObjectBearing.OCCLUDED: "occluded", ObjectBearing.LOST: "lost",
}  # fmt: skip
_EXAMPLES = """\
examples:
  panosam2_prompt click 812 430 --label chair
  panosam2_prompt box 1850 400 60 520            # U0 > U1: across the seam
  panosam2_prompt direction -90 0                # to the right, at the horizon
  panosam2_prompt --namespace /robot1 follow 1
  panosam2_prompt correct 1 --not 900 430        # that is no part of object 1
"""


# --- commands: each asks the node and prints what it answered


def print_objects(client: Client, _: argparse.Namespace) -> None:
    """Every object that the node knows."""
    answer = client.objects()
    for bearing in answer.objects.objects:
        print(describe_bearing(bearing))
    count = len(answer.objects.objects)
    print(f"{count} of at most {answer.max_objects} objects, {answer.memory_mib:.1f} MiB of memory")


def click(client: Client, options: argparse.Namespace) -> None:
    """A new object at a pixel."""
    points = _points([[options.u, options.v]], options.background)
    _ask(client, options, ObjectPrompt(label=options.label, **points))


def box(client: Client, options: argparse.Namespace) -> None:
    """A new object in a box."""
    corners = [options.u0, options.v0, options.u1, options.v1]
    _ask(client, options, ObjectPrompt(label=options.label, box=corners, **_points([], options.background)))


def direction(client: Client, options: argparse.Namespace) -> None:
    """A new object in a direction."""
    numbers = options.numbers
    x, y, z = numbers if len(numbers) == 3 else _vector(numbers[0], numbers[1], _axes(client))
    prompt = ObjectPrompt(label=options.label, directions=[Vector3(x=x, y=y, z=z)], direction_labels=[1])
    _ask(client, options, prompt)


def correct(client: Client, options: argparse.Namespace) -> None:
    """A known object: this belongs to it, that does not."""
    points = _points(options.object, options.background)
    _ask(client, options, ObjectPrompt(object_id=options.id, replace=options.replace, **points))


def follow(client: Client, options: argparse.Namespace) -> None:
    """One object's bearing, message by message."""
    start, end = ("\r", "\033[K") if sys.stdout.isatty() else ("", "\n")
    for i, message in enumerate(client.bearings(), start=1):
        known = {bearing.object_id: bearing for bearing in message.objects}
        if options.id not in known:
            raise ClientError(f"object {options.id} is not known; known are {sorted(known)}")
        print(start + describe_bearing(known[options.id]), end=end, flush=True)
        if i == options.count:
            break


def remove(client: Client, options: argparse.Namespace) -> None:
    """Forget objects."""
    client.remove(options.ids)
    print(f"removed {options.ids}")


def memory(client: Client, options: argparse.Namespace) -> None:
    """Save or load what is remembered."""
    print(f"{options.command} {options.name}: objects {client.memory(options.command, options.name)}")


def reset_tracker(client: Client, _: argparse.Namespace) -> None:
    """Forget everything."""
    print(client.call(Trigger, "reset", Trigger.Request()).message)


# --- what they share


def _ask(client: Client, options: argparse.Namespace, prompt: ObjectPrompt) -> None:
    print(describe_bearing(client.prompt(prompt, options.stamp)))


def describe_bearing(bearing: ObjectBearing) -> str:
    """One line: who, how sure, where."""
    azimuth, elevation = math.degrees(bearing.azimuth), math.degrees(bearing.elevation)
    state = _STATES.get(bearing.state, "unknown")
    return (
        f"{bearing.object_id:5d} {state:8s} azimuth {azimuth:+7.1f} deg  elevation {elevation:+6.1f} deg  "
        f"score {bearing.score:.2f}  {bearing.label}"
    ).rstrip()


def _points(on_object: list[list[float]], on_background: list[list[float]]) -> dict[str, list[Any]]:
    """Pixels as the fields of a prompt."""
    pixels = [*on_object, *on_background]
    labels = [1] * len(on_object) + [0] * len(on_background)
    return {"points": [x for pixel in pixels for x in pixel], "point_labels": labels}


def _axes(client: Client) -> FrameConvention:
    """Axes of the frame in which the node takes and gives directions."""
    chosen = client.parameter("frame_convention")
    if chosen != "auto":
        return FrameConvention(chosen)
    return FrameConvention.of_frame_id(client.objects().objects.header.frame_id)


def _vector(azimuth: float, elevation: float, axes: FrameConvention) -> tuple[float, float, float]:
    """Unit vector, in a frame with these axes, of angles in degrees."""
    lon, lat = -math.radians(azimuth), math.radians(elevation)
    x, y, z = CameraFrame(axes).to_frame(lonlat_to_vector(lon, lat)).tolist()
    return x, y, z


# --- the command line


def _id(text: str) -> int:
    if not 1 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"ids are 1 to 65535, got {text}")
    return number


def _stamp(text: str) -> Time:
    """Seconds of any precision, exactly: a float would lose nanoseconds."""
    seconds, _, rest = text.partition(".")
    if not seconds.isdecimal() or (rest and not rest.isdecimal()) or len(rest) > 9:
        raise argparse.ArgumentTypeError(f"a stamp is SECONDS.NANOSECONDS, got {text!r}")
    return Time(sec=int(seconds), nanosec=int(rest.ljust(9, "0")))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="panosam2_prompt",
        description="Point at objects in the image of a running panosam2 node, and follow them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--node", default="panosam2", metavar="NAME", help="of the node (default: panosam2)")
    top.add_argument("--namespace", default="", metavar="NS", help="of the node, such as /robot1")
    top.add_argument("--timeout", type=float, default=10.0, metavar="S", help="to wait (default: 10)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    command("list", print_objects, "list every object that the node knows")
    _add_prompts(command)
    followed = command("follow", follow, "print an object's bearing, message by message, until Ctrl-C")
    followed.add_argument("id", type=_id)
    followed.add_argument("--count", type=int, default=0, metavar="N", help="end after so many messages")
    command("remove", remove, "forget objects").add_argument("ids", type=_id, nargs="+", metavar="ID")
    command("save", memory, "save what is remembered to a file of the node").add_argument("name")
    command("load", memory, "forget everything and load such a file").add_argument("name")
    command("reset", reset_tracker, "forget everything; ids start again")
    return top


def _add_prompts(command: Any) -> None:
    pixel: dict[str, Any] = {"type": float, "metavar": ("U", "V"), "nargs": 2}
    clicked = command("click", click, "track what is at a pixel")
    for name in ("u", "v"):
        clicked.add_argument(name, type=float, metavar=name.upper(), help="pixel index, from 0")
    boxed = command("box", box, "track what is in a box; U0 > U1: it crosses the seam")
    for name in ("u0", "v0", "u1", "v1"):
        boxed.add_argument(name, type=float, metavar=name.upper(), help="pixel index, from 0")
    pointed = command("direction", direction, "track what is at an azimuth and elevation, or along a vector")
    pointed.usage = "panosam2_prompt direction [options] (AZIMUTH ELEVATION | X Y Z)"
    text = "AZIMUTH ELEVATION: degrees, anticlockwise and up; X Y Z: a vector in the image's frame"
    pointed.add_argument("numbers", type=float, nargs="+", metavar="NUMBER", help=text)
    corrected = command("correct", correct, "tell what belongs to a known object and what does not")
    corrected.add_argument("id", type=_id)
    text = "a pixel on the object; may be repeated"
    corrected.add_argument("--on", dest="object", action="append", default=[], help=text, **pixel)
    corrected.add_argument("--replace", action="store_true", help="forget what is remembered of it first")
    for one in (clicked, boxed, corrected):
        text = "a pixel on the background; may be repeated"
        one.add_argument("--not", dest="background", action="append", default=[], help=text, **pixel)
    for one in (clicked, boxed, pointed):
        one.add_argument("--label", default="", help="name of the object")
    for one in (clicked, boxed, pointed, corrected):
        text = "header.stamp of the image that is meant (default: the newest)"
        one.add_argument("--stamp", type=_stamp, metavar="SEC.NSEC", help=text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: status 0, or 1 with the reason, or 130 after Ctrl-C (0 where it ends `follow`)."""
    arguments = list(sys.argv if arguments is None else ["panosam2_prompt", *arguments])
    top = parser()
    options = top.parse_args(remove_ros_args(arguments)[1:])
    if options.command == "direction" and len(options.numbers) not in (2, 3):
        top.error(f"a direction is AZIMUTH ELEVATION or X Y Z, got {len(options.numbers)} numbers")
    status = 0 if options.command == "follow" else 130
    try:
        with ros_running(arguments):
            name = f"panosam2_prompt_{os.getpid()}"
            node = rclpy.create_node(name, namespace=options.namespace or None, enable_rosout=False)
            options.run(Client(node, options.node, options.timeout), options)
            status = 0
    except ClientError as error:
        sys.exit(f"panosam2_prompt: {error}")
    sys.exit(status)


if __name__ == "__main__":
    main()
