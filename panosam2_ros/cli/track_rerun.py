"""The recording of a run for Rerun, made of its table and masks: of a resumed run it is whole, too."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from panosam2_ros.cli.track_outputs import TrackOutputs
from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.video import StampedFrame
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.visualization.rerun_recording import LoggedObject, RerunRecording


def write_rerun(
    path: Path,
    outputs: TrackOutputs,
    frames: Iterable[StampedFrame],
    grid: Equirect,
    prompts: Mapping[int, Sequence[Prompt]],  # by frame
    *,
    total: int = 0,  # frames; 0: unknown
    quiet: bool = False,
) -> Path:
    """Write all frames of a run; raise RerunError where the file cannot be written."""
    with outputs.table.open(newline="") as file:
        labels = {int(row["object_id"]): row["label"] for row in csv.DictReader(file)}
    with outputs.table.open(newline="") as file, RerunRecording(path, grid, labels) as recording:
        rows = _rows_by_frame(file)
        number, found = next(rows, (-1, []))
        for index, frame in enumerate(tqdm(frames, "rerun", total or None, unit="frame", disable=quiet)):
            masks = outputs.labels(index)
            if masks is None:
                break
            recording.write(index, frame.stamp, frame.image, masks, found if number == index else [])
            if index in prompts:
                recording.write_prompts(prompts[index])
            if number == index:
                number, found = next(rows, (-1, []))
    return path


def _rows_by_frame(file: Iterator[str]) -> Iterator[tuple[int, list[LoggedObject]]]:
    """Yield the frames that have objects, and those."""
    for index, rows in groupby(csv.DictReader(file), itemgetter("frame")):
        yield int(index), [_logged(row) for row in rows]


def _logged(row: Mapping[str, str]) -> LoggedObject:
    """Make an object of a row of the table."""
    direction, velocity = (_vector(row, name) for name in ("direction", "angular_velocity"))
    ee, en, nn = (float(row[f"covariance_{part}"]) for part in ("ee", "en", "nn"))
    extents = (float(row[name]) for name in ("extent_horizontal", "extent_vertical", "solid_angle"))
    return LoggedObject(
        int(row["object_id"]),
        row["label"],
        TrackState[row["state"]],
        float(row["score"]),
        Bearing(direction, np.array([[ee, en], [en, nn]]), *extents),
        float(np.linalg.norm(velocity)),
    )


def _vector(row: Mapping[str, str], name: str) -> Floats:
    return np.array([float(row[f"{name}_{axis}"] or "nan") for axis in "xyz"])
