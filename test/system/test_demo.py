"""The demo as a user runs it, small; and its numbers on a run that was made up."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Image

from helpers.process import ROOT, Process, wait_for
from helpers.rerun_files import recorded
from panosam2_ros.demo import demo
from panosam2_ros.demo.asked_prompt import AskedPrompt
from panosam2_ros.demo.pictures import contact_picture, short, write_video
from panosam2_ros.demo.recorder import encode_picture
from panosam2_ros.demo.recording import Bearings, Recording, RecordingWriter, RunLengths, Seen
from panosam2_ros.demo.report import DemoRun, overlap
from panosam2_ros.demo.rerun_demo import write_demo
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.model.build import random_model
from panosam2_ros.model.weights import save_weights
from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.simulation.simulated_prompts import PlannedPrompt
from panosam2_ros.srv import PromptObjects

FIELDS = {
    *("frames_published", "frames_received", "frames_processed", "frames_dropped", "hz"),
    *("latency_ms_p50", "latency_ms_p95", "mean_iou", "bearing_error_deg_median"),
    *("bearing_error_deg_p95", "objects", "machine", "versions", "date"),
}
STEP = 100_000_000  # ns


def seen(lon: float, visible: bool = True, obj_id: int = 1) -> Seen:
    x, y, z = (float(c) for c in lonlat_to_vector(lon, 0.0))
    return Seen(obj_id, "mug", visible, 1 if visible else 2, 1.0, (x, y, z))


def block(first: int, obj_id: int, width: int = 20) -> np.ndarray:
    labels = np.zeros((64, 128), np.uint16)
    labels[20:40, np.arange(first, first + width) % 128] = obj_id
    return labels


def made_up(folder: Path) -> Recording:
    """Truth 5 across the seam; the node calls it 1: unknown, right, half right, not seen, hidden."""
    writer = RecordingWriter(folder)
    told = {
        1: ((), block(0, 0)),
        2: ((seen(np.pi),), block(118, 1)),
        3: ((seen(np.pi - 0.1),), block(118, 1, 10)),
        4: ((seen(np.pi, visible=False),), block(0, 0)),
        5: ((seen(np.pi),), block(118, 1)),
    }
    for i, (objects, labels) in told.items():
        stamp = i * STEP
        truth = block(118, 5) if i < 5 else block(0, 0)
        writer.put("image", stamp, encode_picture(np.full((64, 128, 3), 90, np.uint8)))
        writer.put("true_masks", stamp, RunLengths.of(truth))
        writer.put("true_bearings", stamp, Bearings(stamp, (seen(np.pi, i < 5, 5),)))
        writer.put("masks", stamp, RunLengths.of(labels))
        writer.put("bearings", stamp, Bearings(stamp + 20_000_000 * i, objects))
    plan = PlannedPrompt("box", "mug", 5, box=(118.0, 20.0, 9.0, 39.0))
    asked = AskedPrompt(plan, STEP, obj_id=1, success=True, answer_ms=12.0)
    node, camera = {"frames_received": "6"}, {"frames_published": "8"}
    writer.close({"prompts": [asked.summary()], "node": node, "camera": camera})
    return Recording(folder)


def test_the_report_counts_every_pair_from_the_first_frame_that_knows_the_object(tmp_path):
    with made_up(tmp_path) as recording:
        report = DemoRun(recording).report()
    assert report.keys() >= FIELDS
    assert report["mean_iou"] == pytest.approx((1 + 0.5 + 0) / 3)  # missed while visible: 0
    assert report["pairs"] == report["pairs_on_seam"] == 3
    assert report["bearing_error_deg_median"] == pytest.approx(0.0, abs=1e-6)
    assert report["bearing_error_deg_p95"] == pytest.approx(np.degrees(0.09), rel=1e-3)
    assert report["frames_hidden"] == report["false_alarms_while_hidden"] == 1
    assert report["frames_published"] == 8 and report["frames_lost"] == 2
    assert report["frames_processed"] == 5 and report["frames_dropped"] == 1
    assert report["hz"] == pytest.approx(10.0) and report["latency_ms_p50"] == pytest.approx(60.0)
    (item,) = report["objects"]
    assert item["prompt_crosses_seam"] and item["frames_until_tracked"] == 1
    assert any("WARNING: only 75 %" in line for line in demo.warnings(report))
    json.dumps(report)


def test_a_refused_prompt_counts_as_nothing_found(tmp_path):
    with made_up(tmp_path) as recording:
        (prompt,) = recording.summary["prompts"]
        prompt |= {"success": False, "obj_id": 0, "message": "too small"}
        report = DemoRun(recording).report()
    assert report["mean_iou"] == 0.0 and report["pairs"] == 4
    assert any("REFUSED: too small" in line for line in demo.objects(report))


def test_pictures_come_out_in_one_size_and_open_again(tmp_path):
    with made_up(tmp_path) as recording:
        run = DemoRun(recording)
        picture = contact_picture(run, ["title"])
        assert write_video(run, tmp_path / "demo.mp4", lambda: None) == 5
    assert picture.shape[1] == 1920 and picture.shape[0] > 1440
    video = cv2.VideoCapture(str(tmp_path / "demo.mp4"))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 5


def test_what_the_planner_received_is_recorded_for_rerun(tmp_path):
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install rerun-sdk", exc_type=ImportError)
    with made_up(tmp_path) as recording:
        write_demo(DemoRun(recording), tmp_path / "demo.rrd")
    found = recorded(tmp_path / "demo.rrd")
    arrows = found["/sphere/directions"]["Arrows3D:vectors"]
    assert [(frame, stamp) for frame, stamp, _ in arrows] == [(i, (i + 1) * STEP) for i in range(5)]
    assert arrows[0][2] == []
    assert np.allclose([vectors[0] for _, _, vectors in arrows[1:]], [
        lonlat_to_vector(lon, 0.0) for lon in (np.pi, np.pi - 0.1, np.pi, np.pi)
    ], atol=1e-6)  # fmt: skip
    (_, _, (buffer,)) = found["/panorama/masks"]["SegmentationImage:buffer"][1]
    assert np.array_equal(np.array(buffer, np.uint8).view(np.uint16).reshape(64, 128), block(118, 1))
    states = [(frame, state) for frame, _, (state,) in found["/states/1"]["StateChange:state"]]
    assert states == [(1, "visible"), (3, "occluded"), (4, "visible")]
    ((frame, _, centres),) = found["/panorama/prompts/0/box"]["Boxes2D:centers"]
    assert frame == 0 and len(centres) == 2, "across the seam"


def test_overlap_by_pixels_and_on_the_sphere():
    a, b = np.zeros((64, 128), bool), np.zeros((64, 128), bool)
    a[:32] = True
    b[16:48] = True
    flat, sphere = overlap(a, b)
    assert flat == pytest.approx(1 / 3) and sphere == pytest.approx(np.sqrt(0.5) / (1 + np.sqrt(0.5)))
    assert short("1f34e red apple.webp") == "1f34e red apple"


def test_video_without_a_prompt_says_how_to_prompt_and_shows_the_frame(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 128, 3), np.uint8))
    arguments = ["--video", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"--click U,V .*128x64"):
        demo.main(arguments)
    assert (tmp_path / "out" / "first_frame.png").is_file()
    with pytest.raises(SystemExit, match="outside the video's 128x64"):
        demo.main([*arguments, "--click", "500,3"])
    with pytest.raises(SystemExit, match="there is no"):
        demo.main(["--video", str(tmp_path / "nothing.mp4"), "--click", "1,1"])
    with pytest.raises(SystemExit, match="need --video"):
        demo.main(["--click", "1,1"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(random_model(), path)
    return path


def command(weights: Path, out: Path, *more: str) -> list[str]:
    small = ["--frames", "20", "--width", "256", "--rate", "4", "--out", str(out)]
    return [sys.executable, "-m", "panosam2_ros.demo.demo", "--model", str(weights), *small, *more]


@pytest.mark.slow
def test_three_processes_talk_and_the_results_are_written(weights, tmp_path):
    out = tmp_path / "out"
    file, has_rerun = tmp_path / "demo.rrd", importlib.util.find_spec("rerun") is not None
    more = [f"--rerun={file}"] if has_rerun else []
    done = subprocess.run(command(weights, out, *more), cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "demo.json").read_text())
    assert report.keys() >= FIELDS
    assert report["frames_published"] == 20 and report["received_share"] >= 0.95
    assert 0 < report["frames_processed"] <= 20 and report["latency_ms_p50"] > 0
    assert [item["prompt"] for item in report["objects"]] == ["box", "click", "direction"]
    assert all(item["success"] for item in report["objects"])
    assert report["objects"][0]["prompt_crosses_seam"]
    assert cv2.imread(str(out / "demo.png")) is not None
    assert cv2.VideoCapture(str(out / "demo.mp4")).read()[0]
    assert "across the seam" in done.stdout and "IoU" in done.stdout
    if has_rerun:
        found = recorded(file)
        assert len(found["/panorama/image"]["EncodedImage:blob"]) == report["frames_processed"]
        extents = found["/sphere/extents"]["LineStrips3D:strips"][-1][2]
        assert len(extents) == 3 and np.ptp(extents[0], axis=0).max() > 0, "as the messages say"


@pytest.mark.slow
def test_a_recording_is_tracked_from_a_box_and_a_click_without_truth(weights, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(8):
        pixels = np.full((128, 256, 3), 60, np.uint8)
        cv2.circle(pixels, (100 + 2 * i, 60), 20, (30, 30, 220), -1)
        cv2.imwrite(str(images / f"{i}.png"), pixels)
    prompts = ["--video", str(images), "--box", "80,40,120,80", "--click", "101,60"]
    more = command(weights, tmp_path / "out", *prompts)
    done = subprocess.run(more, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert report["mean_iou"] is None and report["bearing_error_deg_median"] is None
    assert report["frames_published"] == 8 and len(report["objects"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_demo(weights, tmp_path, how):
    domain = dict(os.environ)["ROS_DOMAIN_ID"]
    process = subprocess.Popen(
        command(weights, tmp_path / "out", "--frames", "400"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: len(children(process.pid)) == 3, 30.0, "the three processes")
    started = children(process.pid)
    try:
        time.sleep(2.0)
        process.send_signal(how)
        process.wait(40.0)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 20.0, "their end")
    finally:  # other tests must not hear what is left
        process.kill()
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert os.environ["ROS_DOMAIN_ID"] == domain


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]


@pytest.mark.slow
def test_a_node_that_cannot_start_ends_the_demo_with_its_reason(tmp_path):
    missing = command(tmp_path / "missing.safetensors", tmp_path / "out")
    done = subprocess.run(missing, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "missing.safetensors" in done.stderr and "could not be configured" in done.stderr


def test_the_planner_gives_up_on_a_node_that_cannot_start_not_on_one_without_images(tmp_path):
    rclpy.init()
    node = rclpy.create_node("panosam2")
    task = json.dumps({"folder": str(tmp_path), "from_ground_truth": False, "clicks": [[1, 1]]})
    says = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def tell(state: str) -> None:
        status = DiagnosticStatus(name="panosam2: x", level=DiagnosticStatus.ERROR, message="y")
        status.values = [KeyValue(key="state", value=state)]
        says.publish(DiagnosticArray(status=[status]))

    try:
        with Process("panosam2_ros.demo.planner", task, log=tmp_path / "planner.log") as planner:
            wait_for(says.get_subscription_count, 30.0, "the planner")
            for _ in range(10):  # no image for longer than it accepts: the camera renders ahead
                tell("active")
                time.sleep(0.1)
            assert planner.running
            tell("unconfigured")
            wait_for(lambda: not planner.running, 10.0, "its end")
        assert "the node reports: y" in (tmp_path / "planner.log").read_text()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def test_the_planner_takes_images_only_when_it_can_be_answered(tmp_path):
    rclpy.init()
    node = rclpy.create_node("panosam2")
    task = json.dumps({"folder": str(tmp_path), "from_ground_truth": False, "clicks": [[1, 1]]})
    try:
        with Process("panosam2_ros.demo.planner", task, log=tmp_path / "planner.log") as planner:
            node.create_publisher(Image, "panosam2/masks", 1)
            wait_for(lambda: node.count_subscribers("panosam2/masks"), 30.0, "the planner")
            node.create_service(PromptObjects, "panosam2/prompt", lambda _, response: response)
            time.sleep(1.0)  # of some ten looks
            assert planner.running and node.count_subscribers("image") == 0
            node.create_publisher(ObjectBearingArray, "panosam2/bearings", 1)
            wait_for(lambda: node.count_subscribers("image"), 10.0, "its subscription to images")
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def test_prompts_are_written_down_whole():
    asked = AskedPrompt(PlannedPrompt("click", "mug", 3, click=(1.0, 2.0)), 5, 9, True, "", 3.0)
    assert asked.summary().keys() >= asdict(asked.plan).keys() | {"stamp", "obj_id", "success"}
