"""panosam2_track: tracking of a video, a folder or a bag into files, and the resumption of killed runs."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.process import ROOT, Process, wait_for
from helpers.rerun_files import recorded
from helpers.videos import spoil, write_video
from panosam2_ros.cli import track, track_run
from panosam2_ros.cli.prompt_file import PromptListError, prompts_by_frame, read_prompts
from panosam2_ros.cli.track_outputs import COLUMNS
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.io.frame_source import open_frames, stamped_frames
from panosam2_ros.io.label_png import read_labels
from panosam2_ros.io.video import StampedFrame
from panosam2_ros.prompts.prompt import Prompt, PromptStatus
from panosam2_ros.tracking.track import PromptOutcome, TrackedFrame

GRID = Equirect(256, 128)
FRAMES = 9
BALL, BOX = "ball,1", ["--box=235,46,20,80"]  # the ball of frame 0, across the seam
VECTORS = GRID.pixel_to_vector(*np.meshgrid(np.arange(256), np.arange(128)))
Row = dict[str, str]


def direction(index: int) -> np.ndarray:
    return lonlat_to_vector(math.pi + 0.03 * index, 0.0)


def write_images(folder: Path, frames: int = FRAMES) -> Path:
    """Draw a red ball that crosses the seam, in front of sky and ground."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 12, (128, 256, 3), np.uint8)
    for index in range(frames):
        image = np.full((128, 256, 3), (220, 160, 120), np.uint8)  # B, G, R
        image[64:] = (60, 110, 90)
        image += noise
        image[VECTORS @ direction(index) > math.cos(0.35)] = (30, 30, 210)
        cv2.imwrite(str(folder / f"{index:03d}.png"), image)
    return folder


def arguments(source: Path, out: Path, *more: str) -> list[str]:
    return [str(source), f"--out={out}", *BOX, f"--label={BALL}", "--save-every=2", "--rate=5", *more]


def table(out: Path) -> list[Row]:
    with (out / "bearings.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "images")


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    track.main(arguments(images, out))
    return out


def test_masks_and_bearings_are_those_of_the_ball(whole: Path) -> None:
    rows = table(whole)
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
    assert [int(row["stamp_ns"]) for row in rows] == [i * 200_000_000 for i in range(FRAMES)]
    for index, row in enumerate(rows):
        assert (row["object_id"], row["label"], row["state"]) == ("1", BALL, "VISIBLE")
        found = [float(row[f"direction_{axis}"]) for axis in "xyz"]
        assert angle_between(found, direction(index)) < math.radians(4)
        error = float(row["azimuth"]) + math.atan2(direction(index)[0], direction(index)[2])
        assert math.cos(error) > math.cos(math.radians(4))  # left is positive
        labels = read_labels(whole / "masks" / f"{index:06d}.png")
        true = VECTORS @ direction(index) > math.cos(0.35)
        assert labels.dtype == np.uint16 and set(np.unique(labels)) == {0, 1}
        assert (true & (labels == 1)).sum() / (true | (labels == 1)).sum() > 0.7
        area = GRID.pixel_solid_angles() @ true.sum(1)  # the network's mask is somewhat smaller
        assert float(row["solid_angle"]) == pytest.approx(area, rel=0.2)  # also in the prompted frame


def test_masks_have_16_bits(whole: Path) -> None:
    raw = cv2.imread(str(whole / "masks" / "000003.png"), cv2.IMREAD_UNCHANGED)
    assert raw.dtype == np.uint16 and raw.shape == (128, 256)


def test_video_has_every_frame(whole: Path) -> None:
    video = cv2.VideoCapture(str(whole / "overlay.mp4"))
    frames = [frame for read, frame in iter(video.read, (False, None)) if read]
    assert len(frames) == FRAMES and frames[0].shape == (128, 256, 3)
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    assert not (whole / "overlay.part.mp4").exists()


def test_parquet_equals_the_table(whole: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow", exc_type=ImportError)
    found = parquet.read_table(whole / "bearings.parquet").to_pylist()
    assert tuple(found[0]) == COLUMNS
    for ours, row in zip(found, table(whole), strict=True):
        assert ours["label"] == BALL and ours["stamp_ns"] == int(row["stamp_ns"])
        assert ours["azimuth"] == pytest.approx(float(row["azimuth"]))


def test_killed_runs_are_resumed_exactly(images: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Process("panosam2_ros.cli.track", *arguments(images, out), log=tmp_path / "log") as process:
        wait_for(lambda: (out / "masks" / "000004.png").exists() or not process.running, 120, "five masks")
        assert process.running, process.output
        process.stop(signal.SIGKILL)
    assert 1 <= len(list(out.glob("frame-*.safetensors"))) <= 2
    with (out / "bearings.csv").open("a") as file:
        file.write("1,17")  # an incomplete row, as after a crash
    rerun = [f"--rerun={tmp_path / 'run.rrd'}"] if importlib.util.find_spec("rerun") else []
    track.main(arguments(images, out, *rerun))
    assert (out / "bearings.csv").read_bytes() == (whole / "bearings.csv").read_bytes()
    masks = [path.name for path in sorted((whole / "masks").iterdir())]
    assert masks == [path.name for path in sorted((out / "masks").iterdir())] and len(masks) == FRAMES
    for name in masks:
        assert (out / "masks" / name).read_bytes() == (whole / "masks" / name).read_bytes()
    if rerun:
        arrows = recorded(tmp_path / "run.rrd")["/sphere/directions"]["Arrows3D:vectors"]
        assert [frame for frame, _, _ in arrows] == list(range(FRAMES)), "those before the kill as well"


def test_finished_runs_are_kept_and_other_settings_refused(images: Path, whole: Path) -> None:
    before = (whole / "masks" / "000000.png").stat().st_mtime_ns
    track.main(arguments(images, whole, "--no-video"))
    assert (whole / "masks" / "000000.png").stat().st_mtime_ns == before and len(table(whole)) == FRAMES
    with pytest.raises(SystemExit, match=r"other settings \(prompts\): give another --out"):
        track.main(arguments(images, whole, "--click=1,2"))


def test_a_finished_run_is_recorded_for_rerun_as_its_table_has_it(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "run.rrd"
    track.main(arguments(images, whole, "--no-video", f"--rerun={path}"))
    found, rows = recorded(path), table(whole)
    arrows = found["/sphere/directions"]["Arrows3D:vectors"]
    assert [(frame, stamp) for frame, stamp, _ in arrows] == [
        (int(row["frame"]), int(row["stamp_ns"])) for row in rows
    ]
    for (_, _, (vector,)), row in zip(arrows, rows, strict=True):
        assert np.allclose(vector, [float(row[f"direction_{axis}"]) for axis in "xyz"], atol=1e-6)
    masks = found["/panorama/masks"]["SegmentationImage:buffer"]
    assert len(masks) == len(rows) == FRAMES
    for index, _, (buffer,) in masks:
        labels = np.array(buffer, np.uint8).view(np.uint16).reshape(128, 256)
        assert np.array_equal(labels, read_labels(whole / "masks" / f"{index:06d}.png"))
    for name, column in (("azimuth", "azimuth"), ("elevation", "elevation")):
        shown = [value for _, _, (value,) in found[f"/plots/{name}/1"]["Scalars:scalars"]]
        assert np.allclose(shown, [math.degrees(float(row[column])) for row in rows])
    speeds = found["/plots/angular_speed/1"]["Scalars:scalars"]
    assert [frame for frame, _, _ in speeds] == [
        int(row["frame"]) for row in rows if row["angular_velocity_x"]
    ]
    assert [frame for frame, _, _ in found["/panorama/prompts/0/box"]["Boxes2D:centers"]] == [0]


@pytest.mark.faults
def test_a_recording_that_cannot_be_is_refused_before_the_run(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install rerun-sdk", exc_type=ImportError)
    with pytest.raises(SystemExit, match=r"panosam2_track: --rerun needs a file whose name ends in \.rrd"):
        track.main(arguments(images, tmp_path / "out", f"--rerun={tmp_path / 'run.mcap'}"))
    assert not (tmp_path / "out").exists()


def test_bag_stamps_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="needs rosbags: make, or pip install rosbags")
    from helpers.bags import PERIOD, START, write_bag

    bag, out = write_bag(tmp_path / "bag", "compressed", frames=3), tmp_path / "out"
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([{"frame": 1, "box": [10, 5, 40, 25]}]))
    track.main([str(bag), f"--out={out}", f"--prompts={prompts}", "--no-video"])
    found = {(int(row["frame"]), int(row["stamp_ns"])) for row in table(out)}
    assert found == {(i, START + i * PERIOD) for i in (1, 2)}  # the object is prompted in frame 1
    assert len(list((out / "masks").iterdir())) == 3 and not (out / "overlay.mp4").exists()


def entries(*words: str) -> list[Any]:
    """Return the prompts of a command line."""
    given = track._with_negative_numbers(["source", "--out=out", *words])
    return list(track._entries(track._parser().parse_args(given)))


@pytest.mark.faults
def test_labels_belong_to_the_prompts_in_their_order() -> None:
    prompts = ["--click=1,2", "--box=3,4,5,6", "--direction=7,8", "--box=9,9,9,9"]
    labels = [f"--label={name}" for name in "abcd"]
    found = entries(*prompts, *labels)
    assert found == entries(*(word for pair in zip(labels, prompts, strict=True) for word in pair))
    assert [entry["label"] for entry in found] == ["a", "b", "c", "d"]
    assert found[0]["points"] == [[1, 2]] and found[1]["box"] == [3, 4, 5, 6]
    assert found[2]["direction"] == [7, 8] and found[3]["box"] == [9, 9, 9, 9]
    assert [entry["label"] for entry in entries(*prompts, "--label=all")] == ["all"] * 4
    assert not any("label" in entry for entry in entries(*prompts))


@pytest.mark.faults
@pytest.mark.parametrize(("prompts", "labels"), [(4, 2), (4, 3), (2, 3), (0, 1)])
def test_numbers_of_labels_that_do_not_fit_are_refused(prompts: int, labels: int) -> None:
    words = ["--box=1,2,3,4"] * prompts + ["--label=cup"] * labels
    with pytest.raises(PromptListError, match=rf"each of the {prompts} objects .*got {labels}: 'cup'"):
        entries(*words)


@pytest.mark.faults
@pytest.mark.parametrize("words", [["--direction", "-30,5"], ["--direction=-30,5"]])
def test_directions_to_the_right_need_no_equals_sign(words: list[str]) -> None:
    assert entries(*words) == [{"frame": 0, "direction": [-30, 5]}]
    assert entries("--box", "-.5,2,3,4", *words)[0]["box"] == [-0.5, 2, 3, 4]


@pytest.mark.faults
def test_missing_frames_are_counted_at_the_end_and_times_are_those_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [0, 100, 200, 1500, 1600]
    video = spoil(write_video(tmp_path / "hole.mp4", times, size=(256, 128)), 2)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        track.main([str(video), f"--out={out}", "--box=130,10,250,110"])
    assert ended.value.code == 3 and "4 of 5 frames could be read, 1 are missing (" in capsys.readouterr().err
    assert len(list((out / "masks").iterdir())) == 4
    assert [int(row["stamp_ns"]) // 10**6 for row in table(out)] == [0, 100, 1500, 1600]
    overlay = open_frames(out / "overlay.mp4")
    assert [frame.stamp // 10**6 for frame in stamped_frames(overlay)] == [0, 100, 1500, 1600]


def test_refused_prompts_end_the_run(images: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("[{frame: 1, object_id: 7, box: [10, 5, 40, 25]}]")
    with pytest.raises(SystemExit, match=r"frame 1, prompt .*object 7 is not known"):
        track.main([str(images), f"--out={tmp_path / 'out'}", f"--prompts={prompts}"])


def test_prompts_by_frame_reads_every_kind_of_prompt() -> None:
    entries: list[Any] = [
        {"label": "cup", "box": [250, 1, 5, 9]},
        {"frame": 3, "points": [[1, 2], [3, 4]], "point_labels": [1, 0], "object_id": 1},
        {"frame": 3, "direction": [90, 45]},
    ]
    found = prompts_by_frame(entries, GRID)
    assert list(found) == [0, 3]
    (cup,), (correction, there) = found[0], found[3]
    assert (cup.label, cup.box, cup.obj_id) == ("cup", (250, 1, 5, 9), 0)
    assert correction.obj_id == 1 and correction.point_labels.tolist() == [1, 0]
    assert np.allclose(GRID.pixel_to_lonlat(*there.points[0]), (-math.pi / 2, math.pi / 4))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("box: [1, 2, 3, 4]", "a list of prompts"),
        ("[]", "nothing to track"),
        ("[{bax: [1, 2, 3, 4]}]", "prompt 1.*'bax'.*known are frame, label"),
        ("[{box: [1, 2, 3]}]", "4 numbers, got"),
        ("[{points: [1, 2]}]", "a point is u, v"),
        ("[{frame: -1, box: [1, 2, 3, 4]}]", "count from 0"),
        ("[{direction: [left, 2]}]", "prompt 1.*left"),
        ("[{direction: [0, 91]}]", "prompt 1.*within 90 degrees"),
    ],
)
def test_invalid_prompts_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "prompts.yaml").write_text(text)
    with pytest.raises(PromptListError, match=reason):
        prompts_by_frame(read_prompts(tmp_path / "prompts.yaml"), GRID)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_small_prompted_objects_are_drawn_over_large_ones(order: tuple[int, int]) -> None:
    masks = {1: np.zeros((128, 256), bool), 2: np.zeros((128, 256), bool)}
    masks[1][20:60, 20:60] = masks[2][30:40, 30:40] = True
    before = np.full((128, 256), 3, np.uint16)
    before[:10] = 1  # its mask before the correction

    class Prompted:
        """A tracker that returns the two masks."""

        def step(self, image: np.ndarray, stamp: int) -> TrackedFrame:
            return TrackedFrame(stamp, before, ())

        def prompt(self, image: np.ndarray, stamp: int, prompts: list[Prompt]) -> list[PromptOutcome]:
            return [PromptOutcome(PromptStatus.OK, "", SimpleNamespace(obj_id=i), masks[i]) for i in order]  # type: ignore[arg-type]

        def tracks(self) -> tuple[()]:
            return ()

    run = track_run.TrackRun(SimpleNamespace(grid=GRID), [{"box": [1, 2, 3, 4]}] * 2, Prompted())  # type: ignore[arg-type]
    labels = run._tracked(0, StampedFrame(np.zeros((128, 256, 3), np.uint8), 0, frame_id="")).labels
    assert (labels[masks[2]] == 2).all() and (labels[masks[1] & ~masks[2]] == 1).all()
    assert (labels[:10] == 0).all() and (labels[70:] == 3).all() and labels.dtype == np.uint16


def test_directions_outside_a_cropped_image_are_refused() -> None:
    with pytest.raises(PromptListError, match=r"above or below the image.*within 45 degrees"):
        prompts_by_frame([{"direction": [0, 80]}], Equirect(256, 64, math.pi / 2))


def test_labels_that_yaml_reads_as_dates_are_kept(images: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("[{label: 2024-05-01, box: [235, 46, 20, 80]}]")
    given = [str(images), f"--out={tmp_path / 'out'}", f"--prompts={prompts}", "--frames=2"]
    for _ in range(2):  # started and resumed
        track.main(given)
    assert {row["label"] for row in table(tmp_path / "out")} == {"2024-05-01"}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--save-every=0"], "--save-every must be at least 1"),
        (["--vertical-fov=9"], "vertical_fov must lie"),
        (["--projection=dual_fisheye", "--calibration=/nowhere.yaml"], "/nowhere.yaml"),
        (["--frame=99"], "there are 9 frames, so no frame 99"),
    ],
)
def test_invalid_options_are_refused(images: Path, tmp_path: Path, more: list[str], reason: str) -> None:
    with pytest.raises(SystemExit, match=reason):
        track.main(arguments(images, tmp_path / "out", *more))


def test_command_needs_no_ros() -> None:
    code = (
        "import sys; sys.modules['rclpy'] = sys.modules['sensor_msgs'] = None; "
        "import panosam2_ros.cli.track; assert 'panosam2_ros.msg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.faults
@pytest.mark.parametrize("place", ["source", "prompts", "label", "file"])
def test_what_comes_from_outside_is_escaped_in_the_terminal(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    evil, folder = "a\x1b[2Jb\nc\u202e", tmp_path / "a\x1b[2Jb\u202e"
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([{"label": evil, "object_id": 7, "box": [10, 5, 40, 25]}]))
    more = {
        "source": [str(tmp_path / evil), f"--out={folder}", "--click=1,2"],
        "prompts": [str(images), f"--out={folder}", f"--prompts={prompts}", "--frames=1"],
        "label": [str(images), f"--out={folder}", "--click=1,2", f"--label={evil}", "--label=b"],
        "file": [str(images), f"--out={folder}", f"--box={BOX[0][6:]}", "--frames=1", "--no-video"],
    }[place]
    said = ""
    try:
        track.main(more)
    except SystemExit as ended:
        said = str(ended.code)
    said += capsys.readouterr().out
    assert said and all(line.isprintable() for line in said.splitlines()) and r"\x1b[2Jb" in said
