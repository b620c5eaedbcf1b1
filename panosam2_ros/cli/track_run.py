"""The tracking of one source into one folder, from its last checkpoint on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from panosam2_ros.cli.prompt_file import Entry, PromptListError, prompts_by_frame
from panosam2_ros.cli.track_checkpoints import Checkpoints
from panosam2_ros.cli.track_outputs import TrackOutputs
from panosam2_ros.cli.track_rerun import write_rerun
from panosam2_ros.geometry.dual_fisheye import DualFisheye, Remap
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.frame_source import DEFAULT_RATE, open_frames, stamped_frames
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.video import FrameSource, StampedFrame
from panosam2_ros.model.build import build_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.threads import use_threads
from panosam2_ros.tracking.track import TrackedFrame
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.visualization.rerun_recording import check_rerun

Progress = Callable[[int, int], None]  # frames that are tracked, and how many there are, 0: unknown


@dataclass(frozen=True)
class RunOutcome:
    """What a run has written, and what it could not read."""

    frames: int
    written: tuple[Path, ...]
    report: ReadReport


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

    def track(
        self,
        outputs: TrackOutputs,
        checkpoints: Checkpoints,
        save_every: int,
        progress: Progress | None = None,  # instead of a bar
    ) -> int:
        """Track the frames that are not tracked yet, and return the number of frames of the source.

        A checkpoint is saved every ``save_every`` frames. Raises PromptListError for a prompt that is
        refused or whose frame does not exist.
        """
        index = checkpoints.next_frame
        frames = islice(self._panoramas, max(index - 1, 0), None)
        if index and (before := next(frames, None)) is not None:
            checkpoints.restore(self._tracker, before.image)
        outputs.begin(index)
        total, quiet = self._panoramas.frames, progress is not None
        with tqdm(desc="tracking", total=total or None, initial=index, unit="frame", disable=quiet) as bar:
            for frame in frames:
                outputs.write(index, self._tracked(index, frame))
                index += 1
                bar.update()
                if progress is not None:
                    progress(index, total)
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
    names = ["topic", "rate", "frames", "projection", "panorama_width", "vertical_fov", "view"]
    if options.search_budget:  # runs that were begun before there was this option do not name it
        names.append("search_budget")
    calibration = Path(options.calibration).read_text() if options.calibration else ""
    return {
        "source": str(Path(options.source).expanduser().resolve()),
        "prompts": list(entries),
        "calibration": calibration,
        "network": asdict(tracker.network),
    } | {name: getattr(options, name) for name in names}


def track_source(
    options: argparse.Namespace, entries: Sequence[Entry], progress: Progress | None = None
) -> RunOutcome:
    """Track a source of the command line and write all results; with ``progress`` without bars of its own.

    Raises ValueError and OSError, whose messages name the remedy.
    """
    panoramas = PanoramaReader(options)
    prompts = prompts_by_frame(entries, panoramas.grid)  # checked before the network is loaded
    if options.rerun:
        check_rerun(options.rerun)
    config = TrackerConfig(
        max_objects=options.max_objects,
        vertical_fov=panoramas.grid.vertical_fov,
        view=options.view,
        search_budget=options.search_budget,
    )
    model = build_model(options.model, device=options.device, region_size=options.region_size)
    use_threads(0, model)
    tracker = PanoTracker(model, config)
    checkpoints = Checkpoints(options.out, _settings(options, entries, tracker))
    outputs = TrackOutputs(options.out)
    with torch.inference_mode():
        run = TrackRun(panoramas, entries, tracker)
        count = run.track(outputs, checkpoints, options.save_every, progress)
    report = panoramas.report
    written: list[Path | None] = [outputs.table, outputs.write_parquet()]
    quiet = progress is not None
    if not options.no_video:
        written.append(outputs.write_video(panoramas, panoramas.grid, panoramas.rate, count, quiet=quiet))
    if options.rerun:
        written.append(
            write_rerun(options.rerun, outputs, panoramas, panoramas.grid, prompts, total=count, quiet=quiet)
        )
    return RunOutcome(count, tuple(path for path in written if path), report)
