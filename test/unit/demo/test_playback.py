"""Times at which a virtual camera plays the frames of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.videos import write_video
from panosam2_ros.demo.playback import Playback, PlaybackConfig


def times(source: Path, **settings: object) -> list[float]:
    return [round(played.time, 6) for played in Playback(PlaybackConfig(str(source), **settings))]  # type: ignore[arg-type]


def test_videos_are_played_at_the_times_of_their_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "irregular.mkv", [0, 50, 900, 3000])
    assert times(video) == [0, 0.05, 0.9, 3.0]
    assert times(video, rate=4.0) == [0, 0.25, 0.5, 0.75]  # a rate that is given replaces them


def test_a_loop_starts_again_after_one_period(tmp_path: Path) -> None:
    video = write_video(tmp_path / "regular.mp4", [0, 100, 200])
    assert times(video, loop=True, frames=5) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-4)


def test_a_synthetic_scene_is_played_at_its_rate() -> None:
    playback = Playback(PlaybackConfig(width=64, height=32, rate=5.0, frames=3, objects=1, distractors=0))
    assert [played.time for played in playback] == [0, 0.2, 0.4]
    assert not playback.report.text
