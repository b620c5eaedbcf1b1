"""Evaluation: known methods get known scores; the command drives the real tracker and resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import shutil
from itertools import count
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.fake_videos import HEIGHT, WIDTH, FakeVideo, Oracle, Red, moving
from panosam2_ros.datasets import acceptance
from panosam2_ros.datasets.ground_truth_prompts import ground_truth_prompts, mask_prompt
from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.datasets.synthpano.__main__ import main as write_synthpano
from panosam2_ros.datasets.synthpano.config import FROZEN
from panosam2_ros.evaluation import evaluate, jobs
from panosam2_ros.evaluation.baselines import KeepFirst
from panosam2_ros.evaluation.equivariance import (
    CycleRun,
    RollRun,
    cycle_sequence,
    roll_equivariance,
    roll_sequence,
    rolls,
)
from panosam2_ros.evaluation.method import TrackerMethod, rolled_prompt
from panosam2_ros.evaluation.report import ResultSubject, record, result_row, table
from panosam2_ros.evaluation.runner import (
    EveryFrame,
    KnownTruth,
    RealTime,
    SequenceRun,
    mean_J_sphere,
    score_sequence,
)
from panosam2_ros.evaluation.summary import summarise_results
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.label_png import write_labels
from panosam2_ros.io.package_files import package_file
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.weights import save_weights
from panosam2_ros.prompts.validation import check_prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene_config import SceneConfig

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


def ticking(seconds: float):
    """A clock that goes on by so much every time that it is looked at."""
    ticks = count()
    return lambda: next(ticks) * seconds


def run(video, method, pace=None, clock=None, kind: str = "mask") -> SequenceRun:
    prompts = ground_truth_prompts(video, kind)
    return score_sequence(video, method, prompts, pace or EveryFrame(), clock=clock or ticking(0.01))


# prompts


@pytest.mark.parametrize("u", [20, 120])
def test_prompts_from_a_mask_also_across_the_seam(u: int) -> None:
    mask = moving(1, 0, u=u)[0] == 1
    grid = Equirect(WIDTH, HEIGHT)
    for kind in ("mask", "box", "click"):
        check_prompt(mask_prompt(mask, kind), grid, corrects=False)
    box = mask_prompt(mask, "box").box
    assert box == (u, 24, (u + 15) % WIDTH, 39) and (box[0] > box[2]) == (u == 120)
    (click,) = mask_prompt(mask, "click").points
    assert abs((click[0] - u - 7.5 + 64) % WIDTH - 64) <= 1 and abs(click[1] - 31.5) <= 1


def test_a_single_pixel_has_a_box_too() -> None:
    for v, u in ((0, 0), (HEIGHT - 1, WIDTH - 1)):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[v, u] = True
        check_prompt(mask_prompt(mask, "box"), Equirect(WIDTH, HEIGHT), corrects=False)


@pytest.mark.parametrize("kind", ["mask", "box", "click"])
def test_a_rolled_prompt_is_the_prompt_of_the_rolled_mask(kind: str) -> None:
    mask = moving(1, 0, u=100)[0] == 1
    turned, direct = (
        rolled_prompt(mask_prompt(mask, kind), 21, WIDTH),
        mask_prompt(np.roll(mask, 21, 1), kind),
    )
    assert turned.box == direct.box and (turned.points == direct.points).all()
    assert (turned.mask is None and direct.mask is None) or (turned.mask == direct.mask).all()


# driving and scoring


def test_the_truth_scores_one_and_nothing_scores_zero() -> None:
    video = FakeVideo(moving(12, 3), {1: 0})
    perfect, nothing = run(video, Oracle(video)), run(video, Oracle(video, lose=range(12)))
    assert summarise_results([perfect.result]).every.scores["JF_sphere"] == 1
    assert summarise_results([perfect.result]).bearing_error_deg_p95 == pytest.approx(0, abs=1e-9)
    assert summarise_results([nothing.result]).every.scores["JF_sphere"] == 0
    assert summarise_results([nothing.result]).every.pairs == 11  # the prompted frame is not scored
    again = SequenceRun.from_json(json.loads(json.dumps(perfect.to_json())))
    assert again.to_json() == perfect.to_json() and again.result == perfect.result


def test_a_kept_mask_overlaps_as_far_as_the_object_did_not_move() -> None:
    result = run(FakeVideo(moving(5, 4), {1: 0}), KeepFirst())
    overlaps = [(16 - 4 * t) / (16 + 4 * t) for t in range(1, 4)] + [0]
    assert [total for _, total in list(result.J_sphere.values())[1:]] == pytest.approx(overlaps)
    assert mean_J_sphere([result], range(2, 4)) == pytest.approx(np.mean(overlaps[1:3]))
    assert mean_J_sphere([result], range(50, 60)) is None


def test_objects_are_prompted_in_their_own_first_frame_after_it_was_stepped() -> None:
    labels = moving(8, 2)
    labels[3:, 2:12, 60:80] = 2
    video = FakeVideo(labels, {1: 0, 2: 3})
    method = Oracle(video)
    scored = run(video, method)
    assert method.starts == [(0, [1]), (3, [2])] and method.steps == list(range(8))
    assert [o.visible_pairs for o in scored.result.objects] == [7, 4]


def test_real_time_drops_frames_and_counts_the_last_answer_for_them() -> None:
    video = FakeVideo(moving(11, 4, u=20), {1: 0})
    method = Oracle(video)
    # a step takes 0.25 s, prompting too: frames 0 (ready at 0.5), 5 (0.75), 7 (1.0), 10
    result = run(video, method, RealTime(10.0), ticking(0.25))
    assert method.steps == [0, 5, 7, 10]
    assert (result.timing.steps, result.timing.dropped) == (4, 7)
    assert result.timing.step_seconds == pytest.approx(1.0)
    stale = {t: t - max(s for s in method.steps if s <= t) for t in range(11)}
    expected = [max(16 - 4 * old, 0) / (16 + 4 * min(old, 4)) for old in stale.values()][1:]
    assert [total for _, total in list(result.J_sphere.values())[1:]] == pytest.approx(expected)


def test_a_fast_method_drops_nothing_and_a_prompted_frame_is_never_dropped() -> None:
    labels = moving(11, 0)
    labels[3:, 2:12, 60:80] = 2
    video = FakeVideo(labels, {1: 0, 2: 3})
    quick, slow = Oracle(video), Oracle(video)
    assert run(video, quick, RealTime(10.0), ticking(0.03)).timing.dropped == 0
    run(video, slow, RealTime(10.0), ticking(0.25))
    assert slow.starts == [(0, [1]), (3, [2])] and slow.steps[:2] == [0, 3]


# roll and cycle


def test_roll_equivariance_of_known_methods() -> None:
    video = FakeVideo(moving(6, 2), {1: 0})
    prompts, columns = ground_truth_prompts(video, "box"), ((32,), (45,))
    perfect = roll_sequence(video, Red, prompts, columns)
    assert roll_equivariance([perfect]) == (1, 1) and perfect.nothing == 0
    # the block stays left of column 64 until it is rolled by 45: then it is found in part or not at all
    broken = roll_sequence(video, lambda: Red(slice(0, 64)), prompts, columns)
    expected = [max(64 - (20 + 2 * t + 45), 0) / 16 for t in range(1, 6)]
    assert roll_equivariance([broken])[0] == pytest.approx(np.mean(expected))
    blind = roll_sequence(video, lambda: Red(slice(0, 0)), prompts, columns)
    assert roll_equivariance([blind]) == (None, None) and blind.nothing == 10
    assert RollRun.from_json(json.loads(json.dumps(broken.to_json()))) == broken


def test_rolls_are_whole_strides_of_the_trunk_or_arbitrary() -> None:
    assert rolls(960, 512)[0] == (120, 360, 480)
    for width, network in ((960, 512), (640, 512), (1000, 512), (1024, 512), (128, 128)):
        whole, arbitrary = rolls(width, network)
        assert whole and arbitrary and not set(whole) & set(arbitrary)
        assert all(k * network % (32 * width) == 0 and 0 < k < width for k in whole)
        assert all(k * network % (32 * width) for k in arbitrary)


def test_the_tracker_follows_rolls_by_whole_strides(model) -> None:
    video = FakeVideo(moving(3, 2), {1: 0})
    runs = roll_sequence(
        video, lambda: TrackerMethod(model, 10.0), ground_truth_prompts(video, "mask"), ((32, 64), ())
    )
    assert sum(pairs for pairs, _ in runs.by_columns.values()) + runs.nothing == 4
    for pairs, total in runs.by_columns.values():
        assert total == pytest.approx(pairs, abs=0.01)


def test_cycle_consistency_of_known_methods() -> None:
    video = FakeVideo(moving(5, 4), {1: 0})
    assert cycle_sequence(video, Red(), ground_truth_prompts(video, "box")).objects[0].iou == 1
    given = cycle_sequence(video, Oracle(video, lose=[9]), ground_truth_prompts(video, "mask"))
    assert given.frames == 5 and (given.objects[0].iou, given.objects[0].found) == (0, 7 / 8)
    assert CycleRun.from_json(json.loads(json.dumps(given.to_json()))) == given


def test_a_refused_prompt_is_reported_and_counts_as_missing(model) -> None:
    video = FakeVideo(moving(3, 0), {1: 0})
    with_nan = {0: {1: dataclasses.replace(mask_prompt(video.prompt_mask(1), "box"), box=(5, 9, 9, 5))}}
    refused = cycle_sequence(video, TrackerMethod(model, 10.0), with_nan)
    assert refused.objects == () and "no area" in refused.refused[1]


# reports


def subject(**changes) -> ResultSubject:
    base = ResultSubject("nano", 5, "box", "val", "abc", "512x256", 2, "cpu", "w1")
    return dataclasses.replace(base, **changes)


def test_a_row_has_exactly_the_agreed_fields() -> None:
    video = FakeVideo(moving(4, 2), {1: 0}, attributes=frozenset({"crossing_border"}))
    summary = summarise_results([run(video, Oracle(video)).result])
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


# the command


@pytest.fixture(scope="module")
def model():
    network = random_model(1, ModelConfig(input_height=64, input_width=128))
    return network.eval().requires_grad_(False)


@pytest.fixture
def weights(tmp_path, model):
    path = tmp_path / "random.safetensors"
    save_weights(model, path)
    return str(path)


@pytest.fixture
def vos360(tmp_path):
    """Two clips in 360VOS's layout."""
    root = tmp_path / "data"
    for name, step in (("001", 2), ("002", 5)):
        video = FakeVideo(moving(5, step, u=100), {1: 0})
        for folder in ("image", "mask"):
            (root / "test" / name / folder).mkdir(parents=True)
        for t in range(5):
            picture = cv2.cvtColor(video.image(t), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(root / "test" / name / "image" / f"{t:06d}.jpg"), picture)
            write_labels(root / "test" / name / "mask" / f"{t:06d}.png", video.truth[t])
    return root


def command(*arguments: str) -> int:
    return evaluate.main([*arguments, "--threads", "1"])


def test_the_command_from_data_to_table_and_back_from_its_files(
    tmp_path, vos360, weights, capsys, monkeypatch
) -> None:
    out, results = tmp_path / "out", tmp_path / "results.json"
    arguments = [
        "--dataset", f"vos360:{vos360}", "--weights", weights, "--prompt", "box", "--out", str(out),
        "--method", "tracker", "keep-first", "flow", "ceiling", "--record", str(results),
    ]  # fmt: skip
    assert command(*arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 6 and "| random | box |" in printed and "| ceiling | mask |" in printed
    rows = {row["name"]: row for row in json.loads(results.read_text())}
    assert rows["random"]["input"] == "128x64" and rows["random"]["fps"] > 0
    assert rows["keep-first"]["J"] < rows["ceiling"]["J"] and rows["ceiling"]["J"] > 0.75
    assert all(row["sequences"] == 2 and row["frames"] == 10 for row in rows.values())
    assert cv2.imread(str(out / "tracker-box-accuracy" / "001.png")).shape[1] == 1284
    monkeypatch.setattr(jobs, "run_sequence", lambda *a, **k: pytest.fail("was there already"))
    assert command(*arguments) == 0 and capsys.readouterr().out == printed
    with pytest.raises(pytest.fail.Exception):  # other weights are another job
        save_weights(
            random_model(2, ModelConfig(input_height=64, input_width=128)), tmp_path / "random.safetensors"
        )
        jobs.load_job_model.cache_clear()
        command(*arguments)


def test_real_time_roll_and_cycle_from_the_command(tmp_path, vos360, weights, capsys) -> None:
    common = [
        "--dataset",
        f"vos360:{vos360}",
        "--weights",
        weights,
        "--out",
        str(tmp_path / "out"),
        "--sequences",
        "1",
    ]
    assert command(*common, "--mode", "real-time", "--rate", "5") == 0
    assert "random at 5 Hz" in capsys.readouterr().out
    assert command(*common, "--mode", "roll", "--method", "keep-first") == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [r["roll_equivariance"] for r in rows if r["name"] == "keep-first"] == [1.0]
    assert command(*common, "--mode", "cycle", "--method", "keep-first") == 0
    assert "| 001 | 1 | 5 | 1.000 | 100% |" in capsys.readouterr().out


def test_a_video_without_truth_goes_round_and_back(tmp_path, weights, capsys) -> None:
    video, folder = FakeVideo(moving(6, 1), {1: 0}), tmp_path / "frames"
    folder.mkdir()
    for t in range(6):
        cv2.imwrite(str(folder / f"{t}.png"), cv2.cvtColor(video.image(t), cv2.COLOR_RGB2BGR))
    common = ["--dataset", f"video:{folder}", "--weights", weights, "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        command(*common, "--mode", "cycle")
    assert "--click" in capsys.readouterr().err
    pointed = [*common, "--box=20,24,35,39", "--click=60,10", "--frames", "4"]
    assert command(*pointed, "--mode", "cycle") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    with pytest.raises(SystemExit):
        command(*pointed)
    assert "no truth" in capsys.readouterr().err


def test_sequences_are_shared_among_processes(tmp_path, vos360, weights) -> None:
    arguments = ["--dataset", f"vos360:{vos360}", "--weights", weights, "--method", "keep-first"]
    for processes in ("1", "2"):
        assert command(*arguments, "--processes", processes, "--out", str(tmp_path / processes)) == 0
    first, second = (
        [json.loads((tmp_path / p / "keep-first-mask-accuracy" / f"00{k}.json").read_text()) for k in (1, 2)]
        for p in "12"
    )
    assert [r["score"]["result"] for r in first] == [r["score"]["result"] for r in second]


def test_what_is_kept_is_of_this_place_and_machine(tmp_path, weights, monkeypatch) -> None:
    def key(place: str, threads: int = 1) -> dict[str, Any]:
        spec = DatasetSpec(f"vos360:{place}:test")
        return jobs.Job(spec, "tracker", "mask", "accuracy", str(weights), 0.0, threads, tmp_path).key()

    monkeypatch.setattr(jobs, "dataset_of", lambda spec: SimpleNamespace(config_sha256=""))
    monkeypatch.chdir(tmp_path)
    assert key("data") == key(str(tmp_path / "data"))
    assert key("data") != key("4k") and key("data") != key("data", threads=2)


def test_label_pngs_are_written_for_servers(tmp_path, vos360, weights) -> None:
    pngs = tmp_path / "pngs"
    arguments = ["--dataset", f"vos360:{vos360}", "--weights", weights, "--out", str(tmp_path / "out")]
    assert command(*arguments, "--submission", str(pngs)) == 0
    assert len(list(pngs.rglob("*.png"))) == 10
    shutil.rmtree(pngs)
    assert command(*arguments, "--submission", str(pngs)) == 0  # results are there, PNGs are not
    assert len(list(pngs.rglob("*.png"))) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "acceptance"], "--reserved"),
        (["--dataset", "nonsense"], "acceptance, synthpano:DIR"),
        (["--dataset", "vos360"], "vos360:DIR"),
        (["--dataset", "acceptance", "--mode", "real-time"], "--rate"),
        (["--dataset", "acceptance", "--mode", "roll", "--method", "ceiling"], "truth itself"),
        (["--dataset", "acceptance", "--reserved", "--weights", "/none/x.safetensors"], "no weights"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_remedy(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        command(*arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_synthpano_is_read_with_what_its_truth_knows(tmp_path, weights) -> None:
    frozen = json.loads(package_file(*FROZEN).read_text())
    small = {"frames": 4, "width": 128, "height": 64, "objects": [2, 2], "size_deg": [30, 60]}
    scene = {**frozen["scene"], **small}
    changed = {"material": "shipped", "sequences": 1, "scene": scene, "features": [], "quotas": {}}
    config, root = tmp_path / "small.json", tmp_path / "data"
    config.write_text(json.dumps({**frozen, **changed}))
    write_synthpano(["--split", "val", "--out", str(root), "--config", str(config)])
    dataset = open_dataset(DatasetSpec(f"synthpano:{root}"))
    sequence = pickle.loads(pickle.dumps(dataset)).open("001")  # as training hands it to a process
    assert (dataset.seed, dataset.split) == (None, "val")
    assert dataset.config_sha256 == hashlib.sha256(config.read_bytes()).hexdigest()
    assert isinstance(sequence, KnownTruth) and set(sequence.directions(0)) == {1, 2}
    perfect = run(sequence, Oracle(sequence, by_index=True))
    assert perfect.result.attributes and perfect.result.tally().sums[0] == perfect.result.tally().pairs
    with pytest.raises(ValueError, match="--reserved"):
        open_dataset(DatasetSpec(f"synthpano:{root}:reserved"))


# the acceptance scenes


def test_the_acceptance_scenes_are_frozen() -> None:
    named = {field.name for field in dataclasses.fields(SceneConfig)}
    frozen = set(acceptance.SCENE) | set(acceptance.NEWER)
    assert frozen == named, "freeze new fields at the value that changes nothing"
    library = AssetLibrary.shipped(Split.RESERVED, reserved=True)
    assert (
        acceptance.config_sha256(library)
        == "275bba39bc10d2390ab81e301919bdcbe30745fdd80ae2d117e0220c03e3b1d4"
    )
    dataset = open_dataset(DatasetSpec("acceptance", reserved=True))
    assert len(dataset.names) == 12 and dataset.config_sha256 == acceptance.config_sha256(library)


def test_an_acceptance_scene_has_its_objects_in_frame_0() -> None:
    sequence = open_dataset(DatasetSpec("acceptance", reserved=True)).open("acceptance-03")
    assert len(sequence) == 60 and (sequence.grid.width, sequence.grid.height) == (960, 480)
    assert 2 <= len(sequence.first_frames) <= 4 and set(sequence.first_frames.values()) == {0}
