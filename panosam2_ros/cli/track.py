"""``panosam2_track``: track prompted objects through a whole video, ROS bag or folder of images.

Writes masks (16-bit PNG, a pixel is the object's id), a table of bearings and a video with outlines. The
same command resumes a run that was stopped. Status 3 says that frames of the source could not be read.
"""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from panosam2_ros.cli.prompt_file import Entry, PromptListError, prompts_by_frame, read_prompts
from panosam2_ros.cli.track_checkpoints import Checkpoints
from panosam2_ros.cli.track_outputs import TrackOutputs
from panosam2_ros.geometry.dual_fisheye import DualFisheye, Remap
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.frame_source import DEFAULT_RATE, open_frames, stamped_frames
from panosam2_ros.io.interruption import Interrupted, interruptible
from panosam2_ros.io.read_report import EXIT_STATUS, ReadReport
from panosam2_ros.io.video import FrameSource, StampedFrame
from panosam2_ros.model.build import EMBEDDED, build_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import VIEW_CHOICES, TrackerConfig
from panosam2_ros.tracking.threads import use_threads
from panosam2_ros.tracking.track import TrackedFrame
from panosam2_ros.tracking.tracker import PanoTracker

_PROMPTED = ("--box", "--click", "--direction")


class PanoramaReader:
    """The frames of a source as panoramas; every iteration starts at the first frame."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Open the source of the command line; raise ValueError or OSError where that fails."""
        self._source: FrameSource = open_frames(options.source, topic=options.topic)
        self._rate = options.rate
        self.rate = options.rate or self._source.rate or DEFAULT_RATE
        self.frames = min(self._source.frames or options.frames, options.frames or self._source.frames)
        self._most, self._remap = options.frames or None, None
        size = self._source.width, self._source.height
        if options.projection == "dual_fisheye":
            given = options.calibration
            camera = DualFisheye.load(given) if given else DualFisheye.side_by_side(*size)
            self._remap = Remap(camera, size, options.panorama_width or size[0] // 2 * 2)
        grid = self._remap.grid if self._remap else Equirect(*size, options.vertical_fov)
        self.grid: Equirect = grid

    @property
    def report(self) -> ReadReport:
        """What the newest iteration has found."""
        return self._source.report

    def __iter__(self) -> Iterator[StampedFrame]:
        """Yield the panoramas in order."""
        for frame in islice(stamped_frames(self._source, rate=self._rate), self._most):
            yield frame if self._remap is None else replace(frame, image=self._remap(frame.image))


class TrackRun:
    """The tracking of one source into one folder."""

    def __init__(self, panoramas: PanoramaReader, entries: Sequence[Entry], tracker: PanoTracker) -> None:
        """Prepare a run; raise PromptListError for an invalid entry."""
        self._panoramas, self._tracker = panoramas, tracker
        self._prompts = prompts_by_frame(entries, panoramas.grid)

    def track(self, outputs: TrackOutputs, checkpoints: Checkpoints, save_every: int) -> int:
        """Track the frames that are not tracked yet, and return the number of frames of the source.

        A checkpoint is saved every ``save_every`` frames. Raises PromptListError for a prompt that is
        refused or whose frame does not exist.
        """
        index = checkpoints.next_frame
        frames = islice(self._panoramas, max(index - 1, 0), None)
        if index and (before := next(frames, None)) is not None:
            checkpoints.restore(self._tracker, before.image)
        outputs.begin(index)
        with tqdm(desc="tracking", total=self._panoramas.frames or None, initial=index, unit="frame") as bar:
            for frame in frames:
                outputs.write(index, self._tracked(index, frame))
                index += 1
                bar.update()
                if index % save_every == 0:
                    checkpoints.save(self._tracker, index)
        checkpoints.save(self._tracker, index)
        if late := [i for i in self._prompts if i >= index]:
            raise PromptListError(
                f"there are {index} frames, so no frame {late[0]} that a prompt names; frames count from 0"
            )
        return index

    def _tracked(self, index: int, frame: StampedFrame) -> TrackedFrame:
        """Track a frame and apply its prompts; raise PromptListError for one that is refused."""
        tracked = self._tracker.step(frame.image, frame.stamp)
        prompts = self._prompts.get(index)
        if not prompts:
            return tracked
        outcomes = self._tracker.prompt(frame.image, frame.stamp, prompts)
        found = []
        for prompt, outcome in zip(prompts, outcomes, strict=True):
            if outcome.track is None or outcome.mask is None:
                raise PromptListError(f"frame {index}, {_described(prompt)}: {outcome.message}")
            found.append((outcome.track.obj_id, outcome.mask))
        # prompted objects are drawn over all others, and small ones over large ones
        labels = np.where(np.isin(tracked.labels, [i for i, _ in found]), 0, tracked.labels)
        for obj_id, mask in sorted(found, key=lambda item: -item[1].sum()):
            labels[mask] = obj_id
        return replace(tracked, label_image=labels, tracks=self._tracker.tracks())


def _described(prompt: Prompt) -> str:
    """Describe a prompt in an error message."""
    where = f"box {prompt.box}" if prompt.box else f"points {prompt.points.tolist()}"
    return f"prompt {prompt.label!r}, {where}"


def _settings(options: argparse.Namespace, entries: Sequence[Entry], tracker: PanoTracker) -> dict[str, Any]:
    """Collect the settings that determine the result."""
    names = ("topic", "rate", "frames", "projection", "panorama_width", "vertical_fov", "view")
    calibration = Path(options.calibration).read_text() if options.calibration else ""
    return {
        "source": str(Path(options.source).expanduser().resolve()),
        "prompts": list(entries),
        "calibration": calibration,
        "network": asdict(tracker.network),
    } | {name: getattr(options, name) for name in names}


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
    add("source", help="video, ROS bag (folder, .mcap, .db3, .bag), folder of images or image")
    add("--out", type=Path, required=True, help="folder for the results; an existing one is resumed")
    _add_prompts(parser)
    _add_source(parser)
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
    add("--max-objects", type=int, default=32, help="largest number of objects")
    add("--save-every", type=int, default=50, help="frames between checkpoints, from which a run is resumed")
    add("--no-video", action="store_true", help="write masks and tables only")
    return parser


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
        "point_labels, direction, object_id")  # fmt: skip
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
    try:
        with interruptible(signal.SIGINT):
            _run(options)
    except (ValueError, OSError, cv2.error) as error:  # the messages name the remedy
        sys.exit(f"panosam2_track: {error}")
    except Interrupted as stopped:
        print("panosam2_track: stopped; give the same command again to resume", file=sys.stderr)
        sys.exit(stopped.status)


def _run(options: argparse.Namespace) -> None:
    """Track a source and write all results."""
    entries, panoramas = _entries(options), PanoramaReader(options)
    prompts_by_frame(entries, panoramas.grid)  # checked before the network is loaded
    config = TrackerConfig(
        max_objects=options.max_objects, vertical_fov=panoramas.grid.vertical_fov, view=options.view
    )
    model = build_model(options.model, device=options.device, region_size=options.region_size)
    use_threads(0, model)
    tracker = PanoTracker(model, config)
    checkpoints = Checkpoints(options.out, _settings(options, entries, tracker))
    outputs = TrackOutputs(options.out)
    with torch.inference_mode():
        count = TrackRun(panoramas, entries, tracker).track(outputs, checkpoints, options.save_every)
    report = panoramas.report
    written: list[Path | None] = [outputs.table, outputs.write_parquet()]
    if not options.no_video:
        written.append(outputs.write_video(panoramas, panoramas.grid, panoramas.rate, count))
    print(f"{count} frames: {options.out / 'masks'}", *(path for path in written if path), sep="\n")
    if report.text:
        print(f"panosam2_track: {report.text}", file=sys.stderr)
    if report.missing:
        print("Frames are numbered without the missing ones; stamp_ns is their time.", file=sys.stderr)
        sys.exit(EXIT_STATUS)


if __name__ == "__main__":
    main()
