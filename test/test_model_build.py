"""Weights: saved whole, loaded strictly, refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from panosam2_ros.model.build import (
    CONFIG_KEY,
    EMBEDDED,
    build_model,
    has_fast_bfloat16,
    load_weights,
    random_model,
    save_weights,
    select_device,
    select_dtype,
)
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts import Prompt
from panosam2_ros.resources import resource, sha256
from panosam2_ros.tracker import PanoTracker


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_weights(random_model(7), path)
    return path


def test_what_is_saved_is_what_is_loaded(weights: Path) -> None:
    loaded, original = load_weights(weights).state_dict(), random_model(7).state_dict()
    assert loaded.keys() == original.keys()
    assert all(torch.equal(loaded[name], original[name]) for name in loaded)
    assert not original["no_mem_embed"].equal(random_model(8).state_dict()["no_mem_embed"])


def test_files_that_are_not_a_models_are_refused(weights: Path, tmp_path: Path) -> None:
    metadata = {CONFIG_KEY: ModelConfig().to_json()}
    state = load_file(weights)
    missing = tmp_path / "missing.safetensors"
    save_file({k: v for k, v in state.items() if k != "no_mem_embed"}, missing, metadata)
    anonymous = tmp_path / "anonymous.safetensors"
    save_file(state, anonymous)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    newer = tmp_path / "newer.safetensors"
    save_file(state, newer, {CONFIG_KEY: json.dumps({"wings": 2})})
    cases = [(missing, "does not fit"), (anonymous, "which model"), (cut, "complete"), (newer, "wings")]
    for path, reason in cases:
        with pytest.raises(ValueError, match=reason):
            load_weights(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_weights(tmp_path / "nowhere.safetensors")


def test_unknown_names_and_devices_are_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match="unknown model 'sam9000'"):
        build_model("sam9000")
    with pytest.raises(ValueError, match="unknown device"):
        build_model(str(weights), "abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            select_device("cuda")


def test_the_embedded_model_is_the_manifests_and_small() -> None:
    path = resource("models", f"{EMBEDDED}.safetensors")
    assert path.stat().st_size <= 16 * 2**20
    assert json.loads(path.with_suffix(".json").read_text())["sha256"] == sha256(path)
    assert build_model().config.name == EMBEDDED


def test_precision_follows_the_hardware_and_the_network(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert select_dtype("float32", cpu, False) == torch.float32
    assert select_dtype("bfloat16", cpu, True) == torch.bfloat16
    assert select_dtype("auto", torch.device("cuda"), False) == torch.bfloat16
    assert select_dtype("auto", cpu, True) == torch.float32
    with pytest.raises(ValueError, match=r"float16.*bfloat16"):
        select_dtype("float16", cpu, False)
    info = tmp_path / "cpuinfo"
    assert not has_fast_bfloat16(info)
    info.write_text("flags : fpu avx2 avx512f\n")
    assert not has_fast_bfloat16(info)
    info.write_text("flags : fpu avx512f avx512_bf16\n")
    assert has_fast_bfloat16(info)


def test_in_bfloat16_a_frame_is_nearly_the_same(weights: Path) -> None:
    results = []
    for precision in ("float32", "bfloat16"):
        model = build_model(str(weights), "cpu", precision)
        model.set_input_size(128, 256)
        tracker = PanoTracker(model)
        image = np.random.default_rng(0).integers(0, 255, (128, 256, 3), np.uint8)
        mask = np.zeros((128, 256), bool)
        mask[40:80, 100:150] = True
        tracker.prompt(image, 0, [Prompt(mask=mask)])
        tracker.step(image, 1)
        results.append(tracker._bank)
    exact, reduced = results
    assert reduced.mask_logits.dtype == torch.float32
    scale = exact.mask_logits.std()
    assert 0 < (exact.mask_logits - reduced.mask_logits).abs().mean() < 0.05 * scale
