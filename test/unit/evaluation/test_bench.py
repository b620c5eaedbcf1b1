"""The benchmark of speed measures what it reports, on sizes that take little time."""

from __future__ import annotations

import mmap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from panosam2_ros.evaluation import bench, bench_nano
from panosam2_ros.evaluation.bench_upstream import UPSTREAM_WARM_UP_FRAMES, UpstreamRun, upstream_predictor
from panosam2_ros.model.build import random_model
from panosam2_ros.model.checkpoints import load_official


@pytest.mark.slow
def test_upstream_is_timed_with_any_number_of_objects(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bench, "INPUTS", ((64, 128),))
    folder = tmp_path / "video"
    folder.mkdir()
    video = [frame[::8, ::8] for frame in bench.frames(UPSTREAM_WARM_UP_FRAMES + 2)]
    predictor = upstream_predictor(128)
    ms = UpstreamRun(predictor, video, folder).ms_per_frame((1, 3), 2, torch.float32)
    assert ms.keys() == {1, 3} and min(ms.values()) > 0
    torch.save({"model": predictor.state_dict()}, tmp_path / "tiny.pt")
    model = load_official(tmp_path / "tiny.pt", (64, 128)).eval().requires_grad_(False)
    full = bench.tracker_with_full_memory(model, bench.frames(2))
    tracker = bench.with_copies(full, 3)
    assert tracker.snapshot().bank.maskmem.valid.all() and [t.obj_id for t in tracker.tracks()] == [1, 2, 3]
    assert bench.our_ms(model, (1, 3), bench.frames(2), 1).keys() == {1, 3} and len(full.tracks()) == 1
    count, costs = bench.adapters(tmp_path / "tiny.pt", bench.frames(2), 1)
    assert 10_000 < count < 1_000_000 and costs.keys() == {"1", "8"}
    found = bench.parts(model, 2, bench.frames(2), 1)
    assert {"encode_image", "memory_attention", "refinement", "long_short_memory"} <= found.keys()
    assert all(ms > 0 for ms in found.values())


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
    grown = bench_nano.memory_growth(3, 2, width=256)
    assert grown["frames"] == 3 and grown["after_200_frames"] > 100 and grown["at_the_end"] > 100
