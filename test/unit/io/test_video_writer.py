"""Videos whose frames keep their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.videos import index_of
from panosam2_ros.io.frame_source import open_frames, stamped_frames
from panosam2_ros.io.video_writer import VideoWriter

MS = 10**6  # ns


def write(path: Path, times: list[float]) -> list[tuple[float, int]]:
    """Write frames at some times, s; return the times and the indices that are read back."""
    with VideoWriter(path, 128, 64, rate=10.0) as writer:
        for index, time in enumerate(times):
            writer.write(np.full((64, 128, 3), 30 + 10 * index, np.uint8), round(time * 1e9))
    frames = list(stamped_frames(open_frames(path)))
    return [(round(frame.stamp * 1e-9, 3), index_of(frame.image)) for frame in frames]


def test_frames_keep_their_times(tmp_path: Path) -> None:
    times = [0.0, 0.033, 0.067, 1.5, 1.6]
    assert write(tmp_path / "irregular.mp4", times) == list(zip(times, range(5), strict=True))


def test_stamps_that_stand_still_or_jump_make_a_video_that_can_be_watched(tmp_path: Path) -> None:
    times = [1e9, 1e9, 1e9 + 0.5, 1e9 - 3.0, 2e9]
    found = write(tmp_path / "jumps.mp4", times)
    assert found == [(0.0, 0), (0.1, 1), (0.6, 2), (0.7, 3), (10.7, 4)]


@pytest.mark.parametrize("path", ["/dev/full", "nowhere/out.mp4"])
def test_files_that_cannot_be_written_are_os_errors(tmp_path: Path, path: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    with pytest.raises(OSError), VideoWriter(tmp_path / path, 128, 64, rate=10.0) as writer:
        for index in range(100):
            writer.write(noise, index * 100 * MS)
