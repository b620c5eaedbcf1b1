"""The figures of docs/concepts.md and docs/design.md are drawn by a tool, small, and shown there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.process import ROOT
from tools import doc_figures

DOCS = ROOT / "docs"

HERE = {**os.environ, "PYTHONPATH": str(DOCS.parent)}  # this checkout and no installed package


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    command = [sys.executable, "-m", "tools.doc_figures", "--out", str(out)]
    done = subprocess.run(command, cwd=DOCS.parent, env=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_tool_draws_nothing_else(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {f"{name}.jpg" for name in doc_figures.FIGURES}


@pytest.mark.parametrize("name", doc_figures.FIGURES)
def test_committed_figure_is_what_the_tool_draws(drawn: Path, name: str) -> None:
    kept = DOCS / "pictures" / f"{name}.jpg"
    assert kept.stat().st_size < 150_000
    now, before = cv2.imread(str(drawn / kept.name)), cv2.imread(str(kept))
    assert now.shape == before.shape and now.std() > 10
    # at an eighth of the size, for OpenCV 4 has other letters than 5
    size = now.shape[1] // 8, now.shape[0] // 8
    small = [cv2.resize(i, size, interpolation=cv2.INTER_AREA).astype(int) for i in (now, before)]
    assert np.abs(small[0] - small[1]).mean() < 4


def test_pages_show_every_figure() -> None:
    pages = [(DOCS / name).read_text() for name in ("concepts.md", "design.md")]
    shown = {name for page in pages for name in re.findall(r"\(pictures/(\w+)\.jpg\)", page)}
    assert shown == set(doc_figures.FIGURES)
