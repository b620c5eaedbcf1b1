"""Recordings for Rerun: what is written is read back by Rerun's own reader and compared."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rerun", reason="needs rerun-sdk: pip install rerun-sdk", exc_type=ImportError)

from helpers.rerun_files import Rows, recorded
from panosam2_ros.geometry.bearing import ELLIPSE_95, Bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.visualization import rerun_recording
from panosam2_ros.visualization.drawing import colour
from panosam2_ros.visualization.rerun_recording import LoggedObject, RerunError, RerunRecording

GRID = Equirect(2560, 1280)  # larger than what is written
STATES = (TrackState.VISIBLE, TrackState.OCCLUDED, TrackState.LOST, TrackState.LOST)
STEP, SIGMA, EXTENT = 40_000_001, math.radians(1), (0.5, 0.3)
LABELS = {1: "red chair", 300: "x" * 50}


def thing(obj_id: int, lon: float, state: TrackState, speed: float) -> LoggedObject:
    covariance = np.diag([SIGMA**2, SIGMA**2])
    bearing = Bearing(lonlat_to_vector(lon, 0.25), covariance, *EXTENT, 0.1)
    return LoggedObject(obj_id, LABELS[obj_id], state, 0.75, bearing, speed)


def labels() -> np.ndarray:
    found = np.zeros((GRID.height, GRID.width), np.uint16)
    found[300:500, 100:400], found[:, -200:] = 1, 300
    return found


def write(path: Path, start: int = 0, frames: int = 4) -> Path:
    """Write a file of a few frames."""
    image = np.zeros((GRID.height, GRID.width, 3), np.uint8)
    image[:, : GRID.width // 2] = (200, 60, 20)
    with RerunRecording(path, GRID, LABELS) as recording:
        for index, state in enumerate(STATES[:frames]):
            objects = [thing(1, 0.1 * index, state, 0.2), thing(300, -3.0, TrackState.VISIBLE, math.nan)]
            recording.write(index, start + index * STEP, image, labels(), objects if index else [])
            if index == 1:
                box = Prompt(label="red chair", box=(2499.5, 100.0, 99.5, 300.0))
                points = Prompt(points=np.array([[10.0, 20.0], [30.0, 40.0]]), point_labels=np.array([1, 0]))
                recording.write_prompts([box, points])
            assert not path.exists()
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Rows]]:
    """What a file of four frames contains."""
    return recorded(write(tmp_path_factory.mktemp("rerun") / "new" / "run.rrd"))


def values(rows: Rows) -> list[object]:
    return [value for _, _, value in rows]


def test_directions_are_those_of_the_objects_at_exact_times(found: dict[str, dict[str, Rows]]) -> None:
    rows = found["/sphere/directions"]
    vectors = rows["Arrows3D:vectors"]
    assert [(frame, stamp) for frame, stamp, _ in vectors] == [(i, i * STEP) for i in range(4)]
    assert vectors[0][2] == []
    for index, _, directions in vectors[1:]:
        expected = [lonlat_to_vector(0.1 * index, 0.25), lonlat_to_vector(-3.0, 0.25)]
        assert np.allclose(directions, expected, atol=1e-6)
    assert values(rows["Arrows3D:class_ids"])[1:] == [[1, 300]] * 3
    assert found["/sphere"]["ViewCoordinates:xyz"][0][2] == [[3, 2, 5]], "right, down, forward"


def test_times_of_day_are_exact(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_007
    rows = recorded(write(tmp_path / "run.rrd", start, 2))["/sphere/directions"]["Arrows3D:vectors"]
    assert [stamp for _, stamp, _ in rows] == [start, start + STEP]


def test_rings_lie_where_covariance_and_extent_say(found: dict[str, dict[str, Rows]]) -> None:
    rings = found["/sphere/ellipses_95"]["LineStrips3D:strips"][2][2]
    distances = [angle_between(point, lonlat_to_vector(0.2, 0.25)) for point in rings[0]]
    assert np.allclose(distances, SIGMA * math.sqrt(ELLIPSE_95), rtol=1e-3)
    extents = found["/sphere/extents"]["LineStrips3D:strips"][2][2]
    assert max(angle_between(p, lonlat_to_vector(0.2, 0.25)) for p in extents[0]) == pytest.approx(
        0.25, rel=0.01
    )
    assert rings[0][0] == rings[0][-1], "closed"


def test_panorama_and_masks_are_as_wide_as_shown(found: dict[str, dict[str, Rows]]) -> None:
    for _, _, (blob,) in found["/panorama/image"]["EncodedImage:blob"]:
        picture = cv2.imdecode(np.frombuffer(bytes(blob), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (640, 1280, 3)
        assert np.allclose(picture[320, 100], (20, 60, 200), atol=8), "B, G, R"
    for _, _, (buffer,) in found["/panorama/masks"]["SegmentationImage:buffer"]:
        assert np.array_equal(
            np.array(buffer, np.uint8).view(np.uint16).reshape(640, 1280), labels()[::2, ::2]
        )
    (positions,) = {
        tuple(map(tuple, v)) for v in values(found["/panorama/directions"]["Points2D:positions"])[3:]
    }
    u, v = GRID.of_width(1280).vector_to_pixel(lonlat_to_vector(0.3, 0.25))
    assert np.allclose(positions[0], (u + 0.5, v + 0.5), atol=1e-3)
    colours = values(found["/sphere/panorama"]["Points3D:colors"])
    assert len(colours) == 4 and len(set(map(len, colours))) == 1 and len(colours[0]) > 20000


def test_colours_and_names_are_those_of_the_overlay(found: dict[str, dict[str, Rows]]) -> None:
    ((_, _, (context,)),) = found["/"]["AnnotationContext:context"]
    shown = {entry["class_id"]: entry["class_description"]["info"] for entry in context}
    assert shown.keys() == {0, *LABELS} and shown[0]["color"] == 0, "what is no object is transparent"
    assert shown[1]["label"] == "#1 red chair" and shown[300]["label"] == "#300 " + "x" * 20
    for obj_id in LABELS:
        red, green, blue = colour(obj_id)
        assert shown[obj_id]["color"] == red << 24 | green << 16 | blue << 8 | 255


def test_angles_and_states_over_time(found: dict[str, dict[str, Rows]]) -> None:
    azimuths = found["/plots/azimuth/1"]["Scalars:scalars"]
    assert [(f, round(v[0], 3)) for f, _, v in azimuths] == [
        (i, round(-math.degrees(0.1 * i), 3)) for i in (1, 2, 3)
    ], "left is positive"
    assert (
        values(found["/plots/elevation/300"]["Scalars:scalars"]) == [pytest.approx([math.degrees(0.25)])] * 3
    )
    assert (
        values(found["/plots/angular_speed/1"]["Scalars:scalars"]) == [pytest.approx([math.degrees(0.2)])] * 3
    )
    assert not found["/plots/angular_speed/300"]["Scalars:scalars"], "unknown"
    states = [(frame, state) for frame, _, (state,) in found["/states/1"]["StateChange:state"]]
    assert states == [(1, "occluded"), (2, "lost")], "only what changes, and from the first frame that has it"
    texts = [(frame, text) for frame, _, (text,) in found["/events"]["TextLog:text"]]
    assert (2, "#1 red chair: lost") in texts and (1, "prompt: red chair") in texts and len(texts) == 5


def test_prompts_are_shown_in_their_frame_and_split_at_the_seam(found: dict[str, dict[str, Rows]]) -> None:
    ((frame, _, centres),) = found["/panorama/prompts/0/box"]["Boxes2D:centers"]
    ((_, _, halves),) = found["/panorama/prompts/0/box"]["Boxes2D:half_sizes"]
    assert frame == 1
    corners = [(c[0] - h[0], c[0] + h[0]) for c, h in zip(centres, halves, strict=True)]
    assert np.allclose(corners, [(1250, 1280), (0, 50)]), "half of the columns 2500 to 2560 and 0 to 100"
    ((_, _, points),) = found["/panorama/prompts/1/points"]["Points2D:positions"]
    assert np.allclose(points, [(5.25, 10.25), (15.25, 20.25)])
    assert [frame for frame, _, _ in found["/panorama/prompts"]["Clear:is_recursive"]] == [2]


@pytest.mark.faults
def test_an_exception_leaves_the_file_of_before_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run.rrd"
    path.write_text("of before")
    with pytest.raises(ZeroDivisionError), RerunRecording(path, GRID, LABELS):
        raise ZeroDivisionError
    assert path.read_text() == "of before" and (tmp_path / "run.part.rrd").exists()


@pytest.mark.faults
def test_a_disk_that_is_full_is_said_and_nothing_gets_the_name(tmp_path: Path) -> None:
    """Of a process whose files end at 64 KiB: the viewer's library ends the thread that writes."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "import numpy as np\nfrom pathlib import Path\n"
        "from panosam2_ros.geometry.equirect import Equirect\n"
        "from panosam2_ros.visualization.rerun_recording import RerunError, RerunRecording\n"
        "noise = np.random.default_rng(0).integers(0, 255, (64, 128, 3)).astype(np.uint8)\n"
        "try:\n"
        "  with RerunRecording(Path(sys.argv[1]), Equirect(128, 64), {}) as recording:\n"
        "    for i in range(51): recording.write(i, i, noise, np.zeros((64, 128), np.uint16), [])\n"
        "except RerunError as error: print(error)"
    )
    path = tmp_path / "run.rrd"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "is the disk full?" in done.stdout, done.stdout + done.stderr
    assert not path.exists()


@pytest.mark.faults
def test_places_where_no_recording_can_be_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RerunError, match=r"ends in \.rrd, .* got .*run\.mp4"):
        rerun_recording.check_rerun(tmp_path / "run.mp4")
    (tmp_path / "folder.rrd").mkdir()
    with pytest.raises(RerunError, match=r"ends in \.rrd"):
        rerun_recording.check_rerun(tmp_path / "folder.rrd")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        rerun_recording.check_rerun(tmp_path / "file" / "run.rrd")
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(RerunError, match=r'pip install "rerun-sdk>=0\.41"'):
        rerun_recording.check_rerun(tmp_path / "run.rrd")
