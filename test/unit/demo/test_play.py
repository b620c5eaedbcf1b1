"""What `make play` plays, and what it refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from panosam2_ros.demo import play
from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.io.package_files import package_file


def test_the_footage_is_small_credited_and_repeats_without_a_jump() -> None:
    path = package_file(*play.FOOTAGE)
    assert path.stat().st_size <= 1_500_000
    licence = (path.parents[1] / "LICENSE-footage.txt").read_text()
    assert "MIT License" in licence and "Diego Gonzalez" in licence and path.name in licence
    video = open_frames(path)
    small = [frame[2::4, 2::4].astype(np.int16) for frame in video]
    assert (video.width, video.height, len(small), video.rate) == (1280, 640, 208, 25.0)
    steps = [float(np.abs(a - b).mean()) for a, b in zip(small, [*small[1:], small[0]], strict=True)]
    assert steps[-1] <= max(steps[:-1])  # from the last to the first, as between any two
    assert cv2.VideoCapture(str(path)).read()[0]  # OpenCV's wheel decodes it, too


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--video", "nothing.mp4"], "there is no nothing.mp4"),
        (["--vertical-fov", "7"], r"must lie in \(0, pi\] rad, got 7"),
        (["--rate", "-1"], "cannot be negative"),
    ],
)
def test_what_cannot_be_played_is_named_in_one_line(
    arguments: list[str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=reason):
        play.main([*arguments, "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
