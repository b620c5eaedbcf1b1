"""The command panosam2_prompt and the documentation's planner, against a node over real DDS."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import numpy as np
from std_srvs.srv import Trigger

from helpers.process import ROOT, Process, wait_for
from helpers.station import GRID, SEAM, Station, ball_prompt, forgetful, start, stations
from panosam2_ros.geometry.camera_frame import FrameConvention
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.ros.cli import prompt
from panosam2_ros.ros.conversion.messages import ns_to_stamp

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
    assert prompt._stamp("1700000000.000000001") == ns_to_stamp(1700000000_000000001)
    assert prompt._stamp("7.5") == ns_to_stamp(7_500_000_000)
    if text == "1.":
        assert prompt._stamp(text) == ns_to_stamp(10**9)
        return
    with pytest.raises(SystemExit):
        prompt.main(["click", "1", "1", "--stamp", text])
    assert "--stamp" in capsys.readouterr().err
