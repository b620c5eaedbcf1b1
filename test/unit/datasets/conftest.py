"""Fixtures of the tests of data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.tiny_datasets import INFO, box, write_clip, write_image
from panosam2_ros.io.label_png import write_labels


@pytest.fixture
def vos360(tmp_path: Path) -> Path:
    """Write three clips; frames and masks of clip 052 have different numbers."""
    write_clip(tmp_path / "train" / "000", [0, 1, 2, 3], [0, 1, 2, 3])
    write_clip(tmp_path / "train" / "052", [0, 1, 2, 3, 5], [1, 2, 3, 4])
    write_clip(tmp_path / "test" / "000", [0, 1], [0, 1])
    (tmp_path / "train" / ".DS_Store").write_bytes(b"")
    (tmp_path / "train" / "__MACOSX").mkdir()
    (tmp_path / "360vots-info.csv").write_text(INFO, encoding="utf-8-sig")
    return tmp_path


@pytest.fixture
def panovos(tmp_path: Path) -> Path:
    """Write frames from 7 on; object 1 starts in 7, object 2 in 9; in val only those masks are public."""
    for split, annotated in (("train", [7, 8, 9, 10]), ("val", [7, 9])):
        folder = tmp_path / split
        for number in range(7, 11):
            write_image(folder / "JPEGImages" / "street" / f"{number:05d}.jpg", 10 * number)
        for number in annotated:
            labels = box(2, number) if split == "val" and number == 9 else box(1, number)
            if split == "train" and number >= 9:
                labels += box(2, 20)
            write_labels(folder / "Annotations" / "street" / f"{number:05d}.png", labels)
        ranges = {"1": ("00007", "00010", 4), "2": ("00009", "00010", 2)}
        objects = {
            i: {"frame_range": dict(zip(("start", "end", "frame_nums"), r, strict=True))}
            for i, r in ranges.items()
        }
        meta = {"videos": {"street": {"objects": objects}}}
        (folder / f"{split}_meta.json").write_text(json.dumps(meta))
    return tmp_path
