"""360VOS on miniature data in exactly its layout."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tiny_datasets import HEIGHT, WIDTH, box, write_image
from panosam2_ros.datasets.sequence import LayoutError, VideoSequence
from panosam2_ros.datasets.vos360 import ATTRIBUTES, Vos360, pair_masks, read_info
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.label_png import write_labels


def test_360vos_frames_masks_and_attributes(vos360: Path) -> None:
    train = Vos360(vos360, "train")
    assert train.names == ("000", "052")
    clip: VideoSequence = train.sequence("000")
    assert (clip.name, len(clip), clip.grid) == ("000", 4, Equirect(WIDTH, HEIGHT))
    assert clip.first_frames == {1: 0}
    assert clip.attributes == {"crossing_border", "xy"}
    image = clip.image(2)
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image.mean((0, 1)), [70, 0, 0], atol=2)
    labels = clip.labels(2)
    assert labels is not None and labels.dtype == np.uint16
    assert (labels == box(1, 2)).all()
    assert (clip.prompt_mask(1) == (box(1, 0) == 1)).all()
    assert [len(c) for c in Vos360(vos360, "test")] == [2]
    assert Vos360(vos360, "test").sequence("000").attributes == {"illumination_variation"}


def test_names_of_clip_052_do_not_match(vos360: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Frames 0 1 2 3 5 and masks 1 2 3 4 are paired by number; the others have no ground truth."""
    with caplog.at_level(logging.WARNING):
        clip = Vos360(vos360, "train").sequence("052")
    assert "names of 5 frames and 4 masks differ, 3 pairs are used" in caplog.text
    assert len(clip) == 5
    assert clip.first_frames == {1: 1}
    for index in (1, 2, 3):
        labels = clip.labels(index)
        assert labels is not None and (labels == box(1, index)).all()
    assert clip.labels(0) is None and clip.labels(4) is None
    assert clip.attributes == {"illumination_variation", "large_fov"}


@pytest.mark.parametrize(
    ("frames", "masks", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], {0: 0, 1: 1, 2: 2}),
        ([1, 2, 3], [2, 3, 4], {1: 2, 2: 3}),
        ([0, 2, 4], [1, 3, 5], {0: 1, 1: 3, 2: 5}),  # nothing in common: in order
    ],
)
def test_masks_are_paired(frames: list[int], masks: list[int], expected: dict[int, int]) -> None:
    assert pair_masks(frames, masks, "clip") == expected


def test_masks_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(LayoutError, match="clip: no mask has a frame's name, and 3 masks"):
        pair_masks([0, 1], [5, 6, 7], "clip")


def test_late_objects_are_found_where_asked_for(vos360: Path) -> None:
    write_labels(vos360 / "train" / "000" / "mask" / "000002.png", box(1, 2) + box(7, 20))
    assert Vos360(vos360).sequence("000").first_frames == {1: 0}
    found = Vos360(vos360, late_objects=True).sequence("000")
    assert found.first_frames == {1: 0, 7: 2}
    assert found.prompt_mask(7).sum() == 16


def test_first_mask_may_be_empty(vos360: Path) -> None:
    write_labels(vos360 / "train" / "000" / "mask" / "000000.png", box(0, 0))
    assert Vos360(vos360).sequence("000").first_frames == {1: 1}


def test_table_of_attributes(vos360: Path, tmp_path: Path) -> None:
    clips = read_info(vos360 / "360vots-info.csv")
    assert [(c.split, c.clip, c.target) for c in clips] == [
        ("train", "000", "bear"), ("train", "052", "bird"), ("test", "000", "boat"),
    ]  # fmt: skip
    assert len(set(ATTRIBUTES.values())) == 20
    (tmp_path / "other.csv").write_text("name,score\na,1\n")
    with pytest.raises(LayoutError, match="'360VOS ID' and 'Split', got"):
        read_info(tmp_path / "other.csv")


def test_without_table_there_are_no_attributes(vos360: Path, caplog: pytest.LogCaptureFixture) -> None:
    (vos360 / "360vots-info.csv").unlink()
    with caplog.at_level(logging.WARNING):
        assert Vos360(vos360).sequence("000").attributes == frozenset()
    assert "no 360vots-info.csv" in caplog.text
    with pytest.raises(LayoutError, match="there is no"):
        Vos360(vos360, info=vos360 / "elsewhere.csv")


def test_reading_is_lazy(vos360: Path) -> None:
    """A broken frame raises an error when it is read, not before."""
    (vos360 / "train" / "000" / "image" / "000003.jpg").write_bytes(b"nothing")
    clip = Vos360(vos360).sequence("000")
    clip.image(2)
    with pytest.raises(LayoutError, match=r"000003\.jpg cannot be read"):
        clip.image(3)


def test_360vos_layouts_that_are_mixed_up(vos360: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"no folder .*valid.*360vots-info.csv, test, train"):
        Vos360(vos360, "valid")
    with pytest.raises(LayoutError, match="Give ROOT, the folder of the splits"):
        Vos360(vos360 / "train", "train")
    with pytest.raises(LayoutError, match="no such folder"):
        Vos360(tmp_path / "nowhere")
    (vos360 / "broken" / "000" / "image").mkdir(parents=True)
    with pytest.raises(LayoutError, match=r"in .*000 there is image\. Unpack 000 again"):
        Vos360(vos360, "broken")
    (vos360 / "packed" / "x").mkdir(parents=True)
    (vos360 / "packed" / "x" / "000.zip").touch()
    with pytest.raises(LayoutError, match="Unpack each archive"):
        Vos360(vos360, "packed")
    boxes = vos360 / "boxes" / "0001"
    write_image(boxes / "image" / "000000.jpg", 1)
    (boxes / "label.json").touch()
    with pytest.raises(LayoutError, match="360VOT, which has boxes and no masks"):
        Vos360(vos360, "boxes")


def test_360vos_files_that_do_not_fit(vos360: Path) -> None:
    clip = vos360 / "train" / "000"
    write_labels(clip / "mask" / "000002.png", np.zeros((8, 16), np.uint16))
    with pytest.raises(LayoutError, match="is 16x8 but 000 is 32x16"):
        Vos360(vos360).sequence("000").labels(2)
    (clip / "image" / "cover.jpg").touch()
    with pytest.raises(LayoutError, match="names must be numbers"):
        Vos360(vos360).sequence("000")
    (clip / "image" / "cover.jpg").unlink()
    Image.new("RGB", (32, 24)).save(clip / "image" / "000000.jpg")
    with pytest.raises(LayoutError, match=r"000000\.jpg: a full-sphere panorama has width/height"):
        Vos360(vos360).sequence("000")
    for mask in (clip / "mask").iterdir():
        mask.unlink()
    with pytest.raises(LayoutError, match="4 frames and 0 masks: unpack mask again"):
        Vos360(vos360).sequence("000")
    with pytest.raises(KeyError, match="no clip '999'"):
        Vos360(vos360).sequence("999")
