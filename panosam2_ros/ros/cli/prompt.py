"""`panosam2_prompt`: prompt objects and follow them, from a terminal.

All calls of the node are in `client.py`: together they are an example of a planner.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.utilities import remove_ros_args

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.io.printable import printable
from panosam2_ros.msg import ObjectBearing, ObjectPrompt, PromptDirection, PromptPoint
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.conversion.messages import vector_msg
from panosam2_ros.ros.spin import ros_running

_STATES = {
    ObjectBearing.STATE_VISIBLE: "visible",
    ObjectBearing.STATE_OCCLUDED: "occluded",
    ObjectBearing.STATE_LOST: "lost",
}
_EXAMPLES = """\
examples:
  panosam2_prompt click 812 430 --label chair
  panosam2_prompt box 1850 400 60 520            # U0 > U1: across the seam
  panosam2_prompt direction -90 0                # to the right, at the horizon
  panosam2_prompt --namespace /robot1 follow 1
  panosam2_prompt correct 1 --not 900 430        # that does not belong to object 1
"""


# --- commands: each calls the node and prints its answer


def print_objects(client: Client, _: argparse.Namespace) -> None:
    """Print every object that the node knows."""
    answer = client.objects()
    for bearing in answer.objects.objects:
        print(describe_bearing(bearing))
    count = len(answer.objects.objects)
    print(f"{count} of at most {answer.max_objects} objects, {answer.memory_bytes / 2**20:.1f} MiB of memory")


def click(client: Client, options: argparse.Namespace) -> None:
    """Prompt a new object at a pixel."""
    points = _points([[options.u, options.v]], options.background)
    _prompt(client, options, ObjectPrompt(label=options.label, points=points))


def box(client: Client, options: argparse.Namespace) -> None:
    """Prompt a new object in a box."""
    corners = [options.u0, options.v0, options.u1, options.v1]
    points = _points([], options.background)
    _prompt(client, options, ObjectPrompt(label=options.label, box=corners, points=points))


def direction(client: Client, options: argparse.Namespace) -> None:
    """Prompt a new object in a direction."""
    numbers = options.numbers
    vector = numbers if len(numbers) == 3 else _vector(numbers[0], numbers[1], _axes(client))
    way = PromptDirection(direction=vector_msg(vector), label=PromptDirection.FOREGROUND)
    _prompt(client, options, ObjectPrompt(label=options.label, directions=[way]))


def correct(client: Client, options: argparse.Namespace) -> None:
    """Correct a known object by pixels that belong to it or do not."""
    points = _points(options.object, options.background)
    _prompt(client, options, ObjectPrompt(object_id=options.id, replace=options.replace, points=points))


def follow(client: Client, options: argparse.Namespace) -> None:
    """Print one object's bearing, message by message."""
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


def save(client: Client, options: argparse.Namespace) -> None:
    """Save what is remembered."""
    print(f"saved {options.name}: objects {client.save(options.name)}")


def load(client: Client, options: argparse.Namespace) -> None:
    """Load what was saved."""
    print(f"loaded {options.name}: objects {client.load(options.name)}")


def reset_tracker(client: Client, _: argparse.Namespace) -> None:
    """Forget everything."""
    print(client.reset())


# --- what the commands share


def _prompt(client: Client, options: argparse.Namespace, prompt: ObjectPrompt) -> None:
    print(describe_bearing(client.prompt(prompt, stamp=options.stamp)))


def describe_bearing(bearing: ObjectBearing) -> str:
    """Describe an object in one line: id, state, direction, score, label."""
    azimuth, elevation = math.degrees(bearing.azimuth), math.degrees(bearing.elevation)
    state = _STATES.get(bearing.state, "unknown")
    return (
        f"{bearing.object_id:5d} {state:8s} azimuth {azimuth:+7.1f} deg  elevation {elevation:+6.1f} deg  "
        f"score {bearing.score:.2f}  {printable(bearing.label)}"
    ).rstrip()


def _points(on_object: list[list[float]], on_background: list[list[float]]) -> list[PromptPoint]:
    """Return pixels u, v as the points of a prompt."""
    labelled = ((PromptPoint.FOREGROUND, on_object), (PromptPoint.BACKGROUND, on_background))
    return [PromptPoint(u=u, v=v, label=label) for label, pixels in labelled for u, v in pixels]


def _axes(client: Client) -> FrameConvention:
    """Return the axes of the images' frame, in which a prompt's directions are."""
    chosen = client.parameter("frame_convention")
    if chosen != "auto":
        return FrameConvention(chosen)
    return FrameConvention.of_frame_id(client.image_frame())


def _vector(azimuth: float, elevation: float, axes: FrameConvention) -> tuple[float, float, float]:
    """Return the unit vector of angles in degrees, in a frame with these axes."""
    lon, lat = -math.radians(azimuth), math.radians(elevation)
    x, y, z = CameraFrame(axes).to_frame(lonlat_to_vector(lon, lat)).tolist()
    return x, y, z


# --- the command line


def _id(text: str) -> int:
    if not 1 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"ids are 1 to 65535, got {text}")
    return number


def _stamp(text: str) -> Time:
    """Read seconds of any precision exactly: a float would lose nanoseconds."""
    seconds, _, rest = text.partition(".")
    if not seconds.isdecimal() or (rest and not rest.isdecimal()) or len(rest) > 9:
        raise argparse.ArgumentTypeError(f"a stamp is SECONDS.NANOSECONDS, got {text!r}")
    return Time(sec=int(seconds), nanosec=int(rest.ljust(9, "0")))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="panosam2_prompt",
        description="Prompt objects in the images of a running panosam2 node, and follow them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--node", default="panosam2", metavar="NAME", help="of the node (default: panosam2)")
    top.add_argument("--namespace", default="", metavar="NS", help="of the node, such as /robot1")
    top.add_argument("--timeout", type=float, default=10.0, metavar="S", help="time to wait (default: 10)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    command("list", print_objects, "list every object that the node knows")
    _add_prompts(command)
    followed = command("follow", follow, "print an object's bearing, message by message, until Ctrl-C")
    followed.add_argument("id", type=_id)
    followed.add_argument("--count", type=int, default=0, metavar="N", help="end after N messages")
    command("remove", remove, "forget objects").add_argument("ids", type=_id, nargs="+", metavar="ID")
    command("save", save, "save what is remembered to a file of the node").add_argument("name")
    command("load", load, "forget everything and load a file of the node").add_argument("name")
    command("reset", reset_tracker, "forget everything; ids start again")
    return top


def _add_prompts(command: Any) -> None:
    pixel: dict[str, Any] = {"type": float, "metavar": ("U", "V"), "nargs": 2}
    clicked = command("click", click, "track the object at a pixel")
    for name in ("u", "v"):
        clicked.add_argument(name, type=float, metavar=name.upper(), help="pixel index, from 0")
    boxed = command("box", box, "track the object in a box; U0 > U1: the box crosses the seam")
    for name in ("u0", "v0", "u1", "v1"):
        boxed.add_argument(name, type=float, metavar=name.upper(), help="pixel index, from 0")
    pointed = command(
        "direction", direction, "track the object at an azimuth and elevation, or along a vector"
    )
    pointed.usage = "panosam2_prompt direction [options] (AZIMUTH ELEVATION | X Y Z)"
    text = "AZIMUTH ELEVATION: degrees, anticlockwise and up; X Y Z: a vector in the image's frame"
    pointed.add_argument("numbers", type=float, nargs="+", metavar="NUMBER", help=text)
    corrected = command("correct", correct, "say which pixels belong to a known object and which do not")
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
    """Run the command; exit with 0, with 1 and the reason, or with 130 after Ctrl-C and 143 after SIGTERM.

    Once `follow` has begun, a signal ends it with 0.

    A reader that closes the pipe ends it with 0.
    """
    arguments = list(sys.argv if arguments is None else ["panosam2_prompt", *arguments])
    top = parser()
    options = top.parse_args(remove_ros_args(arguments)[1:])
    if options.command == "direction" and len(options.numbers) not in (2, 3):
        top.error(f"a direction is AZIMUTH ELEVATION or X Y Z, got {len(options.numbers)} numbers")
    done = options.command == "follow"
    try:
        with ros_running(arguments) as signals:
            name = f"panosam2_prompt_{os.getpid()}"
            node = rclpy.create_node(name, namespace=options.namespace or None, enable_rosout=False)
            options.run(Client(node, options.node, timeout=options.timeout), options)
            sys.stdout.flush()
            done = True
    except ClientError as error:
        sys.exit(f"panosam2_prompt: {printable(str(error))}")
    except BrokenPipeError:  # `panosam2_prompt follow 1 | head -3`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        done = True
    sys.exit(0 if done else 128 + (signals or [signal.SIGINT])[0])


if __name__ == "__main__":
    main()
