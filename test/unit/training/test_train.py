"""A few steps learn; parts of the weights can be chosen; a killed run is resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from helpers.process import ROOT
from helpers.tiny_datasets import write_clip
from helpers.tiny_training import (
    REGIONS,
    SMALL,
    sources,
    write_recipe,
)
from panosam2_ros.io.package_files import sha256
from panosam2_ros.model.build import random_model, reconfigured
from panosam2_ros.model.weights import load_adapters, load_weights, save_weights
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.training.batches import TrainingBatch
from panosam2_ros.training.curriculum import Stage, read_config
from panosam2_ros.training.export import export_weights
from panosam2_ros.training.train import TIMED_STEPS, Trainer, main

PAIR = ROOT / "experiments" / "config" / "pair.yaml"


@pytest.mark.parametrize("variant", yaml.safe_load(PAIR.read_text())["variants"])
def test_networks_of_the_pair_learn_and_track(variant: str, small: Path, tmp_path: Path) -> None:
    recipe = read_config(PAIR, variant=variant)
    tiny = replace(read_config(small).stages[0], steps=1, correct=0.0, tilt=0.0)
    if recipe.model.get("regions"):
        tiny = replace(tiny, size=(64, 64), panorama=(64, 128), objects=1)
    recipe = replace(recipe, stages=(tiny,))
    Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0).run(save_every=1000)
    model = load_weights(tmp_path / "run" / f"{variant}.safetensors").eval()
    assert model.config.name == variant
    assert model.config.regions == (variant in ("panosam2_nano", "sam2_nano-regions"))
    image = np.full((64, 128, 3), 90, np.uint8)
    tracker = PanoTracker(model)
    tracker.prompt(image, 0, [Prompt(points=np.array([[60.0, 30.0]]), point_labels=np.array([1]))])
    assert tracker.step(image, 1).labels.shape == (64, 128)


def test_a_network_learns_from_search_regions(small: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "regions.yaml", REGIONS, model={"regions": True, "colour_evidence": 4.0})
    trainer = Trainer(read_config(path), tmp_path / "run", sources(tmp_path), workers=0)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.run(save_every=1e9)
    assert any(not torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())
    saved = load_weights(tmp_path / "run" / "panosam2_nano.safetensors")
    assert saved.config.regions and saved.input_size == (64, 64)


def test_a_trunk_is_learned_at_its_share_of_the_rate(small: Path, tmp_path: Path) -> None:
    recipe = read_config(small)
    stage = replace(recipe.stages[0], steps=1, trunk_rate=0.1)
    trainer = Trainer(replace(recipe, stages=(stage,)), tmp_path / "run", sources(tmp_path), workers=0)
    optimizers = trainer.optimizers
    trainer.run(save_every=1e9)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    trunk = {group["lr"] for group in groups if "share" in group}
    (rest,) = {group["lr"] for group in groups if "share" not in group}
    assert rest > 0 and trunk == {rest * 0.1}


def test_processes_that_see_different_folders_are_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panosam2_ros.training.train.gather_object", lambda mine: [*mine, True])
    with pytest.raises(ValueError, match=r"only 1 of 2 processes see .*: .*--out on a shared disk"):
        Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_config(small)
    whole = Trainer(recipe, tmp_path / "whole", sources(tmp_path))  # its clips made by another process
    before = {name: p.clone() for name, p in whole.model.named_parameters()}
    whole.run(save_every=1000)
    original, calls = Trainer._update, 0

    def killed_at_third(self: Trainer, stage: Stage, batch: TrainingBatch, *, elapsed: float) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(self, stage, batch, elapsed=elapsed)

    monkeypatch.setattr(Trainer, "_update", killed_at_third)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0).run(save_every=0)
    monkeypatch.setattr(Trainer, "_update", original)
    again = Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0)
    assert (again.stage, again.step, again.average.n_averaged) == (0, 2, 3)
    again.run(save_every=1000)
    assert again.average.n_averaged == 5
    for name, value in whole.model.named_parameters():
        assert torch.allclose(value, dict(again.model.named_parameters())[name], atol=1e-5), name
    assert any(not torch.equal(p, before[name]) for name, p in again.model.named_parameters())
    log = tmp_path / "run" / "log.jsonl"
    lines = log.read_text().splitlines()
    assert len(lines) == 4 and list((tmp_path / "run" / "tensorboard").iterdir())
    log.write_text("\n".join([*lines[:3], *lines[2:]]) + "\n")  # killed between a step and its checkpoint
    models = tmp_path / "new" / "models"
    manifest = json.loads(export_weights(tmp_path / "run", small, models).read_text())
    weights = models / "panosam2_nano.safetensors"
    assert manifest["sha256"] == sha256(weights) and manifest["steps"] == 4
    shipped, average = load_weights(weights).state_dict(), again.average.module.state_dict()
    half = {name: x.half().float() if x.is_floating_point() else x for name, x in average.items()}
    assert all(torch.equal(shipped[name], half[name]) for name in half)
    path = weights.with_suffix(".json")
    longer = json.loads(
        export_weights(tmp_path / "run", small, models, after=path).read_text()
    )  # in its own place
    assert longer["steps"] == 8 and longer["curve"] == 2 * manifest["curve"]
    assert longer["hours"] == 2 * manifest["hours"] and longer["sha256"] == manifest["sha256"]
    run, head_of = tmp_path / "run", (weights, 0.5)
    headed = json.loads(export_weights(run, small, models, after=path, head_of=head_of).read_text())
    assert headed["sha256"] == sha256(weights) != longer["sha256"] and headed["steps"] == longer["steps"]
    assert headed["prompt_head"]["steps"] == 4 and load_weights(weights).prompt_head is not None


def test_a_dry_run_describes_the_training_and_writes_nothing(small: Path, tmp_path: Path) -> None:
    trainer = Trainer(read_config(small), tmp_path / "dry", sources(tmp_path), workers=0)
    text = trainer.dry_run()
    count = sum(p.numel() for p in trainer.model.parameters())
    assert f"{count:,} of {count:,} parameters" in text and "tiny: 4 steps of 1 x 4 frames of 128x64" in text
    assert not list((tmp_path / "dry").iterdir())
    recipe = read_config(write_recipe(small, {"steps": 10**6, "minutes": 3.0}))
    text = Trainer(recipe, tmp_path / "clock", sources(tmp_path), workers=0).dry_run()
    assert text.endswith("0.05 h in all")  # not the days that a million steps would take


def test_a_data_set_of_the_command_line_takes_the_place_of_the_recipes(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "real" / "train" / "000", [*range(8)], [*range(8)])
    data = f"vos360:{tmp_path / 'real'}:train"
    wanted = ["--config", str(small), "--out", str(tmp_path / "dry"), "--workers", "0", "--dry-run"]
    main([*wanted, "--data", data])
    assert f"tiny: 4 steps of 1 x 4 frames of 128x64 from {data}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="elsewhere"):
        main([*wanted, "--data", f"vos360:{tmp_path / 'elsewhere'}:train"])


def test_a_dry_run_times_steps_that_track_freely_for_a_while(small: Path, tmp_path: Path) -> None:
    longer = {**SMALL["clip"], "frames": 12}
    recipe = read_config(write_recipe(small, {"steps": 7, "free_running_frames": 9, "clip": longer}))
    stage = recipe.stages[0]
    first, second = (stage.free_running_length(step) for step in range(TIMED_STEPS))
    assert first > second + stage.frames  # so that the first step's frames do not fit into the second's batch
    assert "tiny: 7 steps" in Trainer(recipe, tmp_path / "dry", sources(tmp_path), workers=0).dry_run()


def test_a_stage_may_have_a_time_limit_also_after_an_interruption(small: Path, tmp_path: Path) -> None:
    """All but a hundredth of two seconds are spent before a kill: at most one step of a million is left."""
    recipe = read_config(write_recipe(small, {"steps": 10**6, "minutes": 2 / 60}))
    after = replace(recipe.stages[0], name="next", steps=1, minutes=0.0)
    recipe = replace(recipe, stages=(recipe.stages[0], after))
    trainer = Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0)
    trainer.spent = 1.99
    trainer.save()
    resumed = Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0)
    assert resumed._elapsed_share(recipe.stages[0]) > 0.99 and resumed._elapsed_share(recipe.stages[1]) == 0
    resumed.run(save_every=1000)
    steps = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in steps] in (["next"], ["tiny", "next"])


def test_gradients_are_accumulated_over_steps(small: Path, tmp_path: Path) -> None:
    small = write_recipe(small, {"accumulate": 3})
    trainer = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)
    trainer.run(save_every=1000)
    assert trainer.average.n_averaged == 3  # after three steps, and at the end


def test_checkpoints_are_written_where_no_gradients_are_pending(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = write_recipe(small, {"accumulate": 3})
    trainer, saved = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0), []
    monkeypatch.setattr(Trainer, "save", lambda self: saved.append((self.stage, self.step)))
    trainer.run(save_every=0)
    assert saved == [(0, 3), (1, 0)]


def test_saved_weights_have_the_input_size_of_the_last_stage(small: Path, tmp_path: Path) -> None:
    trainer = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)
    trainer.save()
    assert load_weights(tmp_path / "run" / "panosam2_nano.safetensors").input_size == (64, 128)


def test_adapters_alone_are_learned_and_written(small: Path, tmp_path: Path) -> None:
    weights = tmp_path / "official.safetensors"
    save_weights(random_model(3), weights)
    parts = {"refine_steps": 1, "long_pointer": True, "mask_stride": 2}
    small = write_recipe(small, start=str(weights), model=parts, learn="adapters")
    trainer = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.run(save_every=1000)
    moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert {name.split(".")[0] for name in moved} == {"refinement", "long_short", "detail"}
    other = reconfigured(load_weights(weights), parts)
    load_adapters(other, tmp_path / "run" / "panosam2_nano_adapters.safetensors")
    gate = trainer.average.module.long_short.gate  # type: ignore[union-attr]
    assert torch.equal(other.long_short.gate, gate.half().float())
    nothing = write_recipe(small, start=str(weights), learn="adapters")
    with pytest.raises(ValueError, match="nothing of panosam2_nano would be learned"):
        Trainer(read_config(nothing), tmp_path / "none", sources(tmp_path), workers=0)


def test_a_stage_may_learn_some_parts_only(small: Path, tmp_path: Path) -> None:
    """Learn two parts in one stage, and all parameters in the next."""
    recipe = read_config(write_recipe(small, {"only": ["detail", "no_mem"]}, model={"mask_stride": 2}))
    recipe = replace(recipe, stages=(recipe.stages[0], replace(recipe.stages[0], only=(), steps=1)))
    trainer = Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0)
    before = {name: x.clone() for name, x in trainer.model.named_parameters()}
    trainer._run_stage(recipe.stages[0], 1e9)
    moved = {name for name, x in trainer.model.named_parameters() if not torch.equal(x, before[name])}
    assert "detail.residual.weight" in moved
    assert all(name.startswith(("detail", "no_mem")) for name in moved)
    trainer.stage, trainer.step = 1, 0
    trainer._new_optimizers()
    assert all(x.requires_grad for x in trainer.model.parameters())
    wrong = replace(recipe, stages=(replace(recipe.stages[0], only=("detial",)),))
    with pytest.raises(ValueError, match="begins with one of detial"):
        Trainer(wrong, tmp_path / "none", sources(tmp_path), workers=0)


def test_low_rank_changes_are_learned_and_merged(small: Path, tmp_path: Path) -> None:
    small = write_recipe(small, {"lr": 0.05}, lora=2, lora_into=["memory_attention", "sam_mask_decoder"])
    trainer = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)
    layer = trainer.model.memory_attention.layers[0].linear1
    before, plain = layer.weight.clone(), layer.parametrizations.weight.original.clone()
    trainer.run(save_every=1000)
    assert torch.equal(layer.parametrizations.weight.original, plain)
    assert not torch.equal(layer.weight, before)
    assert torch.linalg.matrix_rank(layer.weight - before) <= 2
    saved = load_weights(tmp_path / "run" / "panosam2_nano.safetensors")
    average = trainer.average.module.memory_attention.layers[0].linear1.weight
    assert torch.allclose(saved.memory_attention.layers[0].linear1.weight, average, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_several_processes_learn_as_one(small: Path, tmp_path: Path) -> None:
    """Two processes, started by the launcher of users, end with the same weights."""
    script = tmp_path / "run.py"
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    write_recipe(small, {"steps": 2})
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'test'}",
    }
    result = subprocess.run(
        [*command, str(script), str(small), str(tmp_path)], env=environment, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["processes"] == second["processes"] == 2
    assert all(torch.equal(first["model"][name], second["model"][name]) for name in first["model"])
    assert not torch.equal(first["images"], second["images"])


PROCESS = """
import sys, torch
from pathlib import Path
from panosam2_ros.training.curriculum import read_config
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.training.train import Trainer
from helpers.tiny_training import sources
if __name__ == "__main__":
    recipe, out = read_config(Path(sys.argv[1])), Path(sys.argv[2])
    trainer = Trainer(recipe, out / "run", sources(out))
    images = trainer._batches(recipe.stages[0]).full_batch(0).images
    trainer.run(save_every=1000)
    trainer._resume()
    assert trainer.stage == 1  # the run is finished
    rank, count = trainer.accelerator.process_index, trainer.accelerator.num_processes
    state = {"model": trainer.model.state_dict(), "images": images, "processes": count}
    torch.save(state, out / f"{rank}.pt")
"""
