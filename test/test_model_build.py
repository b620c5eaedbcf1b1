"""Weights: saved whole, loaded strictly, refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from panosam2_ros.model.build import (
    CONFIG_KEY,
    EMBEDDED,
    build_model,
    load_weights,
    random_model,
    save_weights,
    select_device,
    sha256,
)
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.resources import resource


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
