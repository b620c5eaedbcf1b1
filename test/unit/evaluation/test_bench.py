"""The benchmark of speed measures what it reports, on sizes that take little time."""

from __future__ import annotations

import mmap
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from panosam2_ros.evaluation import bench, bench_contenders, bench_gpu, bench_nano
from panosam2_ros.evaluation.bench_official import compare_with_upstream, noise_frames
from panosam2_ros.evaluation.bench_upstream import UPSTREAM_WARM_UP_FRAMES, upstream_predictor
from panosam2_ros.model.build import EMBEDDED, random_model
from panosam2_ros.model.checkpoints import load_official


@pytest.mark.slow
def test_official_steps_are_compared_with_upstreams(tmp_path: Path) -> None:
    video = noise_frames(UPSTREAM_WARM_UP_FRAMES + 4)
    weights = tmp_path / "tiny.pt"
    rows = compare_with_upstream(weights, video, (1, 3), 1, sizes=(128,), region_size=64)
    assert [(row["objects"], row["dtype"]) for row in rows] == [
        (1, "float32"), (3, "float32"), (1, "bfloat16"), (3, "bfloat16"),
    ]  # fmt: skip
    for row in rows:
        assert (row["model"], row["region_size"]) == ("sam2.1_hiera_tiny", 64)
        assert (row["baseline"], row["baseline_input"]) == ("upstream", "128x128")
        assert 0 < row["ms_p50"] <= row["ms_p95"]
        assert row["ratio"] == pytest.approx(row["baseline_ms_p50"] / row["ms_p50"])
    model = load_official(weights, (64, 128)).eval().requires_grad_(False)
    full = bench.tracker_with_full_memory(model, video)
    tracker = bench.with_copies(full, 3)
    assert tracker.snapshot().bank.maskmem.valid.all() and [t.obj_id for t in tracker.tracks()] == [1, 2, 3]
    found = bench.parts(model, 2, video, 1)
    assert {"encode_image", "memory_attention", "refinement", "long_short_memory"} <= found.keys()
    assert all(ms > 0 for ms in found.values())


@pytest.mark.slow
def test_adapters_have_a_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "INPUTS", ((64, 64), (64, 128)))
    torch.save({"model": upstream_predictor(128).state_dict()}, tmp_path / "tiny.pt")
    count, costs = bench.adapters(tmp_path / "tiny.pt", noise_frames(2), 1)
    assert 10_000 < count < 1_000_000 and costs.keys() == {"1", "8"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.cuda,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_rows_of_a_gpu_are_those_of_its_networks(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU they are measured on the CPU, at a small size."""
    monkeypatch.setattr(bench_gpu, "compare_with_baseline", lambda steps, **how: [how | {"steps": steps}])
    small, official = bench_gpu.gpu_rows(
        ["tiny"], [2], 2, device=device, upstream_size=128, region_size=64, compiled=False
    )
    assert small == {"steps": 2, "objects": 2, "busy": (0,), "device": device}
    assert (official["device"], official["dtype"], official["objects"]) == (device, "bfloat16", 2)
    assert official["ms_p50"] > 0 and official["baseline_compiled"] is False


def test_steps_are_compared_with_those_of_a_commit_of_the_history(tmp_path: Path, monkeypatch) -> None:
    """Here that commit is the present one, under another name."""
    root = bench_contenders.ROOT
    run = partial(subprocess.run, check=True, capture_output=True, text=True)
    if not (root / ".git").exists():
        pytest.skip("needs the project's git history")
    head = run(["git", "-C", str(root), "rev-parse", "HEAD"]).stdout.strip()
    monkeypatch.setattr(bench_contenders, "BASELINE", head)
    monkeypatch.setattr(bench_contenders, "checkout", lambda commit: root)
    modules = {bench_contenders.WORKING_TREE: bench_contenders.MODULES[bench_contenders.WORKING_TREE]}
    monkeypatch.setattr(bench_contenders, "MODULES", modules | {head: modules[bench_contenders.WORKING_TREE]})
    alone, beside = bench_contenders.compare_with_baseline(2, objects=2)
    assert (alone["busy_processes"], beside["busy_processes"]) == (0, 1)
    for row in (alone, beside):
        assert (row["model"], row["objects"], row["baseline"]) == (EMBEDDED, 2, head)
        assert min(row["ms_p50"], row["baseline_ms_p50"], row["ratio"]) > 0


def test_a_checkout_holds_the_files_of_its_commit_or_there_is_none(tmp_path: Path) -> None:
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    git = partial(subprocess.run, cwd=source, check=True, capture_output=True, text=True)
    git(["git", "init"])
    (source / "file.txt").write_text("old")
    git(["git", "add", "."])
    git(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "old"])
    commit = git(["git", "rev-parse", "HEAD"]).stdout.strip()
    (source / "file.txt").write_text("new")
    found = bench_contenders.checkout(commit, repository=source, cache=cache)
    assert found is not None and (found / "file.txt").read_text() == "old"
    assert bench_contenders.checkout(commit, repository=tmp_path / "nowhere", cache=cache) == found  # kept
    assert bench_contenders.checkout("0" * 40, repository=source, cache=cache) is None
    row = bench_contenders.compared([1.0, 2.0, 3.0], None, commit)
    assert row["ms_p50"] == 2 and row["baseline"] is row["baseline_ms_p50"] is row["ratio"] is None


def test_compared_actions_are_timed_interleaved() -> None:
    order: list[str] = []

    def action(name: str, seconds: float) -> None:
        order.append(name)
        time.sleep(seconds)

    fast, slow = bench.compared_ms([partial(action, "a", 0), partial(action, "b", 0.01)], 2)
    assert "".join(order) == "aabb" * 2 and slow > 9 > fast


def test_shares_rates_and_sizes() -> None:
    model = random_model().eval().requires_grad_(False)
    slow = bench.encoder_gemm_share(model, 100.0, 10.0)
    assert slow > 0 and abs(bench.encoder_gemm_share(model, 200.0, 10.0) - slow / 2) < 1e-9
    sizes = bench.memory_mib()
    assert all(0.05 < mib < 3 for mib in sizes.values()) and len(sizes) == 3
    assert bench.matrix_rate(torch.float32, size=64) > 0
    before = bench_nano.resident_mib()
    with mmap.mmap(-1, 256 * 2**20) as held:  # new pages, whatever the allocator has kept
        pages = np.frombuffer(held, np.uint8)
        pages[:] = 1
        assert 200 < bench_nano.resident_mib() - before < 300
        del pages


def test_steps_and_growth_of_the_small_network_are_measured(monkeypatch) -> None:
    monkeypatch.setattr(bench_nano, "CASES", ((2, 1024, 0), (2, 1024, 64)))
    whole, reduced = bench_nano.nano_steps(1)
    assert (whole["objects"], whole["image"], whole["mask_width"], reduced["mask_width"]) == (
        2, "1024x512", 1024, 64,
    )  # fmt: skip
    assert whole["ms"] > 0 and whole["numpy_peak_mib"] > reduced["numpy_peak_mib"] > 0
    scene = bench_nano.render_frames(256, 2, 3)
    tracker = bench_nano.start_tracker(scene)
    grown = bench_nano.memory_growth(tracker, [frame.image for frame in scene], 3, tracked=3)
    assert grown["frames"] == 3 and grown["after_200_frames"] > 100 and grown["at_the_end"] > 100
