"""Results of two trackers are compared on the same sequences, with the seeds of each merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.scored_sequences import sequence
from panosam2_ros.evaluation import compare as command
from panosam2_ros.evaluation.compare import differences, merge_seeds
from panosam2_ros.evaluation.results import SequenceResult
from panosam2_ros.evaluation.runner import SequenceRun, Timing

GOOD, BAD = [[0, 0], [1, 1], [2, 2]], [[1, 1], [2, 2], [3, 3]]


def results(shifts: list[list[int]]) -> list[SequenceResult]:
    attributes = [("crossing_border",), ("crossing_border", "occlusion"), ()]
    return [sequence(f"s{i}", s, a) for i, (s, a) in enumerate(zip(shifts, attributes, strict=True))]


def write(folder: Path, side: list[SequenceResult]) -> Path:
    folder.mkdir()
    for result in side:
        run = SequenceRun(result, {}, Timing())
        (folder / f"{result.name}.json").write_text(json.dumps({"key": "", "score": run.to_json()}))
    (folder / "summary.json").write_text("{}")
    return folder


def test_everything_attributes_and_conditions_are_compared() -> None:
    found = differences(results(GOOD), results(BAD), score="J_sphere")
    assert found["every"].sequences == 3 and found["every"].difference > 0
    assert found["crossing_border"].sequences == 2 and "occlusion" not in found


def test_seeds_count_together() -> None:
    mixed = merge_seeds([results(GOOD), results(BAD)])
    assert [r.tally().pairs for r in mixed] == [2 * r.tally().pairs for r in results(GOOD)]
    half = differences(mixed, merge_seeds([results(BAD)] * 2), score="J_sphere")["every"].difference
    whole = differences(results(GOOD), results(BAD), score="J_sphere")["every"].difference
    assert half == pytest.approx(whole / 2)
    with pytest.raises(ValueError, match=r"only one has \['s2'\]"):
        merge_seeds([results(GOOD), results(GOOD)[:2]])


def test_different_numbers_of_seeds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--a", "one", "two", "--b", "three"])
    assert "--a has 2 runs and --b 1: give as many seeds of both" in capsys.readouterr().err


def test_the_command_prints_a_table_and_refuses_other_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a", results(GOOD)), write(tmp_path / "b", results(BAD))
    out = tmp_path / "difference.json"
    assert command.main(["--a", str(a), "--b", str(b), "--score", "J_sphere", "--out", str(out)]) == 0
    assert "| crossing_border | 2 | +0." in capsys.readouterr().out
    assert json.loads(out.read_text())["every"]["better"] == 1
    with pytest.raises(SystemExit):
        command.main(["--a", str(tmp_path), "--b", str(b)])
    assert "holds no results of sequences" in capsys.readouterr().err
    stored = b / "s1.json"
    entry = json.loads(stored.read_text())
    del entry["score"]["result"]["objects"][0]["id_switches"]
    stored.write_text(json.dumps(entry))
    with pytest.raises(SystemExit):
        command.main(["--a", str(a), "--b", str(b)])
    assert "was written by another version" in capsys.readouterr().err
