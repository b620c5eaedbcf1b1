"""The command line of `panosam2_prompt`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from builtin_interfaces.msg import Time

from panosam2_ros.ros.conversion.plain_values import stamp_from_text

USAGE = "USAGE"
_EXAMPLES = """\
examples:
  panosam2_prompt click 812 430 --label chair
  panosam2_prompt box 1850 400 60 520            # U0 > U1: across the seam
  panosam2_prompt direction -90 0                # to the right, at the horizon
  panosam2_prompt --namespace /robot1 follow 1
  panosam2_prompt correct 1 --not 900 430        # that does not belong to object 1
  panosam2_prompt snapshot look.png              # the panorama with rulers, and its stamp
  panosam2_prompt snapshot left.png --look 90 0  # a perspective view to the left

exit status: 0 done, 1 refused or no answer, 2 wrong arguments, 130 Ctrl-C, 143 SIGTERM (follow: 0)
With --json every answer is a line of JSON on standard output, errors too: docs/planner.md has the keys.
"""


class JsonParser(argparse.ArgumentParser):
    """A parser whose errors are lines of JSON where the arguments ask for JSON."""

    json_wanted = False

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments; exit with 0 for --help and with 2 for wrong ones."""
        # parsers of commands are objects of this class, too
        JsonParser.json_wanted = "--json" in (sys.argv[1:] if args is None else args)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the arguments and exit with 2."""
        if self.json_wanted:
            print(error_line(None, USAGE, message), flush=True)
            sys.exit(2)
        super().error(message)


def json_line(values: Mapping[str, Any]) -> str:
    """Return values as one line of JSON."""
    return json.dumps(values, allow_nan=False)


def error_line(command: str | None, code: str, message: str) -> str:
    """Return an error as one line of JSON."""
    return json_line({"ok": False, "command": command, "code": code, "message": message})


def _id(text: str) -> int:
    if not 1 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"ids are 1 to 65535, got {text}")
    return number


def _stamp(text: str) -> Time:
    try:
        return stamp_from_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; ``run`` of its result is the command's name."""
    top = JsonParser(
        prog="panosam2_prompt",
        description="Prompt objects in the images of a running panosam2 node, and follow them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--node", default="panosam2", metavar="NAME", help="of the node (default: panosam2)")
    top.add_argument("--namespace", default="", metavar="NS", help="of the node, such as /robot1")
    top.add_argument("--timeout", type=float, default=10.0, metavar="S", help="time to wait (default: 10)")
    top.add_argument("--json", action="store_true", help="print answers and errors as lines of JSON")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        # also after the command, where one thinks of it last
        added.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as above")
        return added

    command("list", "list every object that the node knows")
    _add_prompts(command)
    followed = command("follow", "print an object's bearing, message by message, until Ctrl-C")
    followed.add_argument("id", type=_id)
    followed.add_argument("--count", type=int, default=0, metavar="N", help="end after N messages")
    _add_snapshot(command)
    command("remove", "forget objects").add_argument("ids", type=_id, nargs="+", metavar="ID")
    command("save", "save what is remembered to a file of the node").add_argument("name")
    command("load", "forget everything and load a file of the node").add_argument("name")
    command("reset", "forget everything; ids start again")
    return top


def _add_prompts(command: Any) -> None:
    pixel: dict[str, Any] = {"type": float, "metavar": ("U", "V"), "nargs": 2}
    clicked = command("click", "track the object at a pixel")
    for name in ("u", "v"):
        clicked.add_argument(name, type=float, metavar=name.upper(), help="pixel index, from 0")
    boxed = command("box", "track the object in a box; U0 > U1: the box crosses the seam")
    for name in ("u0", "v0", "u1", "v1"):
        boxed.add_argument(name, type=float, metavar=name.upper(), help="pixel index, from 0")
    pointed = command("direction", "track the object at an azimuth and elevation, or along a vector")
    pointed.usage = "panosam2_prompt direction [options] (AZIMUTH ELEVATION | X Y Z)"
    text = "AZIMUTH ELEVATION: degrees, anticlockwise and up; X Y Z: a vector in the image's frame"
    pointed.add_argument("numbers", type=float, nargs="+", metavar="NUMBER", help=text)
    corrected = command("correct", "say which pixels belong to a known object and which do not")
    corrected.add_argument("id", type=_id)
    text = "a pixel on the object; may be repeated"
    corrected.add_argument("--on", dest="object", action="append", default=[], help=text, **pixel)
    corrected.add_argument("--replace", action="store_true", help="forget what is remembered of it first")
    for one in (clicked, boxed, corrected):
        text = "a pixel on the background; may be repeated"
        one.add_argument("--not", dest="background", action="append", default=[], help=text, **pixel)
        text = "pixels are those of a perspective snapshot with these values (its line --view)"
        names = ("AZIMUTH", "ELEVATION", "FOV", "WIDTH", "HEIGHT")
        one.add_argument("--view", type=float, nargs=5, metavar=names, help=text)
    for one in (clicked, boxed, pointed):
        one.add_argument("--label", default="", help="name of the object")
    for one in (clicked, boxed, pointed, corrected):
        text = "header.stamp of the image that is meant (default: the newest)"
        one.add_argument("--stamp", type=_stamp, metavar="SEC.NSEC", help=text)


def _add_snapshot(command: Any) -> None:
    taken = command("snapshot", "write the panorama, or a view of it, with rulers to a PNG or JPEG file")
    taken.add_argument("path", help="file to write, .png, .jpg or .jpeg")
    text = "a perspective view to this azimuth and elevation, degrees (default: the whole panorama)"
    taken.add_argument("--look", type=float, nargs=2, metavar=("AZIMUTH", "ELEVATION"), help=text)
    text = "its horizontal field of view, degrees (default: 60)"
    taken.add_argument("--fov", type=float, default=60.0, metavar="DEGREES", help=text)
    text = "of the picture, pixels (default: 800 600)"
    taken.add_argument(
        "--size", type=int, nargs=2, default=(800, 600), metavar=("W", "H"), help=f"size of a view {text}"
    )
    text = "columns of the picture of a whole panorama; rulers count the image's pixels (default: all)"
    taken.add_argument("--width", type=int, default=0, metavar="W", help=text)
    taken.add_argument("--plain", action="store_true", help="no rulers, outlines and names")
