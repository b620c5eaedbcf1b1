"""The files of a run: masks, a table of bearings and a video."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import LabelImage
from panosam2_ros.io.label_png import read_labels, write_ids
from panosam2_ros.io.video import StampedFrame
from panosam2_ros.io.video_writer import VideoWriter
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import Track, TrackedFrame
from panosam2_ros.visualization import overlay
from panosam2_ros.visualization.drawing import Mark

COLUMNS = (
    "frame", "stamp_ns", "object_id", "label", "state", "score", "mask_iou", "last_seen_ns",
    "direction_x", "direction_y", "direction_z", "azimuth", "elevation",
    "covariance_ee", "covariance_en", "covariance_nn",
    "extent_horizontal", "extent_vertical", "solid_angle",
    "angular_velocity_x", "angular_velocity_y", "angular_velocity_z",
)  # fmt: skip
_MAX_VIDEO_WIDTH = 1920  # few players support wider videos
_CAMERA = CameraFrame()


class TrackOutputs:
    """The files of a run; those of a frame are complete before the next frame begins."""

    def __init__(self, folder: Path) -> None:
        """Make the folders of the files."""
        self.table, self.video = folder / "bearings.csv", folder / "overlay.mp4"
        self._masks = folder / "masks"
        self._masks.mkdir(parents=True, exist_ok=True)

    def begin(self, frame: int) -> None:
        """Keep the table's rows before a frame and remove all others."""
        kept: list[list[str]] = []
        if frame and self.table.exists():
            with self.table.open(newline="") as file:
                rows = islice(csv.reader(file), 1, None)
                # a crash may have cut the last row anywhere, also in the frame's number
                kept = [row for row in rows if len(row) == len(COLUMNS) and int(row[0]) < frame]
        partial = self.table.with_suffix(".part")
        with partial.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept])
        partial.replace(self.table)

    def write(self, index: int, tracked: TrackedFrame) -> None:
        """Write masks and bearings of a frame."""
        write_ids(self._mask(index), tracked.labels)
        with self.table.open("a", newline="") as file:
            rows = [_row(index, tracked.stamp, track) for track in tracked.tracks]
            csv.writer(file, lineterminator="\n").writerows(rows)

    def labels(self, index: int) -> LabelImage | None:
        """Read the label image of a frame; return None for a frame that was not tracked."""
        path = self._mask(index)
        return read_labels(path) if path.exists() else None

    def write_parquet(self) -> Path | None:
        """Write the table as Parquet; return None where pyarrow is not installed."""
        try:
            from pyarrow import csv as arrow
            from pyarrow import parquet, string
        except ImportError:
            return None
        path = self.table.with_suffix(".parquet")
        convert = arrow.ConvertOptions(column_types={"label": string()}, strings_can_be_null=False)
        parquet.write_table(arrow.read_csv(self.table, convert_options=convert), path)
        return path

    def write_video(
        self, frames: Iterable[StampedFrame], grid: Equirect, rate: float, total: int, *, quiet: bool = False
    ) -> Path:
        """Write a video of the frames with outlines, names and an azimuth grid, at the times of the frames.

        Raises OSError where it cannot be written.
        """
        small = _video_grid(grid)
        partial = self.video.with_name("overlay.part.mp4")
        marks = self._marks()
        try:
            with VideoWriter(partial, small.width, small.height, rate=rate) as writer:
                for index, frame in enumerate(
                    tqdm(frames, "video", total or None, unit="frame", disable=quiet)
                ):
                    labels = self.labels(index)
                    if labels is None:
                        break
                    picture, labels = overlay.fitted(frame.image, labels, small)
                    overlay.draw_overlay(picture, labels, marks.get(index, []), small, _CAMERA)
                    writer.write(picture, frame.stamp)
        except OSError as error:
            raise OSError(f"{self.video} cannot be written: {error}; --no-video does without") from error
        partial.replace(self.video)
        return self.video

    def _marks(self) -> dict[int, list[Mark]]:
        """Read the marks of every frame from the table."""
        with self.table.open(newline="") as file:
            frames = groupby(csv.DictReader(file), itemgetter("frame"))
            return {int(index): [_mark(row) for row in rows] for index, rows in frames}

    def _mask(self, index: int) -> Path:
        """Return the path of a frame's mask."""
        return self._masks / f"{index:06d}.png"


def _video_grid(grid: Equirect) -> Equirect:
    """Return the grid of the video, whose sizes are even, as codecs require."""
    return grid.of_width(min(grid.width, _MAX_VIDEO_WIDTH), even=True)


def _row(index: int, stamp: int, track: Track) -> Iterator[Any]:
    """Yield a row of the table, in the order of ``COLUMNS``; radians, optical axes, as in ObjectBearing."""
    bearing = track.bearing
    azimuth, elevation = _CAMERA.azimuth_elevation(bearing.direction)
    (ee, en), (_, nn) = bearing.covariance
    numbers = (
        *bearing.direction, azimuth, elevation, ee, en, nn,
        bearing.extent_horizontal, bearing.extent_vertical, bearing.solid_angle, *track.angular_velocity,
    )  # fmt: skip
    yield from (index, stamp, track.obj_id, track.label, TrackState(track.state).name)
    yield from (f"{track.score:.9g}", f"{track.mask_iou:.9g}", track.last_seen)
    yield from ("" if math.isnan(x) else f"{float(x):.9g}" for x in numbers)


def _mark(row: dict[str, str]) -> Mark:
    """Make a mark of a row of the table."""
    direction = np.array([float(row[f"direction_{axis}"]) for axis in "xyz"])
    state, score = TrackState[row["state"]], float(row["score"])
    return overlay.object_mark(int(row["object_id"]), row["label"], state, score, direction, camera=_CAMERA)
