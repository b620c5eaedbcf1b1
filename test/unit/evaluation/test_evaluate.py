"""The command runs the real tracker on data sets, stores results, and resumes."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from helpers.fake_videos import FakeVideo, Oracle, moving, score_video
from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.datasets.synthpano.__main__ import main as write_synthpano
from panosam2_ros.datasets.synthpano.config import FROZEN
from panosam2_ros.evaluation import evaluate, jobs
from panosam2_ros.evaluation.runner import (
    DetailedGroundTruth,
)
from panosam2_ros.io.label_png import write_labels
from panosam2_ros.io.package_files import package_file
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.weights import save_weights


@pytest.fixture
def weights(tmp_path, model):
    path = tmp_path / "random.safetensors"
    save_weights(model, path)
    return str(path)


@pytest.fixture
def vos360(tmp_path):
    """Write two clips in 360VOS's layout."""
    root = tmp_path / "data"
    for name, step in (("001", 2), ("002", 5)):
        video = FakeVideo(moving(5, step, u=100), {1: 0})
        for folder in ("image", "mask"):
            (root / "test" / name / folder).mkdir(parents=True)
        for t in range(5):
            picture = cv2.cvtColor(video.image(t), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(root / "test" / name / "image" / f"{t:06d}.jpg"), picture)
            write_labels(root / "test" / name / "mask" / f"{t:06d}.png", video.ground_truth[t])
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
            random_model(2, config=ModelConfig(input_height=64, input_width=128)),
            tmp_path / "random.safetensors",
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


def test_a_video_without_ground_truth_has_cycle_consistency(tmp_path, weights, capsys) -> None:
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
    assert "no ground truth" in capsys.readouterr().err


def test_sequences_are_shared_among_processes(tmp_path, vos360, weights) -> None:
    arguments = ["--dataset", f"vos360:{vos360}", "--weights", weights, "--method", "keep-first"]
    for processes in ("1", "2"):
        assert command(*arguments, "--processes", processes, "--out", str(tmp_path / processes)) == 0
    first, second = (
        [json.loads((tmp_path / p / "keep-first-mask-accuracy" / f"00{k}.json").read_text()) for k in (1, 2)]
        for p in "12"
    )
    assert [r["score"]["result"] for r in first] == [r["score"]["result"] for r in second]


def test_stored_results_are_of_this_folder_and_machine(tmp_path, weights, monkeypatch) -> None:
    def key(place: str, threads: int = 1) -> dict[str, Any]:
        spec = DatasetSpec(f"vos360:{place}:test")
        job = jobs.Job(
            dataset=spec,
            method="tracker",
            prompt="mask",
            mode="accuracy",
            weights=str(weights),
            rate=0.0,
            threads=threads,
            out=tmp_path,
        )
        return job.key()

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
        (["--dataset", "nonsense"], "acceptance, staged[:light|"),
        (["--dataset", "vos360"], "vos360:DIR"),
        (["--dataset", "acceptance", "--mode", "real-time"], "--rate"),
        (["--dataset", "acceptance", "--mode", "roll", "--method", "ceiling"], "needs ground truth"),
        (["--dataset", "acceptance", "--reserved", "--weights", "/none/x.safetensors"], "no weights"),
        (["--dataset", "staged", "--disturb", "fog:1"], "a disturbance is one of light:0..10"),
        (["--dataset", "staged", "--method", "crops", "--view", "panorama"], "a network of search regions"),
    ],
)
def test_contradictory_options_are_refused_with_the_remedy(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        command(*arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_synthpano_is_read_with_its_whole_ground_truth(tmp_path, weights) -> None:
    frozen = json.loads(package_file(*FROZEN["v1"]).read_text())
    small = {"frames": 4, "width": 128, "height": 64, "objects": [2, 2], "size_deg": [30, 60]}
    scene = {**frozen["scene"], **small}
    changed = {"material": "shipped", "sequences": 1, "scene": scene, "features": [], "quotas": {}}
    config, root = tmp_path / "small.json", tmp_path / "data"
    config.write_text(json.dumps({**frozen, **changed}))
    write_synthpano(["--split", "val", "--out", str(root), "--config", str(config)])
    dataset = open_dataset(DatasetSpec(f"synthpano:{root}"))
    sequence = pickle.loads(pickle.dumps(dataset)).open("001")  # as training sends it to workers
    assert (dataset.seed, dataset.split) == (None, "val")
    assert dataset.config_sha256 == hashlib.sha256(config.read_bytes()).hexdigest()
    assert isinstance(sequence, DetailedGroundTruth) and set(sequence.directions(0)) == {1, 2}
    perfect = score_video(sequence, Oracle(sequence, by_index=True))
    assert perfect.result.attributes and perfect.result.tally().sums[0] == perfect.result.tally().pairs
    with pytest.raises(ValueError, match="--reserved"):
        open_dataset(DatasetSpec(f"synthpano:{root}:reserved"))
