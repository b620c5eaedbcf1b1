"""The front door: public names, loaded when first used, and the example that is documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import panosam2_ros
from helpers.process import ROOT
from helpers.spherical_shapes import disc


def test_every_public_name_is_there_and_documented() -> None:
    for name in panosam2_ros.__all__:
        assert getattr(panosam2_ros, name).__doc__, name
        assert name in dir(panosam2_ros)
    assert (Path(panosam2_ros.__file__).parent / "py.typed").is_file()


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Tracker'"):
        panosam2_ros.Tracker  # noqa: B018


def test_the_example_follows_an_object_across_the_seam(tmp_path: Path) -> None:
    path, size = tmp_path / "walk.avi", (512, 256)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, size)
    for t in range(8):
        image = np.full((256, 512, 3), (60, 160, 60), np.uint8)
        image[disc(3.0 + 0.05 * t, 0.1, 0.2)] = (30, 30, 220)  # BGR
        video.write(image)
    video.release()
    command = [sys.executable, "examples/track_video.py", str(path), "485", "103", "4", "136"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(
        r"it VISIBLE: azimuth ([-+.\d]+) deg, elevation ([-+.\d]+) deg, (\d+) pixels", done.stdout
    )
    assert len(found) == 7
    for t, (azimuth, elevation, pixels) in enumerate(found, 1):
        off = (float(azimuth) + np.degrees(3.0 + 0.05 * t) + 180) % 360 - 180
        assert abs(off) < 3 and abs(float(elevation) - np.degrees(0.1)) < 3 and int(pixels) > 300
