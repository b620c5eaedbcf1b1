"""PanoVOS on miniature data in exactly its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.tiny_datasets import HEIGHT, WIDTH, box
from panosam2_ros.datasets.panovos import PanoVos
from panosam2_ros.datasets.sequence import LayoutError, VideoSequence
from panosam2_ros.datasets.vos360 import Vos360
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.label_png import write_labels


def test_panovos_objects_start_in_their_own_frames(panovos: Path) -> None:
    """Frame numbers need not start at 0: 7 is index 0, 9 is index 2."""
    video: VideoSequence = PanoVos(panovos, "val").sequence("street")
    assert (video.name, len(video), video.grid) == ("street", 4, Equirect(WIDTH, HEIGHT))
    assert video.first_frames == {1: 0, 2: 2}
    assert (video.prompt_mask(1) == (box(1, 7) == 1)).all()
    assert (video.prompt_mask(2) == (box(2, 9) == 2)).all()
    np.testing.assert_allclose(video.image(3).mean((0, 1)), [100, 0, 0], atol=2)


def test_first_masks_of_panovos_are_no_ground_truth(panovos: Path) -> None:
    """Object 1 is not in the public mask in which object 2 starts, although it is visible there."""
    hidden, public = (PanoVos(panovos, s).sequence("street") for s in ("val", "train"))
    assert [hidden.labels(i) for i in range(4)] == [None] * 4
    labels = public.labels(2)
    assert labels is not None and set(np.unique(labels)) == {0, 1, 2}


def test_panovos_layouts_that_are_mixed_up(panovos: Path, vos360: Path) -> None:
    assert panovos == vos360  # both sets in one folder: each finds its own
    assert PanoVos(panovos, "val").names == ("street",)
    with pytest.raises(LayoutError, match="That is 360VOS: open it with Vos360"):
        PanoVos(vos360, "test")
    with pytest.raises(LayoutError, match="That is PanoVOS: open it with PanoVos"):
        Vos360(panovos, "val")
    with pytest.raises(LayoutError, match="Give ROOT"):
        PanoVos(panovos / "val", "val")


def test_panovos_files_that_do_not_fit(panovos: Path) -> None:
    val, annotations = panovos / "val", panovos / "val" / "Annotations" / "street"
    with pytest.raises(KeyError, match="no video 'road'"):
        PanoVos(panovos, "val").sequence("road")
    write_labels(annotations / "00009.png", box(3, 0))
    with pytest.raises(LayoutError, match="should show object 2 for the first time"):
        PanoVos(panovos, "val").sequence("street").prompt_mask(2)
    (annotations / "00009.png").rename(annotations / "00099.png")
    with pytest.raises(LayoutError, match=r"00099\.png belongs to no frame of street"):
        PanoVos(panovos, "val").sequence("street")
    (annotations / "00099.png").unlink()
    video = PanoVos(panovos, "val").sequence("street")
    with pytest.raises(LayoutError, match=r"object 2 of street starts in 00009\.jpg, which has no"):
        video.prompt_mask(2)
    with pytest.raises(KeyError, match=r"no object 5; it has \[1, 2\]"):
        video.prompt_mask(5)
    (annotations / "00007.png").rename(annotations / "00007.jpg")
    with pytest.raises(LayoutError, match=r"4 frames and 0 PNG masks.*00007\.jpg"):
        PanoVos(panovos, "val").sequence("street")
    (val / "JPEGImages" / "street").rename(val / "JPEGImages" / "road")
    with pytest.raises(LayoutError, match="no folder in JPEGImages, first 'street'"):
        PanoVos(panovos, "val")


@pytest.mark.parametrize("text", ["[]", "{}", "no json", '{"videos": {"street": {"objects": {"1": {}}}}}'])
def test_meta_files_of_another_kind_are_refused(panovos: Path, text: str) -> None:
    meta = panovos / "val" / "val_meta.json"
    meta.write_text(text)
    with pytest.raises(LayoutError, match="videos -> objects -> frame_range -> start"):
        PanoVos(panovos, "val")
    meta.unlink()
    with pytest.raises(LayoutError, match=r"needs one val_meta\.json .* says when objects start"):
        PanoVos(panovos, "val")


def test_objects_that_start_outside_are_refused(panovos: Path) -> None:
    meta = panovos / "val" / "val_meta.json"
    meta.write_text(meta.read_text().replace("00009", "00042"))
    with pytest.raises(LayoutError, match=r"object 2 of street starts in frame 42, .* 7\.\.10"):
        PanoVos(panovos, "val").sequence("street")
