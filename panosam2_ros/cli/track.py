"""``panosam2_track``: follow prompted objects through a whole video, ROS bag or folder of images.

Writes masks (16-bit PNG, a pixel is the object's id), a table of bearings and a video with outlines. A run
that was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from panosam2_ros.cli.prompt_file import Entry, PromptListError, prompts_by_frame, read_prompts
from panosam2_ros.cli.track_checkpoints import Checkpoints
from panosam2_ros.cli.track_outputs import TrackOutputs
from panosam2_ros.geometry.dual_fisheye import DualFisheye, Remap
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.frame_source import DEFAULT_RATE, open_frames, stamped_frames
from panosam2_ros.io.video import FrameSource, StampedFrame
from panosam2_ros.model.build import build_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.track import TrackedFrame
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig


class PanoramaReader:
    """The frames of a source as panoramas; iterating starts at the first every time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._source: FrameSource = open_frames(options.source, topic=options.topic)
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

    def __iter__(self) -> Iterator[StampedFrame]:
        for frame in islice(stamped_frames(self._source, rate=self.rate), self._most):
            yield frame if self._remap is None else replace(frame, image=self._remap(frame.image))


class TrackRun:
    """One source tracked into one folder."""

    def __init__(self, panoramas: PanoramaReader, entries: Sequence[Entry], tracker: PanoTracker) -> None:
        self._panoramas, self._tracker = panoramas, tracker
        self._prompts = prompts_by_frame(entries, panoramas.grid)

    def track(self, outputs: TrackOutputs, checkpoints: Checkpoints, save_every: int) -> int:
        """Track all frames, or those that are left; how many the source has.

        Raises PromptListError for a prompt that is refused or whose frame does not exist.
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
            raise PromptListError(f"there are {index} frames, so no frame {late[0]} that a prompt names")
        return index

    def _tracked(self, index: int, frame: StampedFrame) -> TrackedFrame:
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
        # somebody points at these: they go before others, and the small before the large
        labels = np.where(np.isin(tracked.labels, [i for i, _ in found]), 0, tracked.labels)
        for obj_id, mask in sorted(found, key=lambda item: -item[1].sum()):
            labels[mask] = obj_id
        return replace(tracked, labels=labels, tracks=self._tracker.tracks())


def _described(prompt: Prompt) -> str:
    where = f"box {prompt.box}" if prompt.box else f"points {prompt.points.tolist()}"
    return f"prompt {prompt.label!r}, {where}"


def _settings(options: argparse.Namespace, entries: Sequence[Entry], tracker: PanoTracker) -> dict[str, Any]:
    """What decides the result."""
    names = ("topic", "rate", "frames", "projection", "panorama_width", "vertical_fov")
    calibration = Path(options.calibration).read_text() if options.calibration else ""
    return {
        "source": str(Path(options.source).expanduser().resolve()),
        "prompts": list(entries),
        "calibration": calibration,
        "network": asdict(tracker.network),
    } | {name: getattr(options, name) for name in names}


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _entries(options: argparse.Namespace) -> list[Entry]:
    """Prompts of the file and of the command line."""
    entries = read_prompts(options.prompts) if options.prompts else []
    common = {"frame": options.frame} | ({"label": options.label} if options.label else {})
    entries += [common | {"box": box} for box in options.box]
    entries += [common | {"points": [click]} for click in options.click]
    entries += [common | {"direction": direction} for direction in options.direction]
    return entries


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("panosam2_track", description=__doc__)
    add = parser.add_argument
    add("source", help="video, ROS bag (folder, .mcap, .db3), folder of images or image")
    add("--out", type=Path, required=True, help="folder for the results; the same again: go on")
    add("--prompts", type=Path, help="YAML or JSON: a list of prompts with frame, label, box, points, "
        "point_labels, direction, object_id")  # fmt: skip
    add("--box", type=_numbers, action="append", default=[], metavar="U,V,U,V",
        help="track what is in these pixels; left > right: across the seam; may be repeated")  # fmt: skip
    add("--click", type=_numbers, action="append", default=[], metavar="U,V", help="track what is there")
    add("--direction", type=_numbers, action="append", default=[], metavar="AZIMUTH,ELEVATION",
        help="track what is there, degrees, left and up positive; as in --direction=-30,5")  # fmt: skip
    add("--frame", type=int, default=0, help="that box, click and direction refer to, from 0")
    add("--label", default="", help="of what box, click and direction point at")
    add("--topic", default="", help="of a bag with several image topics")
    add("--frames", type=int, default=0, help="so many only; 0: all")
    add("--rate", type=float, default=0.0, help="Hz, of images or to overrule a video's; 0: its own, or 10")
    add("--model", default="panosam2_nano", help="as the node's parameter")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--projection", default="equirectangular", choices=("equirectangular", "dual_fisheye"))
    add("--calibration", type=Path, help="of the two fisheye lenses, as config/dual_fisheye.yaml")
    add("--panorama-width", type=int, default=0, help="columns of what fisheye images become; 0: the image's")
    add("--vertical-fov", type=float, default=math.pi, help="rad; pi: a full sphere")
    add("--max-objects", type=int, default=32)
    add("--save-every", type=int, default=50, help="frames between states to go on from")
    add("--no-video", action="store_true", help="masks and tables only")
    return parser


def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = _parser().parse_args(args)
    if options.save_every < 1 or options.frames < 0 or options.rate < 0:
        sys.exit("panosam2_track: --save-every must be at least 1, --frames and --rate at least 0")
    try:
        _run(options)
    except (ValueError, OSError) as error:  # the message says what to do
        sys.exit(f"panosam2_track: {error}")
    except KeyboardInterrupt:
        sys.exit("panosam2_track: stopped; give the same command again to go on")


def _run(options: argparse.Namespace) -> None:
    entries, panoramas = _entries(options), PanoramaReader(options)
    prompts_by_frame(entries, panoramas.grid)  # before a network is loaded for nothing
    config = TrackerConfig(max_objects=options.max_objects, vertical_fov=panoramas.grid.vertical_fov)
    tracker = PanoTracker(build_model(options.model, options.device), config)
    checkpoints = Checkpoints(options.out, _settings(options, entries, tracker))
    outputs = TrackOutputs(options.out)
    with torch.inference_mode():
        count = TrackRun(panoramas, entries, tracker).track(outputs, checkpoints, options.save_every)
    written: list[Path | None] = [outputs.table, outputs.write_parquet()]
    if not options.no_video:
        written.append(outputs.write_video(panoramas, panoramas.grid, panoramas.rate, count))
    print(f"{count} frames: {options.out / 'masks'}", *(path for path in written if path), sep="\n")


if __name__ == "__main__":
    main()
