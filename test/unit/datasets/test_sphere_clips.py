"""Perspective clips on the sphere: their layouts, names, ground truth, and what is refused."""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.datasets.sequence import LayoutError, VideoSequence
from panosam2_ros.datasets.sphere_clips import DEFAULT_PLACEMENTS, SPHERE_GRID, SphereClips
from panosam2_ros.datasets.sphere_projection import Placement, neutral_background
from panosam2_ros.evaluation import evaluate
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.io.label_png import write_labels

WIDTH, HEIGHT, FRAMES = 320, 180, 4
TANGENTS = math.tan(math.radians(35)), math.tan(math.radians(35)) * HEIGHT / WIDTH
RADIUS = math.radians(9)  # of the disc


def picture_directions():
    """Return the directions [H, W, 3] of a picture's pixels in its camera's axes, written anew here."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    x = ((u + 0.5) / WIDTH * 2 - 1) * TANGENTS[0]
    y = ((v + 0.5) / HEIGHT * 2 - 1) * TANGENTS[1]
    rays = np.stack([x, y, np.ones_like(x)], -1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def disc(index: int):
    """Return labels [H, W]: object 1 is a circle on the sphere that moves right from the middle."""
    centre = np.array([math.sin(0.05 * index), 0.0, math.cos(0.05 * index)])
    return (angle_between(picture_directions(), centre) < RADIUS).astype(np.uint16)


def write_clip(frames: Path, masks: Path, *, late: bool = False) -> None:
    """Write a clip in which object 1 is red; ``late``: object 2 appears in the third frame."""
    frames.mkdir(parents=True)
    for index in range(FRAMES):
        labels = disc(index)
        if late and index >= 2:
            labels[:40, :40] = 2
        image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        image[labels == 1] = (220, 30, 30)
        Image.fromarray(image).save(frames / f"{index:05d}.jpg", quality=95)
        write_labels(masks / f"{index:05d}.png", labels)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "disc" / "JPEGImages", tmp_path / "disc" / "Annotations")
    return tmp_path / "disc"


def test_a_clip_has_a_sequence_for_every_placement(clip: Path) -> None:
    dataset = open_dataset(DatasetSpec(f"sphere:{clip}"))
    assert dataset.names == ("disc@0,0", "disc@180,0", "disc@170,55")
    assert (dataset.name, dataset.split, dataset.has_ground_truth) == ("sphere", "disc", True)
    for name in dataset.names:
        sequence: VideoSequence = dataset.open(name)
        assert (sequence.name, len(sequence), sequence.grid) == (name, FRAMES, SPHERE_GRID)
        assert dict(sequence.first_frames) == {1: 0}
        assert sequence.attributes == {f"at {name.partition('@')[2]}"}
        labels = sequence.labels(2)
        assert labels is not None and labels.dtype == np.uint16 and set(np.unique(labels)) == {0, 1}
        first = sequence.labels(0)
        assert first is not None and (sequence.prompt_mask(1) == (first == 1)).all()
        inside = sequence.image(2)[labels == 1].astype(float)
        assert np.abs(np.median(inside, 0) - (220, 30, 30)).max() < 6  # RGB, and where the labels are


@pytest.mark.parametrize("placement", DEFAULT_PLACEMENTS, ids=lambda placement: placement.name)
@pytest.mark.parametrize("index", [0, 3])
def test_direction_and_solid_angle_of_a_disc_are_those_it_was_drawn_with(clip, placement, index) -> None:
    labels = SphereClips(clip).sequence(f"disc@{placement.name}").labels(index)
    assert labels is not None
    areas, (v, u) = SPHERE_GRID.pixel_solid_angles(), np.nonzero(labels == 1)
    assert areas[v].sum() == pytest.approx(2 * math.pi * (1 - math.cos(RADIUS)), rel=0.01)
    mean = areas[v] @ SPHERE_GRID.pixel_to_vector(u, v)
    # the picture's axes at the placement, from yaw and pitch by hand
    yaw, pitch = math.radians(placement.yaw), math.radians(placement.pitch)
    right = np.array([math.cos(yaw), 0, -math.sin(yaw)])
    forward = np.array([math.cos(pitch) * math.sin(yaw), -math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
    wanted = math.sin(0.05 * index) * right + math.cos(0.05 * index) * forward
    assert math.degrees(angle_between(mean / np.linalg.norm(mean), wanted)) < 0.05
    assert (u.min() == 0 and u.max() == SPHERE_GRID.width - 1) == (placement.yaw >= 170)  # across the seam


def test_placements_are_chosen_and_named(clip: Path, tmp_path: Path) -> None:
    text = f"{clip}@0,0;-90.5,30;0,0,100"
    assert open_dataset(DatasetSpec(f"sphere:{text}")).names == ("disc@0,0", "disc@-90.5,30", "disc@0,0,100")
    wide = SphereClips.parse(text).sequence("disc@0,0,100").labels(0)
    usual = SphereClips.parse(text).sequence("disc@0,0").labels(0)
    assert wide is not None and usual is not None and (wide > 0).sum() > 2 * (usual > 0).sum()
    at = tmp_path / "with@sign"
    shutil.copytree(clip, at)
    assert SphereClips.parse(str(at)).names[0] == "with@sign@0,0"
    assert SphereClips.parse(f"{at}@180,0").names == ("with@sign@180,0",)
    with pytest.raises(KeyError, match="no sequence 'disc@9,9'; it has disc@0,0"):
        SphereClips(clip).sequence("disc@9,9")


@pytest.mark.parametrize("inner", ["", "480p"])
def test_a_root_of_clips(tmp_path: Path, inner: str) -> None:
    for name in ("boat", "dog"):
        folders = [tmp_path / kind / inner / name for kind in ("JPEGImages", "Annotations")]
        write_clip(folders[0], folders[1], late=name == "dog")
    dataset = open_dataset(DatasetSpec(f"sphere:{tmp_path}@0,0;180,0"))
    assert dataset.names == ("boat@0,0", "boat@180,0", "dog@0,0", "dog@180,0")
    dog = dataset.open("dog@180,0")
    assert dict(dog.first_frames) == {1: 0, 2: 2}
    assert dog.prompt_mask(2).any()
    again = pickle.loads(pickle.dumps(dataset.open))("dog@180,0")  # for processes of a run
    assert (again.image(1) == dog.image(1)).all()
    shutil.rmtree(tmp_path / "Annotations" / inner / "dog")
    with pytest.raises(LayoutError, match=r"has 2 clips, 1 of them have no folder in .*, first 'dog'"):
        SphereClips(tmp_path)


def test_frames_without_masks_have_no_ground_truth(clip: Path) -> None:
    (clip / "Annotations" / "00002.png").unlink()
    some = SphereClips(clip).sequence("disc@0,0")
    assert [some.labels(index) is None for index in range(FRAMES)] == [False, False, True, False]
    for index in (1, 3):
        (clip / "Annotations" / f"{index:05d}.png").unlink()
    prompts = SphereClips(clip).sequence("disc@0,0")  # only the mask to prompt with, as in hidden test sets
    assert [prompts.labels(index) for index in range(FRAMES)] == [None] * FRAMES
    assert prompts.prompt_mask(1).any()
    with pytest.raises(KeyError, match=r"no object 5; it has \[1\]"):
        prompts.prompt_mask(5)


def test_the_background_is_grey_or_a_photograph(clip: Path, tmp_path: Path) -> None:
    image = SphereClips(clip).sequence("disc@0,0").image(0)
    assert (image[:, -1] == neutral_background(SPHERE_GRID)[:, -1]).all()
    photograph = tmp_path / "blue.png"
    for width in (2048, 640):  # shrunk, enlarged
        Image.new("RGB", (width, width // 2), (10, 20, 200)).save(photograph)
        image = SphereClips(clip, background=photograph).sequence("disc@0,0").image(0)
        assert (image[:, -1] == (10, 20, 200)).all() and image.shape == (960, 1920, 3)
    blue, grey = (
        open_dataset(DatasetSpec(f"sphere:{clip}", background=b)).config_sha256 for b in (str(photograph), "")
    )
    assert blue != grey
    Image.new("RGB", (64, 64)).save(photograph)
    with pytest.raises(ValueError, match=r"the background .*blue\.png is no panorama: .*64x64"):
        SphereClips(clip, background=photograph).sequence("disc@0,0")
    with pytest.raises(ValueError, match=r"there is no background .*red\.png: give a panorama"):
        open_dataset(DatasetSpec(f"sphere:{clip}", background=str(tmp_path / "red.png")))


def test_frames_and_masks_need_one_size(clip: Path) -> None:
    Image.new("RGB", (300, HEIGHT)).save(clip / "JPEGImages" / "00001.jpg")
    with pytest.raises(LayoutError, match=r"00001\.jpg is 300x180 but the first frame of disc is 320x180"):
        SphereClips(clip).sequence("disc@0,0").image(1)
    write_labels(clip / "Annotations" / "00003.png", np.ones((HEIGHT, 300), np.uint16))
    with pytest.raises(LayoutError, match=r"00003\.png is 300x180 but disc is 320x180"):
        SphereClips(clip).sequence("disc@0,0").labels(3)
    (clip / "JPEGImages" / "00000.jpg").write_bytes(b"no picture")
    with pytest.raises(LayoutError, match=r"00000\.jpg cannot be read as an image: .*or write it again"):
        SphereClips(clip).sequence("disc@0,0").labels(0)


def test_files_that_do_not_fit(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="nowhere there is no such folder: give the folder that holds"):
        SphereClips(tmp_path / "nowhere")
    (clip / "Annotations" / "00003.png").rename(clip / "Annotations" / "00099.png")
    with pytest.raises(LayoutError, match=r"00099\.png belongs to no frame of disc, whose frames are 0\.\.3"):
        SphereClips(clip).sequence("disc@0,0")
    for path in (clip / "Annotations").iterdir():
        path.unlink()
    with pytest.raises(LayoutError, match=r"disc has 4 frames and 0 PNG masks, in .* an empty folder"):
        SphereClips(clip).sequence("disc@0,0")
    for index in range(FRAMES):
        write_labels(clip / "Annotations" / f"{index:05d}.png", np.zeros((HEIGHT, WIDTH), np.uint16))
    with pytest.raises(LayoutError, match="4 masks show no object on a panorama of 1920x960"):
        SphereClips(clip).sequence("disc@0,0").prompt_mask(1)
    shutil.rmtree(clip / "Annotations")
    with pytest.raises(LayoutError, match="disc there is JPEGImages: give the folder that holds"):
        SphereClips(clip)


@pytest.mark.parametrize(
    ("placements", "message"),
    [
        ("0,91", r"pitch of a placement lies in -90\.\.90 degrees, up positive, got 91"),
        ("0,nan", "pitch of a placement lies in"),
        ("inf,0", "yaw of a placement is a number of degrees, got inf"),
        ("0,0,0", r"field of view of a perspective picture lies in \(0, 180\) degrees, got 0: give"),
        ("0,0,180", r"lies in \(0, 180\) degrees, got 180"),
        ("0", "a placement is YAW,PITCH or YAW,PITCH,FOV in degrees, got '0'"),
        ("left,0", "a placement is YAW,PITCH .* got 'left,0'"),
        ("0,0;10,0;0,0", "placements are given twice: 0,0: give each once"),
    ],
)
def test_placements_that_there_are_not(clip: Path, placements: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_dataset(DatasetSpec(f"sphere:{clip}@{placements}"))


def test_the_evaluation_scores_clips_on_the_sphere(clip: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    common = ["--method", "keep-first", "--threads", "1", "--out", str(out)]
    assert evaluate.main(["--dataset", f"sphere:{clip}@0,0;180,0", *common]) == 0
    assert "| keep-first | mask | 0." in capsys.readouterr().out
    assert (out / "keep-first-mask-accuracy" / "disc@180,0.png").is_file()
    with pytest.raises(SystemExit):
        evaluate.main(["--dataset", f"sphere:{clip}@0,95", *common])
    assert "evaluate: the pitch of a placement" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main(["--dataset", "staged", "--background", "grey.png", *common])
    assert "--background is of --dataset sphere:DIR, got 'staged'" in capsys.readouterr().err


def test_placements_are_read_from_their_names() -> None:
    for placement in (*DEFAULT_PLACEMENTS, Placement(-12.25, 1e-3, 120)):
        assert Placement.parse(placement.name) == placement
