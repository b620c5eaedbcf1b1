"""Weights: atomic saving, strict loading, refusals with the reason; and what ``build_model`` chooses."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.tracker_inputs import live_batch
from panosam2_ros.io.package_files import package_file, sha256
from panosam2_ros.model.build import (
    EMBEDDED,
    PACKAGED,
    build_model,
    has_fast_bfloat16,
    random_model,
    select_device,
    select_dtype,
)
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.weights import (
    ADAPTERS,
    CONFIG_KEY,
    load_adapters,
    load_weights,
    save_adapters,
    save_weights,
)
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.tracker import PanoTracker


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_weights(random_model(7), path)
    return path


def half(x: torch.Tensor) -> torch.Tensor:
    """Round floating-point values to half precision."""
    return x.half().float() if x.is_floating_point() else x


def test_weights_are_saved_in_half_precision_and_loaded_in_float32(weights: Path, tmp_path: Path) -> None:
    loaded, original = load_weights(weights).state_dict(), random_model(7).state_dict()
    assert {x.dtype for x in load_file(weights).values()} == {torch.float16, torch.int64}
    assert loaded.keys() == original.keys()
    assert all(x.dtype == original[name].dtype for name, x in loaded.items())
    assert all(torch.equal(x, half(original[name])) for name, x in loaded.items())
    assert not original["no_mem_embed"].equal(random_model(8).state_dict()["no_mem_embed"])
    exact = tmp_path / "exact.safetensors"
    save_weights(random_model(7), exact, dtype=torch.float32)
    assert all(torch.equal(x, original[name]) for name, x in load_weights(exact).state_dict().items())
    assert weights.stat().st_size < 0.52 * exact.stat().st_size


def test_weights_too_large_for_half_precision_are_refused(tmp_path: Path) -> None:
    model, path = random_model(7), tmp_path / "large.safetensors"
    with torch.no_grad():
        model.no_mem_embed[..., 0] = 1e5
    with pytest.raises(ValueError, match=r"no_mem_embed.*too large for torch.float16.*dtype=torch.float32"):
        save_weights(model, path)
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_state_rules_of_memory_were_trained_without_them() -> None:
    config = json.loads(ModelConfig(recreate_slots=True).to_json())
    stated = ModelConfig.of_weights(json.dumps(config))
    assert stated.align_memory and stated.recreate_slots
    earlier = ModelConfig.of_weights(json.dumps({k: v for k, v in config.items() if k != "align_memory"}))
    assert not earlier.align_memory and not earlier.recreate_slots


def test_retired_fields_without_effect_are_dropped_and_others_refused() -> None:
    config = {**json.loads(ModelConfig().to_json()), "wrap_margin": 0}
    assert ModelConfig.from_json(json.dumps(config)) == ModelConfig()
    old = {name: value for name, value in config.items() if name != "anchor_period"}
    assert ModelConfig.from_json(json.dumps({**old, "anchor_interval": 25})).anchor_period == 2.5
    with pytest.raises(ValueError, match=r"wrap_margin 32, which this version no longer supports.*install"):
        ModelConfig.from_json(json.dumps({**config, "wrap_margin": 32}))
    with pytest.raises(ValueError, match="rotary is whole_turns or axial, got 'rounded'"):
        ModelConfig.from_json(json.dumps({**config, "rotary": "rounded"}))


def test_weights_of_regions_keep_the_geometry_that_they_were_trained_with(tmp_path: Path) -> None:
    config = ModelConfig(input_height=64, input_width=64, regions=True)
    model, path = random_model(7, config=config), tmp_path / "regions.safetensors"
    assert not config.wraps and not config.decodes_in_canonical_yaw
    save_weights(model, path)
    assert load_weights(path).config == config
    old = json.loads(config.to_json())
    del old["panoramic_regions"]
    for regions in (True, False):
        text = json.dumps(old | {"regions": regions})
        save_file(load_file(path), path, {CONFIG_KEY: text})
        loaded = load_weights(path).config
        assert loaded == replace(config, regions=regions, panoramic_regions=regions)
        assert loaded.wraps and loaded.decodes_in_canonical_yaw


def test_files_of_other_kinds_are_refused(weights: Path, tmp_path: Path) -> None:
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
        build_model(str(weights), device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            select_device("cuda")


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_models_have_their_manifests_digest_and_are_small(name: str) -> None:
    path = package_file("models", f"{name}.safetensors")
    assert path.stat().st_size <= 16 * 2**20
    assert json.loads(path.with_suffix(".json").read_text())["sha256"] == sha256(path)
    assert build_model(name).config.name == name
    assert build_model().config.name == EMBEDDED


def test_select_dtype_depends_on_the_hardware_and_the_network(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert select_dtype("float32", cpu, small=False) == torch.float32
    assert select_dtype("bfloat16", cpu, small=True) == torch.bfloat16
    assert select_dtype("auto", torch.device("cuda"), small=False) == torch.bfloat16
    assert select_dtype("auto", cpu, small=True) == torch.float32
    with pytest.raises(ValueError, match=r"float16.*bfloat16"):
        select_dtype("float16", cpu, small=False)
    info = tmp_path / "cpuinfo"
    assert not has_fast_bfloat16(cpu_info=info)
    info.write_text("flags : fpu avx2 avx512f\n")
    assert not has_fast_bfloat16(cpu_info=info)
    info.write_text("flags : fpu avx512f avx512_bf16\n")
    assert has_fast_bfloat16(cpu_info=info)


def test_bfloat16_changes_masks_little(weights: Path) -> None:
    results = []
    for precision in ("float32", "bfloat16"):
        model = build_model(str(weights), device="cpu", precision=precision)
        model.set_input_size(128, 256)
        tracker = PanoTracker(model)
        image = np.random.default_rng(0).integers(0, 255, (128, 256, 3), np.uint8)
        mask = np.zeros((128, 256), bool)
        mask[40:80, 100:150] = True
        tracker.prompt(image, 0, [Prompt(mask=mask)])
        tracker.step(image, 1)
        results.append(live_batch(tracker).bank)
    exact, reduced = results
    assert reduced.mask_logits.dtype == torch.float32
    scale = exact.mask_logits.std()
    assert 0 < (exact.mask_logits - reduced.mask_logits).abs().mean() < 0.05 * scale


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """A small network whose learned parts are not the identity."""
    model = random_model(7, config=replace(ModelConfig(), name="small", refine_steps=2, long_pointer=True))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.split(".")[0] in ADAPTERS:
                parameter.normal_(0, 0.1)
    save_weights(model, tmp_path / "adapted.safetensors")
    return tmp_path / "adapted.safetensors"


def test_adapters_have_a_file_of_their_own(adapted: Path, weights: Path, tmp_path: Path) -> None:
    trained, path = load_weights(adapted), tmp_path / "adapters.safetensors"
    save_adapters(trained, path)
    base = random_model(7, config=trained.config)
    save_weights(base, tmp_path / "base.safetensors")
    both = build_model(str(tmp_path / "base.safetensors"), device="cpu", adapters=str(path)).state_dict()
    expected = trained.state_dict()
    own = {name for name in both if name.split(".")[0] in ADAPTERS}
    assert own and all(torch.equal(both[name], half(expected[name])) for name in own)
    rest = {name: half(x) for name, x in base.state_dict().items() if "memory_at" in name}
    assert all(torch.equal(both[name], x) for name, x in rest.items())
    assert path.stat().st_size < adapted.stat().st_size / 5
    with pytest.raises(ValueError, match="adapters of small; needed are adapters of panosam2_nano"):
        build_model(str(weights), device="cpu", adapters=str(path))
    with pytest.raises(ValueError, match="holds no adapters"):
        load_adapters(base, adapted)
    with pytest.raises(ValueError, match="does not fit"):
        load_adapters(random_model(7, config=replace(trained.config, long_pointer=False)), path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_adapters(base, tmp_path / "nowhere.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("mask_stride", "regions"), [(2, 0), (4, 0), (2, 3)])
def test_compiled_networks_compute_the_same_features(mask_stride: int, regions: int, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    config = ModelConfig(
        input_height=64, input_width=128, mask_stride=mask_stride, regions=bool(regions)
    )  # fmt: skip
    save_weights(random_model(7, config=config), path)
    image = torch.randint(0, 255, (max(regions, 1), 3, 64, 128), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        models = [build_model(str(path), device="cpu", compiled=compiled) for compiled in (False, True)]
        eager, compiled = (model.encode_image(image) for model in models)
    parts = [item.name for item in fields(ImageFeatures) if getattr(eager, item.name) is not None]
    assert len(parts) == (4 if mask_stride == 2 else 3)
    for name in parts:
        assert torch.allclose(getattr(eager, name), getattr(compiled, name), atol=1e-4)


def test_failed_compilation_names_the_remedy(weights: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no such file: g++")

    monkeypatch.setattr(PanoSAM2, "encode_image", fail)
    with pytest.raises(RuntimeError, match=r"needs a C\+\+ compiler.*g\+\+"):
        build_model(str(weights), device="cpu", compiled=True)
