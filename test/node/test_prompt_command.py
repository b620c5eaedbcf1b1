"""The command panosam2_prompt and the documentation's planner, against a node over real DDS."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import cv2
import numpy as np
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from std_srvs.srv import Trigger

from helpers.process import ROOT, Process, wait_for
from helpers.station import (
    CODE_NAMES,
    GRID,
    SCENE,
    SEAM,
    Station,
    ball_prompt,
    forgetful,
    image_msg,
    start,
    stations,
)
from panosam2_ros.geometry.camera_frame import FrameConvention
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.ros.cli import prompt
from panosam2_ros.ros.cli.prompt_arguments import USAGE, json_line, parser
from panosam2_ros.ros.client import NO_ANSWER, NO_MESSAGES, NODE_NOT_FOUND, OTHER_REFUSAL, Client, ClientError
from panosam2_ros.ros.conversion.messages import ns_to_stamp
from panosam2_ros.ros.conversion.plain_values import stamp_from_text

U, V = (float(c) for c in GRID.vector_to_pixel(SEAM))


station = pytest.fixture(scope="module")(stations)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("node")
    with start("panosam2_nano", folder / "log.txt", memory_directory=str(folder)) as process:
        wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")
        yield process


planner = pytest.fixture(forgetful)


PATIENCE = 30.0  # s for a command to start and to see an image; images without an object take no time


class Command:
    """Runs panosam2_prompt; every run is a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._runs = folder, 0

    def start(self, *arguments: object) -> Process:
        self._runs += 1
        words = ["--timeout", "30", *map(str, arguments)]
        module = "panosam2_ros.ros.cli.prompt"
        return Process(module, *words, log=self._folder / f"{self._runs}.txt")

    def __call__(self, *arguments: object, status: int = 0) -> str:
        with self.start(*arguments) as run:
            assert run.wait(90) == status, run.output
            assert "Traceback" not in run.output
            return run.output


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.mark.faults
def test_labels_are_printed_with_their_control_characters_escaped(planner: Station, command: Command) -> None:
    """A label that somebody else gave must not write to this terminal."""
    assert planner.prompt(ball_prompt(label="a\x1b[2Jb\nc\u202e")).success
    (line,) = (line for line in command("list").splitlines() if "score" in line)
    assert line.endswith("a\\x1b[2Jb\\nc\\u202e")


def test_objects_are_made_corrected_and_removed(planner: Station, command: Command) -> None:
    clicked = command("click", U, V, "--not", 100, 20, "--label", "ball")
    assert re.search(r"1 visible +azimuth .*ball$", clicked.strip()), clicked
    azimuth = float(re.findall(r"azimuth +([-+.\d]+)", clicked)[0])
    assert abs(abs(azimuth) - 180) < 10
    half = 15.0
    boxed = command("box", (U - half) % 256, V - half, (U + half) % 256, V + half, "--label", "box")
    assert re.search(r"2 visible .*box$", boxed.strip()), boxed
    stamp = planner.show()
    past = f"{stamp // 10**9}.{stamp % 10**9:09d}"
    assert "3 visible" in command("direction", 180, math.degrees(0.1), "--stamp", past)
    assert "4 visible" in command("direction", *SEAM)
    assert "1 visible" in command("correct", 1, "--on", U, V, "--not", 50, 20, "--replace")
    planner.show()
    listed = command("list")
    assert [line.split()[0] for line in listed.splitlines()] == ["1", "2", "3", "4", "4"], listed
    assert "4 of at most 32 objects" in listed and "ball" in listed
    assert "removed [2, 3]" in command("remove", 2, 3)
    assert [o.object_id for o in planner.bearings[planner.show()].objects] == [1, 4]


def test_memory_is_saved_and_loaded(planner: Station, command: Command) -> None:
    command("click", U, V, "--label", "ball")
    assert "objects [1]" in command("save", "home")
    assert "epoch" in command("reset")
    assert planner.bearings[planner.show()].objects == []
    assert "objects [1]" in command("load", "home")
    assert [o.label for o in planner.bearings[planner.show()].objects] == ["ball"]


def test_refusals_are_the_nodes_reasons(planner: Station, command: Command) -> None:
    assert "panosam2_prompt: " in command("click", 4000, 3, status=1)
    assert "in the image" in command("click", 4000, 3, status=1)
    assert "9" in command("correct", 9, "--on", U, V, status=1)
    assert "no path" in command("save", "../home", status=1)
    assert "has not come yet" in command("click", U, V, "--stamp", "2000000000.5", status=1)
    assert "object 9 is not known" in command_while_images_come(planner, command, "follow", 9, status=1)


def command_while_images_come(planner: Station, command: Command, *arguments: object, status: int = 0) -> str:
    with command.start(*arguments) as run:
        until = time.monotonic() + PATIENCE
        while run.running and time.monotonic() < until:
            planner.show()
        assert run.wait(1) == status, run.output
        return run.output


def test_following_prints_every_message(planner: Station, command: Command) -> None:
    command("click", U, V, "--label", "ball")
    output = command_while_images_come(planner, command, "follow", 1, "--count", 3)
    lines = output.splitlines()
    assert len(lines) == 3 and all(re.match(r" +1 (visible|occluded) ", line) for line in lines)
    with command.start("follow", 1) as run:
        until = time.monotonic() + PATIENCE
        while "azimuth" not in run.output and time.monotonic() < until:
            planner.show()
        assert run.stop(signal.SIGINT) == 0 and "Traceback" not in run.output


def values(output: str) -> dict[str, Any]:
    """Return the one line of JSON that a command printed."""
    (line,) = output.splitlines()
    read: dict[str, Any] = json.loads(line)
    return read


def documented(start: str) -> set[str]:
    """Return the keys in the first column of the table of docs/planner.md after a line that starts so."""
    _, _, rest = (ROOT / "docs" / "planner.md").read_text().partition(f"\n{start}")
    table = re.search(r"\|---.*\n((?:\|.*\n)+)", rest)
    assert table is not None, start
    cells = [line.split("|")[1] for line in table[1].splitlines()]
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


COMMON = {"ok", "command"}
IMAGE = {"stamp", "frame_id", "epoch"}


def answers(planner: Station, *arguments: object, pixels: NDArray[np.uint8] = SCENE) -> list[dict[str, Any]]:
    """Run a command in this process, while images come; return what it would print as JSON."""

    def image() -> None:
        planner.stamp += 100_000_000
        planner.camera.publish(image_msg(planner.stamp, pixels))

    options = parser().parse_args([str(word) for word in arguments])
    timer = planner.create_timer(0.2, image)
    try:
        found = prompt._COMMANDS[options.command](Client(planner, timeout=60), options)
        return [json.loads(json_line(answer.values)) for answer in found]
    finally:
        planner.destroy_timer(timer)


def test_answers_in_json_have_the_documented_keys(planner: Station) -> None:
    (clicked,) = answers(planner, "click", U, V, "--label", "ball")
    item, stamp = clicked["object"], clicked["stamp"]
    assert item.keys() == documented("### An object") and clicked.keys() == IMAGE | {"object"}
    assert (item["object_id"], item["label"], item["state"]) == (1, "ball", "visible")
    assert abs(abs(item["azimuth_deg"]) - 180) < 10 and abs(item["elevation_deg"]) < 20
    for name in ("azimuth", "elevation", "extent_horizontal", "extent_vertical", "within_95"):
        assert math.radians(item[f"{name}_deg"]) == pytest.approx(item[f"{name}_rad"], abs=2e-5)
    assert stamp == item["last_seen"] and stamp_from_text(stamp)
    corners = ((U - 15) % 256, V - 15, (U + 15) % 256, V + 15)
    (boxed,) = answers(planner, "box", *corners, "--stamp", stamp)
    assert boxed["stamp"] == stamp and boxed["object"]["object_id"] == 2
    assert answers(planner, "direction", *SEAM)[0]["object"]["object_id"] == 3
    assert answers(planner, "correct", 1, "--on", U, V)[0]["object"]["object_id"] == 1
    (listed,) = answers(planner, "list")
    assert [o["object_id"] for o in listed["objects"]] == [1, 2, 3] and listed["max_objects"] == 32
    followed = answers(planner, "follow", 1, "--count", 2)
    assert [answer["object"]["object_id"] for answer in followed] == [1, 1]
    (removed,) = answers(planner, "remove", 2, 3)
    assert removed == {"removed": [2, 3]}
    (saved,) = answers(planner, "save", "home")
    assert saved == {"name": "home", "object_ids": [1]} and answers(planner, "load", "home") == [saved]
    (reset,) = answers(planner, "reset")
    assert reset["message"] == f"epoch {reset['epoch']}"
    found = set().union(clicked, listed, followed[0], removed, saved, reset, SNAPSHOT, COMMON, {"code"})
    assert found == documented("### An answer")


def test_answers_and_refusals_are_lines_of_json(planner: Station, command: Command) -> None:
    listed = values(command("list", "--json"))
    assert listed.keys() == COMMON | IMAGE | {"objects", "memory_bytes", "max_objects"}
    assert listed["ok"] is True and listed["command"] == "list"
    elsewhere = values(command("--json", "--namespace", "/robot7", "--timeout", 1, "list", status=1))
    assert elsewhere.keys() == COMMON | {"code", "message"}
    assert elsewhere["ok"] is False and elsewhere["code"] == "NODE_NOT_FOUND"
    assert "no service /robot7/panosam2/get_objects within 1 s" in elsewhere["message"]


SNAPSHOT = {
    "path", "width", "height", "panorama_width", "panorama_height", "vertical_fov_deg", "vertical_fov_rad",
    "view", "history_s", "objects_frame_id",
}  # fmt: skip


def test_refusals_have_the_documented_codes(planner: Station, tmp_path: Path) -> None:
    wanted = {
        ("click", 4000, 3): "INVALID",
        ("click", 1, 1, "--view", 0, 0, 500, 400, 300): "INVALID",
        ("correct", 9, "--on", U, V): "UNKNOWN_OBJECT",
        ("follow", 9): "UNKNOWN_OBJECT",
        ("click", U, V, "--stamp", "5.5"): "STAMP_NOT_HELD",
        ("save", "../home"): "INVALID",
        ("snapshot", "look.gif"): "INVALID",
        ("snapshot", tmp_path / "no" / "look.png"): "REFUSED",
        ("snapshot", tmp_path / "look.png", "--look", 0, 95): "INVALID",
    }
    for arguments, code in wanted.items():
        with pytest.raises(ClientError) as refusal:
            answers(planner, *arguments)
        assert refusal.value.name == code and len(str(refusal.value)) > 20, arguments
    with pytest.raises(ClientError) as silence:
        next(Client(planner, timeout=0.5).bearings())
    assert silence.value.name == "NO_MESSAGES"
    listed = documented("### Codes")
    assert listed == {*CODE_NAMES.values()} - {"OK"} | {
        NODE_NOT_FOUND, NO_ANSWER, NO_MESSAGES, OTHER_REFUSAL, USAGE, prompt.INTERRUPTED, prompt.NOT_STARTED
    }  # fmt: skip


def test_wrong_arguments_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["click", "1", "--json"], ["direction", "1", "--json"], ["--json", "clik"]):
        with pytest.raises(SystemExit) as end:
            prompt.main(arguments)
        answer = values(capsys.readouterr().out)
        assert end.value.code == 2 and answer["code"] == "USAGE" and answer["ok"] is False
    with pytest.raises(SystemExit) as end:
        prompt.main(["click", "1"])
    assert end.value.code == 2 and "usage:" in capsys.readouterr().err


def red(picture: np.ndarray) -> tuple[float, float]:
    """Return the pixel in the middle of what is red in a picture, BGR."""
    blue, green, red = np.moveaxis(picture.astype(int), -1, 0)
    mask = (red > 150) & (green < 90) & (blue < 90)
    assert mask.sum() > 30
    rows, columns = np.nonzero(mask)
    return float(np.median(columns)), float(np.median(rows))


def test_a_snapshot_shows_where_to_point(planner: Station, tmp_path: Path) -> None:
    """A pixel that is read from a picture, with the stamp that came with it, hits the object."""
    whole, small, view = (tmp_path / name for name in ("whole.png", "small.png", "view.jpg"))
    (taken,) = answers(planner, "snapshot", whole, "--plain")
    assert taken.keys() == IMAGE | SNAPSHOT | {"objects"} and taken["view"] is None
    assert (taken["width"], taken["height"]) == (256, 128) and taken["objects"] == []
    assert np.array_equal(cv2.imread(str(whole))[..., ::-1], SCENE)
    answers(planner, "snapshot", small, "--width", 128)
    assert cv2.imread(str(small)).shape == (64, 128, 3)
    look = ("--look", 170, 0, "--fov", 80, "--size", 400, 300)
    (shown,) = answers(planner, "snapshot", view, *look)
    assert cv2.imread(str(view)).shape == (300, 400, 3)
    assert shown["view"] == {"azimuth_deg": 170, "elevation_deg": 0, "fov_deg": 80}
    at = [f"{c:.1f}" for c in red(cv2.imread(str(view)))]
    there = ("--view", 170, 0, 80, 400, 300)
    (clicked,) = answers(planner, "click", *at, *there, "--stamp", shown["stamp"], "--label", "ball")
    assert clicked["stamp"] == shown["stamp"]
    assert float(angle_between(np.array(clicked["object"]["direction"]), SEAM)) < math.radians(6)
    u, v = (float(x) for x in at)
    (boxed,) = answers(planner, "box", u - 95, v - 95, u + 95, v + 95, *there)
    assert float(angle_between(np.array(boxed["object"]["direction"]), SEAM)) < math.radians(6)
    with pytest.raises(ClientError, match="pixel 400, 1 is not in the picture: its columns are 0 to 399"):
        answers(planner, "click", 400, 1, *there)
    answers(planner, "snapshot", view, *look)  # with the outlines and the name of what is tracked now
    assert (cv2.imread(str(view))[..., 1] > 200).sum() > 300


@contextmanager
def reconfigured(planner: Station, **parameters: Any) -> Iterator[None]:
    """Configure the node anew, with other parameters while the block lasts."""
    before = {"vertical_fov": math.pi}
    for values in (parameters, before):
        assert planner.change(Transition.TRANSITION_DEACTIVATE) and planner.change(
            Transition.TRANSITION_CLEANUP
        )
        assert all(result.successful for result in planner.set(**values))
        assert planner.change(Transition.TRANSITION_CONFIGURE) and planner.change(
            Transition.TRANSITION_ACTIVATE
        )
        if values is not before:
            yield


def test_a_snapshot_of_a_cropped_panorama_shows_where_to_point(planner: Station, tmp_path: Path) -> None:
    """As of cameras that leave out the ground and the sky: 118 degrees of the same scene."""
    rows = slice(22, 106)
    cropped, fov = SCENE[rows], math.pi * 84 / 128
    whole, view = tmp_path / "whole.png", tmp_path / "view.png"
    with reconfigured(planner, vertical_fov=fov):
        (taken,) = answers(planner, "snapshot", whole, "--plain", pixels=cropped)
        assert np.array_equal(cv2.imread(str(whole))[..., ::-1], cropped)
        assert (taken["panorama_height"], taken["vertical_fov_rad"]) == (84, pytest.approx(fov, abs=1e-5))
        at = red(
            cv2.imread(str(whole)).copy()
        )  # half of it left of the seam, half of it right: its row counts
        (clicked,) = answers(planner, "click", 0, at[1], "--stamp", taken["stamp"], pixels=cropped)
        assert float(angle_between(np.array(clicked["object"]["direction"]), SEAM)) < math.radians(6)
        look = ("--look", 180, 0, "--fov", 80, "--size", 400, 300)
        (shown,) = answers(planner, "snapshot", view, *look, "--plain", pixels=cropped)
        u, v = red(cv2.imread(str(view)))
        there = ("--view", 180, 0, 80, 400, 300, "--stamp", shown["stamp"])
        (clicked,) = answers(planner, "click", u, v, *there, pixels=cropped)
        assert float(angle_between(np.array(clicked["object"]["direction"]), SEAM)) < math.radians(6)
        up = ("snapshot", view, "--look", 0, 88, "--fov", 40, "--plain")
        answers(planner, *up, pixels=cropped)
        assert not cv2.imread(str(view)).any()  # the panorama has nothing there


def test_a_node_elsewhere_is_named(planner: Station, command: Command) -> None:
    lost = command("--namespace", "/robot7", "--timeout", 3, "list", status=1)
    assert "no service /robot7/panosam2/get_objects within 3 s" in lost
    assert "nodes found: /panosam2" in lost and "a panosam2 node is at /panosam2:" in lost
    silent = command("--timeout", 3, "follow", 1, status=1)
    assert "nothing came on /panosam2/bearings for 3 s" in silent


def test_the_documented_planner_runs(planner: Station, tmp_path: Path) -> None:
    with Process("docs.example_planner", log=tmp_path / "log.txt") as example:
        wait_for(lambda: example.output, 60, "its first line")
        for _ in range(100):
            planner.show()
            if "measured at" in example.output:
                break
        words = r"(visible, measured|occluded, predicted|lost, last seen) at -?\d+\.\d deg"
        assert re.search(rf"^object 1\n{words}", example.output), example.output
        planner.call(Trigger, "reset")
        for _ in range(100):
            planner.show()
            if "forgotten" in example.output:
                break
        assert "forgotten: somebody removed it" in example.output
        for _ in range(100):  # it prompts again, in the new epoch
            planner.show()
            if re.search(rf"prompting again\nobject 1\n{words}", example.output):
                break
        assert re.search(rf"prompting again\nobject 1\n{words}", example.output), example.output
        wait_for(lambda: "nothing for 5 s" in example.output, 60, "word that no images come")
        assert example.stop(signal.SIGINT) == 0 and "Traceback" not in example.output


def test_the_documented_planner_ends_where_there_is_no_node(tmp_path: Path) -> None:
    with Process("docs.example_planner", log=tmp_path / "log.txt", ROS_DOMAIN_ID="102") as example:
        assert example.wait(90) == 1
        assert "no service" in example.output and "start the node" in example.output


@pytest.mark.faults
def test_a_reader_that_closes_the_pipe_ends_it_quietly(planner: Station, command: Command) -> None:
    """As with `panosam2_prompt follow 1 | head -3`."""
    command("click", U, V, "--label", "ball")
    words = [sys.executable, "-m", "panosam2_ros.ros.cli.prompt", "--timeout", "30", "follow", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as run:
        assert run.stdout is not None and run.stderr is not None
        showing = threading.Event()
        reader = threading.Thread(target=lambda: (run.stdout.readline(), run.stdout.close(), showing.set()))
        reader.start()
        until = time.monotonic() + PATIENCE
        while (run.poll() is None or not showing.is_set()) and time.monotonic() < until:
            planner.show()
        reader.join(1)
        assert run.wait(1) == 0
        assert run.stderr.read() == ""


@pytest.mark.parametrize(
    ("module", "name", "parameter"),
    [
        ("panosam2_ros.ros.node", "panosam2_node", "max_image_mpixels"),
        ("panosam2_ros.demo.virtual_camera", "panosam2_virtual_camera", "camera_tilt"),
    ],
)
def test_nodes_answer_help_and_refuse_unknown_arguments(
    module: str, name: str, parameter: str, tmp_path: Path
) -> None:
    with Process(module, "--help", log=tmp_path / "help.txt") as help_:
        assert help_.wait(60) == 0
        assert help_.output.startswith(f"usage: {name}") and f"  {parameter} (default: " in help_.output
    with Process(module, "--modle", "x", "--ros-args", "-r", "__ns:=/a", log=tmp_path / "no.txt") as wrong:
        assert wrong.wait(60) == 2
        assert "--modle x is none of ROS's arguments" in wrong.output


@pytest.mark.parametrize("axes", list(FrameConvention))
def test_angles_become_vectors_in_the_frames_axes(axes: FrameConvention) -> None:
    left = np.array(prompt._vector(90.0, 0.0, axes))
    up = np.array(prompt._vector(0.0, 90.0, axes))
    body = axes is FrameConvention.BODY
    assert angle_between(left, np.array([0, 1, 0] if body else [-1, 0, 0])) < 1e-6
    assert angle_between(up, np.array([0, 0, 1] if body else [0, -1, 0])) < 1e-6


@pytest.mark.parametrize(
    "chosen, frame_id, expected",
    [("auto", "cam_optical_frame", "optical"), ("auto", "cam", "body"), ("body", "cam_optical", "body")],
)
def test_the_axes_are_those_that_the_node_uses(chosen: str, frame_id: str, expected: str) -> None:
    client: Any = SimpleNamespace(parameter=lambda name: chosen, image_frame=lambda: frame_id)
    assert prompt._axes(client).value == expected


@pytest.mark.parametrize("text", ["", "x", "1.", "1.2.3", "1.0123456789", "-1", "1e3"])
def test_stamps_are_read_exactly_or_not_at_all(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stamp_from_text("1700000000.000000001") == ns_to_stamp(1700000000_000000001)
    assert stamp_from_text("7.5") == ns_to_stamp(7_500_000_000)
    if text == "1.":
        assert stamp_from_text(text) == ns_to_stamp(10**9)
        return
    with pytest.raises(SystemExit):
        prompt.main(["click", "1", "1", "--stamp", text])
    assert "--stamp" in capsys.readouterr().err
