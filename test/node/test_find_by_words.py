"""The example that finds things by words: with tiny models of both families, by file and beside the node."""

from __future__ import annotations

import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers.find_by_words import EXAMPLE
from helpers.process import ROOT, Process
from helpers.station import HEIGHT, SCENE, WIDTH, Station, start, stations, until_active
from helpers.zero_shot_models import save_grounding_dino, save_owlv2
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.prompts.validation import check_prompt

LINE = re.compile(r"^(red ball|chair) ([\d.]+) box (\d+), (\d+), (\d+), (\d+)(?:: (.*))?$", re.MULTILINE)
WORDS = ["red ball", "chair", "--size", "96", "--fov", "120", "--threshold", "0.3", "--most", "5"]
PYTHONPATH = os.pathsep.join([str(ROOT / "test"), os.environ.get("PYTHONPATH", "")])

station = pytest.fixture(scope="module")(stations)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "grounding_dino": save_grounding_dino(folder / "dino"),
        "owlv2": save_owlv2(folder / "owl"),
    }


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with start("panosam2_nano", tmp_path_factory.mktemp("node") / "log", history_seconds=600.0) as running:
        until_active(running)
        yield running


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *WORDS, *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def check_boxes(found: list[tuple[str, ...]]) -> None:
    """Raise where a box is none of the panorama's."""
    assert found
    for _, score, *box, _ in found:
        assert 0.3 <= float(score) <= 1
        u_min, v_min, u_max, v_max = (float(x) for x in box)
        check_prompt(Prompt(box=(u_min, v_min, u_max, v_max)), Equirect(WIDTH, HEIGHT), corrects=False)


@pytest.mark.parametrize("family", ["grounding_dino", "owlv2"])
def test_boxes_of_a_file_are_printed(
    models: dict[str, Path],
    family: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "room.png"
    cv2.imwrite(str(path), SCENE[..., ::-1])
    run(monkeypatch, "--model", str(models[family]), "--image", str(path))
    printed = capsys.readouterr().out
    found = LINE.findall(printed)
    assert len(found) == len(printed.splitlines()) <= 5, printed
    check_boxes(found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_slow_models_prompt_the_image_that_they_saw(
    station: Station, process: Process, models: dict[str, Path], tmp_path: Path
) -> None:
    """The camera goes on while a model looks; a random box holds an object or not, and is answered."""
    station.show()
    arguments = (",".join(map(str, models.values())), *WORDS)
    log = tmp_path / "log.txt"
    with Process("helpers.find_by_words", *arguments, log=log, PYTHONPATH=PYTHONPATH) as finding:
        while finding.running:
            station.show()
            station.spin_for(0.5)
        assert finding.wait() == 0, finding.output
    found = LINE.findall(finding.output)
    assert len(re.findall(r"^\d+ found in", finding.output, re.MULTILINE)) == len(models), finding.output
    check_boxes(found)
    outcomes = [outcome for *_, outcome in found]
    assert all(re.search(r"^object \d+|nothing was found there", each) for each in outcomes), finding.output
    made = {int(outcome.split()[1]) for outcome in outcomes if outcome.startswith("object")}
    known = {each.object_id: each.label for each in station.bearings[station.show()].objects}
    assert made and made == known.keys() and set(known.values()) <= {"red ball", "chair"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "/no/such/folder"), "the model /no/such/folder cannot be loaded"),
        (("--image", "/no/such/file.jpg"), "/no/such/file.jpg cannot be read"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "room.png"
    cv2.imwrite(str(path), SCENE)
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, "--image", str(path), *arguments)


def test_without_transformers_the_command_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SystemExit, match=r"pip install"):
        run(monkeypatch)
