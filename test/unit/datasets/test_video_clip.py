"""Videos without ground truth as sequences."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.videos import index_of, spoil, write_video
from panosam2_ros.datasets.video_clip import VideoClip


def test_missing_frames_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = spoil(write_video(tmp_path / "hole.mp4", range(0, 1000, 100)), 4)
    clip = VideoClip(video, frames=0, objects=1)
    assert index_of(clip.image(3)) == 3 and not caplog.messages
    assert len(clip) == 9 and index_of(clip.image(4)) == 5
    assert len(caplog.messages) == 1 and "hole: 9 of 10 frames could be read" in caplog.text


def test_a_limit_of_frames_is_no_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = VideoClip(write_video(tmp_path / "whole.mp4", range(0, 1000, 100)), frames=4, objects=1)
    assert len(clip) == 4 and not caplog.messages
