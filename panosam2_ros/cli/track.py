"""``panosam2_track``: track prompted objects through a whole video, ROS bag or folder of images.

Writes masks (16-bit PNG, a pixel is the object's id), a table of bearings and a video with outlines. The
same command resumes a run that was stopped. Status 3 says that frames of a source could not be read, status 1
that a source failed.
"""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from panosam2_ros.cli.prompt_file import Entry, PromptListError, read_prompts
from panosam2_ros.cli.track_many import track_many
from panosam2_ros.cli.track_run import track_source
from panosam2_ros.io.interruption import Interrupted, interruptible
from panosam2_ros.io.out_of_memory import is_out_of_memory, memory_problem
from panosam2_ros.io.printable import printable
from panosam2_ros.io.read_report import EXIT_STATUS
from panosam2_ros.model.build import EMBEDDED
from panosam2_ros.tracking.config import VIEW_CHOICES

_LONGEST_MESSAGE = 2000  # characters
_PROMPTED = ("--box", "--click", "--direction")


def _numbers(text: str) -> list[float]:
    """Parse numbers that are separated by commas."""
    return [float(number) for number in text.split(",")]


def _entries(options: argparse.Namespace) -> list[Entry]:
    """Collect the prompts of the file and of the command line."""
    entries = read_prompts(options.prompts) if options.prompts else []
    given, labels = options.prompted, options.label
    if len(labels) not in {0, min(1, len(given)), len(given)}:
        raise PromptListError(
            f"give --label once for all or once for each of the {len(given)} objects of --box, --click and "
            f"--direction, in their order; got {len(labels)}: {', '.join(map(repr, labels))}"
        )
    names = labels if len(labels) == len(given) else (labels or [""]) * len(given)
    for (kind, numbers), label in zip(given, names, strict=True):
        what = {"points": [numbers]} if kind == "click" else {kind: numbers}
        entries.append({"frame": options.frame} | ({"label": label} if label else {}) | what)
    return entries


class _Prompted(argparse.Action):
    """Appends the name of an option and its numbers to one list, in the order of the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        kind = self.option_strings[0].removeprefix("--")
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), (kind, values)])


def _with_negative_numbers(words: Sequence[str]) -> list[str]:
    """Join options to values like -30,5, which argparse takes for options of their own."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in _PROMPTED and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser("panosam2_track", description=__doc__)
    add = parser.add_argument
    add("source", nargs="+", help="video, ROS bag (folder, .mcap, .db3, .bag), folder of images or image")
    add("--out", type=Path, required=True, help="folder for the results, of several sources one each in it; "
        "an existing one is resumed")  # fmt: skip
    _add_prompts(parser)
    _add_source(parser)
    _add_many(parser)
    add("--model", default=EMBEDDED, help="network, as the node's parameter model")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add(
        "--view",
        choices=VIEW_CHOICES,
        default="auto",
        help="what the network sees, as the node's parameter view",
    )
    add("--region-size", type=int, default=0, help="side of search regions, pixels, a multiple of 32; 0: the "
        "network's own")  # fmt: skip
    add("--search-budget", type=float, default=0.0, help="time by which lost objects may lengthen a frame, "
        "s, as the node's parameter search_budget; results depend on the machine's speed then, unless it is "
        "0")  # fmt: skip
    add("--max-objects", type=int, default=32, help="largest number of objects")
    add("--save-every", type=int, default=50, help="frames between checkpoints, from which a run is resumed")
    add("--no-video", action="store_true", help="write masks and tables only")
    add("--rerun", type=Path, metavar="FILE.rrd", help="also write a recording for the Rerun viewer; of "
        "several sources one in each one's folder, by a name without folder")  # fmt: skip
    return parser


def _add_many(parser: argparse.ArgumentParser) -> None:
    """Add the options for several sources."""
    add = parser.add_argument
    add("--workers", type=int, default=0, help="sources that are tracked at the same time, each in a process "
        "of its own; 0: one, or with --ray as many as the cluster has room for")  # fmt: skip
    add("--ray", default="", metavar="ADDRESS", help="track on a Ray cluster: HOST:PORT, auto, or local for "
        "one on this machine; sources and --out must lie where all its machines see them")  # fmt: skip
    add("--tries", type=int, default=3, help="how often a source is begun whose process fails or is killed")


def _add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe the source."""
    add = parser.add_argument
    add("--topic", default="", help="image topic of a bag that has several")
    add("--frames", type=int, default=0, help="number of frames to track; 0: all")
    add("--rate", type=float, default=0.0,
        help="rate of images, or instead of the times of a video's frames, Hz; 0: those, or 10")  # fmt: skip
    add("--projection", default="equirectangular", choices=("equirectangular", "dual_fisheye"))
    add("--calibration", type=Path,
        help="calibration of the fisheye lenses, a file like config/dual_fisheye.yaml")  # fmt: skip
    add("--panorama-width", type=int, default=0,
        help="width of panoramas of fisheye images; 0: the image's width")  # fmt: skip
    add("--vertical-fov", type=float, default=math.pi, help="vertical field of view, rad; pi: a full sphere")


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to track."""
    add = parser.add_argument
    add("--prompts", type=Path, help="YAML or JSON file: a list of prompts with frame, label, box, points, "
        "point_labels, direction, object_id; of several sources each that has a file SOURCE.prompts.yaml or "
        "SOURCE.prompts.json beside it is prompted by that instead")  # fmt: skip
    add("--box", type=_numbers, action=_Prompted, dest="prompted", default=[], metavar="U,V,U,V",
        help="track the object in a box, pixels; left > right: across the seam; may be repeated")  # fmt: skip
    add("--click", type=_numbers, action=_Prompted, dest="prompted", default=[], metavar="U,V",
        help="track the object at a pixel; may be repeated")  # fmt: skip
    add("--direction", type=_numbers, action=_Prompted, dest="prompted", default=[],
        metavar="AZIMUTH,ELEVATION", help="track the object in a direction, degrees, left and up positive; "
        "may be repeated")  # fmt: skip
    add("--frame", type=int, default=0, help="frame of box, click and direction, from 0")
    add("--label", action="append", default=[], help="label of the objects of box, click and direction: "
        "once for all, or once for each of them in their order")  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(_with_negative_numbers(sys.argv[1:] if args is None else args))
    if options.save_every < 1 or options.frames < 0 or options.rate < 0:
        sys.exit("panosam2_track: --save-every must be at least 1, --frames and --rate at least 0")
    if options.workers < 0 or options.tries < 1:
        sys.exit("panosam2_track: --workers must be at least 0, --tries at least 1")
    sources, many = options.source, options.workers > 0 or options.ray or len(options.source) > 1
    try:
        with interruptible(signal.SIGINT):
            entries = _entries(options)
            if many:
                status = track_many(options, entries)
            else:
                options.source = sources[0]
                status = _run(options, entries)
    except BrokenPipeError:  # of standard output: `run_program` ends it quietly
        raise
    except Exception as error:
        if is_out_of_memory(error):
            sys.exit(f"panosam2_track: {memory_problem(error)}")
        if not isinstance(error, (ValueError, OSError, cv2.error)):
            raise
        sys.exit(f"panosam2_track: {_shown(error)}")  # the messages name the remedy
    except Interrupted as stopped:
        print("panosam2_track: stopped; give the same command again to resume", file=sys.stderr)
        sys.exit(stopped.status)
    if status:
        sys.exit(status)


def _run(options: argparse.Namespace, entries: Sequence[Entry]) -> int:
    """Track one source; return the exit status."""
    done = track_source(options, entries)
    print(f"{done.frames} frames: {_shown(options.out / 'masks')}", *map(_shown, done.written), sep="\n")
    if done.report.text:
        print(f"panosam2_track: {done.report.text}", file=sys.stderr)
    if done.report.missing:
        print("Frames are numbered without the missing ones; stamp_ns is their time.", file=sys.stderr)
        return EXIT_STATUS
    return 0


def _shown(text: object) -> str:
    """Return a text for the terminal, which may quote labels and names from outside."""
    return printable(str(text), most=_LONGEST_MESSAGE)


if __name__ == "__main__":
    main()
