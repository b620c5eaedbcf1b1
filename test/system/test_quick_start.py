"""The Python of docs/quick_start.md runs as it stands there."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.process import ROOT

QUICK_START = ROOT / "docs" / "quick_start.md"


def write_walk(path: Path) -> None:
    """Four frames of 640x322 with a red thing across the seam."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (640, 322))
    for shift in range(4):
        image = np.full((322, 640, 3), (150, 160, 140), np.uint8)
        columns = np.arange(610 + 4 * shift, 700 + 4 * shift) % 640
        image[80:280, columns] = (40, 30, 200)
        writer.write(image)
    writer.release()


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_walk(tmp_path / "walk.mp4")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", QUICK_START.read_text(), re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], str(QUICK_START), "exec"), {})
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "['tracked']"
    assert len(others) == 3 and all(line.startswith("1 sofa VISIBLE") for line in others)
