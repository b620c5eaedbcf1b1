"""Rows of results: their fields, and how they replace each other."""

from __future__ import annotations

import dataclasses
import json

from helpers.fake_videos import FakeVideo, Oracle, moving, score_video
from panosam2_ros.evaluation.report import ResultSubject, record, result_row, table
from panosam2_ros.evaluation.summary import summarise_results

FIELDS = [
    "name",
    "seed",
    "prompt",
    "split",
    "config_sha256",
    "sequences",
    "frames",
    "J",
    "F",
    "J_sphere",
    "F_sphere",
    "JF_sphere",
    "JF_sphere_ci95",
    "JF_sphere_crossing_border",
    "JF_sphere_reappearance",
    "JF_sphere_high_latitude",
    "false_positive_rate",
    "id_switches",
    "roll_equivariance",
    "bearing_error_deg_median",
    "bearing_error_deg_p95",
    "fps",
    "input",
    "machine",
]


def subject(**changes) -> ResultSubject:
    base = ResultSubject(
        name="nano",
        seed=5,
        prompt="box",
        split="val",
        config_sha256="abc",
        input="512x256",
        threads=2,
        device="cpu",
        weights_sha256="w1",
    )
    return dataclasses.replace(base, **changes)


def test_a_row_has_exactly_the_agreed_fields() -> None:
    video = FakeVideo(moving(4, 2), {1: 0}, attributes=frozenset({"crossing_border"}))
    summary = summarise_results([score_video(video, Oracle(video)).result])
    row = result_row(subject(), summary, fps=12.0)
    more = ["date", "weights_sha256", "versions", "covered_rate", "covered_on_target_rate"]
    assert list(row) == FIELDS + more
    assert row["JF_sphere_crossing_border"] == 1 and row["JF_sphere_high_latitude"] is None
    assert "12.0" in table([row]) and "reappearing" not in table([row])


def test_recording_replaces_the_same_subject_and_keeps_what_other_modes_measured(tmp_path) -> None:
    path = tmp_path / "models" / "results.json"
    record(path, [result_row(subject(), None, fps=3.0), result_row(subject(name="flow"), None)])
    record(path, [result_row(subject(), None, roll_equivariance=0.9)])
    rows = json.loads(path.read_text())
    assert [r["name"] for r in rows] == ["nano", "flow"]
    assert (rows[0]["fps"], rows[0]["roll_equivariance"]) == (3.0, 0.9)
    record(path, [result_row(subject(weights_sha256="w2"), None, fps=4.0)])
    assert json.loads(path.read_text())[0]["roll_equivariance"] is None
