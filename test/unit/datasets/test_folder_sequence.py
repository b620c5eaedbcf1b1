"""Submissions have the names and ids of the data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.tiny_datasets import box
from panosam2_ros.datasets.folder_sequence import SubmissionWriter
from panosam2_ros.datasets.panovos import PanoVos
from panosam2_ros.io.label_png import read_labels


def test_submissions_bear_the_frames_names(panovos: Path, tmp_path: Path) -> None:
    video = PanoVos(panovos, "val").sequence("street")
    writer = SubmissionWriter(tmp_path / "out", video)
    for index in range(len(video)):
        writer.write(index, box(2, index))
    files = sorted((tmp_path / "out" / "street").iterdir())
    assert [f.name for f in files] == ["00007.png", "00008.png", "00009.png", "00010.png"]
    assert (read_labels(files[2]) == box(2, 2)).all()
    assert cv2.imread(str(files[2]))[7, 3].tolist() == [0, 128, 0]
    with pytest.raises(ValueError, match=r"\(8, 16\), street needs \(16, 32\)"):
        writer.write(0, np.zeros((8, 16), np.uint16))
