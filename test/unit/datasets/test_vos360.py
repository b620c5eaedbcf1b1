"""360VOS and PanoVOS on miniature data in exactly their layouts; palette PNGs; submissions."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from panosam2_ros.datasets.folder_sequence import SubmissionWriter
from panosam2_ros.datasets.panovos import PanoVos
from panosam2_ros.datasets.sequence import LayoutError, SceneSequence, VideoSequence
from panosam2_ros.datasets.vos360 import ATTRIBUTES, Vos360, pair_masks, read_info
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.label_png import davis_palette, read_labels, write_labels
from panosam2_ros.simulation.scene import SceneFrame

WIDTH, HEIGHT = 32, 16
HEADER = (
    "Sequence (User can ignore),360VOS ID,Target,Split,Muptiple,360VOT ID,"
    "IV(illumination variation),CB(cross border),LFoV(large FoV),XY(something new)"
)
INFO = f"""{HEADER}
aaaaaaaaaaa_0-10_0-35,000,bear,train,,1,,1,,1
bbbbbbbbbbb_start_0-39,052,bird,train,,,1,,1
ccccccccccc,000,boat,test,,,1,,,
ddddddddddd,,cat,none,,7,,1,,
,,,,,,2,2,1,1
"""


def box(obj_id: int, u: int) -> NDArray[np.uint16]:
    """Return labels [H, W] with one object of 4 x 4 pixels."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[6:10, u : u + 4] = obj_id
    return labels


def write_image(path: Path, value: int) -> None:
    """Write a frame that is identified by its value; it is red, so that BGR order would be noticed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = value
    Image.fromarray(image).save(path, quality=95)


def write_clip(folder: Path, frames: list[int], masks: list[int]) -> None:
    """Write a clip of 360VOS whose object 1 moves by a column per frame."""
    for number in frames:
        write_image(folder / "image" / f"{number:06d}.jpg", 50 + 10 * number)
    for number in masks:
        write_labels(folder / "mask" / f"{number:06d}.png", box(1, number))


@pytest.fixture
def vos360(tmp_path: Path) -> Path:
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


# --- palette -------------------------------------------------------------------------------------


def test_palette_is_the_one_of_davis() -> None:
    colours = davis_palette().tolist()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[8] == [64, 0, 0]
    assert colours[15] == [192, 128, 128]
    assert colours[20] == [0, 64, 128] and colours[255] == [224, 224, 192]
    assert len({tuple(c) for c in colours}) == 256


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


# --- 360VOS --------------------------------------------------------------------------------------


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


# --- PanoVOS -------------------------------------------------------------------------------------


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


# --- synthetic scenes ----------------------------------------------------------------------------


class Scene:
    """A stand-in for ``simulation.scene.Scene`` that records what is rendered."""

    grid = Equirect(WIDTH, HEIGHT)

    def __init__(self) -> None:
        self.rendered: list[int] = []

    def __len__(self) -> int:
        return 3

    def render(self, index: int) -> SceneFrame:
        self.rendered.append(index)
        image = np.full((HEIGHT, WIDTH, 3), index, np.uint8)
        labels = (box(3, index) + (box(5, 20) if index else 0)).astype(np.uint8)
        return SceneFrame(index, index / 10, image, labels, (), np.eye(3))


def test_synthetic_scenes_are_sequences_too() -> None:
    scene = Scene()
    sequence: VideoSequence = SceneSequence("scene", scene, attributes=frozenset({"crossing_border"}))
    assert sequence.first_frames == {3: 0}  # 5 is not there yet
    assert (len(sequence), sequence.attributes) == (3, {"crossing_border"})
    labels = sequence.labels(2)
    assert labels is not None and labels.dtype == np.uint16
    assert set(np.unique(labels)) == {0, 3, 5}
    assert (sequence.image(2) == 2).all()
    assert (sequence.prompt_mask(3) == (box(3, 0) == 3)).all()
    assert scene.rendered == [0, 2, 0]
