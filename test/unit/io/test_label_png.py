"""Label PNGs keep ids and have the palette of DAVIS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.tiny_datasets import box
from panosam2_ros.io.label_png import davis_palette, read_labels, write_labels


def test_palette_is_the_one_of_davis() -> None:
    colours = davis_palette().tolist()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[8] == [64, 0, 0]
    assert colours[15] == [192, 128, 128]
    assert colours[20] == [0, 64, 128] and colours[255] == [224, 224, 192]
    assert len({tuple(c) for c in colours}) == 256


@settings(deadline=None)
@given(seed=st.integers(0, 2**16))
def test_labels_survive_a_palette_png(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    labels = np.random.default_rng(seed).integers(0, 256, (5, 9)).astype(np.uint16)
    path = tmp_path_factory.getbasetemp() / "labels.png"
    write_labels(path, labels)
    assert (read_labels(path) == labels).all()
    with Image.open(path) as image:
        assert image.mode == "P"
        colours = np.asarray(image.convert("RGB"))
    assert (colours == davis_palette()[labels]).all()


def test_ids_are_read_from_colours_and_from_grey(tmp_path: Path) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    Image.fromarray(davis_palette()[labels]).save(tmp_path / "rgb.png")
    Image.fromarray(labels).save(tmp_path / "grey.png")
    assert (read_labels(tmp_path / "rgb.png") == labels).all()
    assert (read_labels(tmp_path / "grey.png") == labels).all()


def test_foreign_colours_and_lossy_masks_are_refused(tmp_path: Path) -> None:
    colours = davis_palette()[box(1, 3)]
    colours[7, 5] = [127, 0, 0]
    Image.fromarray(colours).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"1 pixels .* at u 5, v 7: \[127, 0, 0\]"):
        read_labels(tmp_path / "rgb.png")
    Image.fromarray(colours).save(tmp_path / "lossy.png", format="JPEG")
    with pytest.raises(ValueError, match="is JPEG, which blurs ids"):
        read_labels(tmp_path / "lossy.png")
    with pytest.raises(ValueError, match="up to 255, got 300"):
        write_labels(tmp_path / "many.png", box(300, 0))
