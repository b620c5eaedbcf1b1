"""The Python of docs/quick_start.md runs as it stands there."""

import re
from pathlib import Path

import pytest

from helpers.process import ROOT
from helpers.videos import write_walk

QUICK_START = ROOT / "docs" / "quick_start.md"


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_walk(tmp_path / "walk.mp4")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", QUICK_START.read_text(), re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], str(QUICK_START), "exec"), {})
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "['tracked']"
    assert len(others) == 3 and all(line.startswith("1 sofa VISIBLE") for line in others)
