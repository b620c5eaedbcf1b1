"""A few steps learn; what is learned can be chosen; a run that was killed goes on."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from helpers.fake_videos import FakeVideo, moving
from helpers.process import ROOT
from panosam2_ros.datasets.registry import Dataset
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.io.package_files import sha256
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.build import random_model, reconfigured
from panosam2_ros.model.memory_attention import _rotations_of
from panosam2_ros.model.weights import load_adapters, load_weights, save_weights
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.synthetic.perspective_renderer import SceneView
from panosam2_ros.tracking.propagation import empty_bank
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.training.clip_sources import Sources
from panosam2_ros.training.clips import (
    Batches,
    DatasetClips,
    Material,
    RenderedClips,
    StoredMaterial,
    TrainingBatch,
)
from panosam2_ros.training.curriculum import Stage, learning_rate, read_config
from panosam2_ros.training.export import mixed, ship, training_hours
from panosam2_ros.training.losses import LossConfig
from panosam2_ros.training.optimizer import build_optimizers, orthogonalised
from panosam2_ros.training.region_clips import Panoramic, RegionClips, Scenes, _led
from panosam2_ros.training.rollout import ClipLoss, Rollout, correction, jumped, misled
from panosam2_ros.training.train import Trainer

CONFIGS = sorted((ROOT / "config" / "train").glob("*.yaml"))


def test_the_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] < 0.05 and max(rates) > 0.99 and rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert learning_rate(200, 1000, 1.0, over=0.1) == rates[200]
    assert learning_rate(200, 1000, 1.0, over=0.5) == rates[500]  # by its clock, where that is ahead


def variants(path: Path) -> list[str]:
    return ["", *yaml.safe_load(path.read_text()).get("variants", {})]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configurations_are_complete_and_typos_are_refused(path: Path, tmp_path: Path) -> None:
    for stage in (stage for variant in variants(path) for stage in read_config(path, variant).stages):
        assert stage.data or stage.scenes().width == stage.panoramas[1]
        assert stage.data or stage.scenes().frames >= stage.longest
        if all(stage.panorama) and not stage.data:
            scenes = replace(stage.scenes(), models=0.0, people=0.0, clutter=(0, 0), frames=2)
            RegionClips(Scenes(scenes, TinyMaterial()), stage.size[1]).clip(0)
    config = yaml.safe_load(path.read_text())
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**config, "sede": 1}))
    with pytest.raises(ValueError, match="sede"):
        read_config(wrong)
    config["stages"][0]["stpes"] = 1
    del config["stages"][0]["lr"]
    wrong.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"(?s)unknown or missing.*(stpes.*lr|lr.*stpes)"):
        read_config(wrong)


@pytest.mark.parametrize("variant", variants(ROOT / "config" / "train" / "pair.yaml")[1:])
def test_networks_of_the_pair_learn_and_track(variant: str, small: Path, tmp_path: Path) -> None:
    recipe = read_config(ROOT / "config" / "train" / "pair.yaml", variant)
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


def test_a_variant_changes_stages_that_it_names(small: Path) -> None:
    region = {"size": [64, 64], "panorama": [64, 128], "objects": 1}
    config = yaml.safe_load(small.read_text()) | {"variants": {"near": {"stages": {"tiny": region}}}}
    config["stages"].append({**SMALL, "name": "after"})
    small.write_text(yaml.safe_dump(config))
    changed, after = read_config(small, "near").stages
    assert (changed.size, changed.panoramas, changed.objects) == ((64, 64), (64, 128), 1)
    plain = read_config(small).stages
    assert after == plain[1] and replace(changed, size=(64, 128), panorama=(0, 0), objects=2) == plain[0]
    config["variants"]["near"]["stages"]["tnyi"] = region
    small.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"changes stages \['tnyi'\]; there are tiny, after"):
        read_config(small, "near")


@pytest.mark.parametrize("wrong", [{"loss": {"weighting": "distortion"}}, {"model": {"refine_steps": 3}}])
def test_search_regions_have_no_rows_that_are_weighted_or_refined(small: Path, wrong: dict[str, Any]) -> None:
    region = {"size": [64, 64], "panorama": [64, 128], "objects": 1}
    with pytest.raises(ValueError, match=r"stage tiny.*search regions.*weighting none and refine_steps 0"):
        read_config(write_recipe(small, region, **wrong))
    write_recipe(small, {**region, "refine": False}, model={"refine_steps": 3})
    assert read_config(small).stages[0].panorama == (64, 128)
    assert read_config(write_recipe(small, **wrong)).stages[0].panorama == (0, 0)
    with pytest.raises(ValueError, match=r"stage tiny in .* has poor: 0\.5, which is for search regions"):
        read_config(write_recipe(small, {"poor": 0.5}))


def library() -> AssetLibrary:
    """One panorama and two sprites that need no file."""
    rng = np.random.default_rng(0)
    panorama = cv2.resize(rng.integers(0, 255, (8, 16, 3), np.uint8), (256, 128))
    sprites = {}
    for name, colour in (("disc", (250, 40, 30)), ("ring", (30, 60, 250))):
        sprite = np.zeros((64, 64, 4), np.uint8)
        cv2.circle(sprite, (32, 32), 28, (*colour, 255), -1 if name == "disc" else 12)
        sprites[name] = sprite
    return AssetLibrary({"noise": panorama}, sprites)


SMALL = {
    "name": "tiny", "steps": 4, "size": [64, 128], "batch": 1, "frames": 2, "free": 2, "objects": 2,
    "lr": 1e-3, "kinds": [0.4, 0.3, 0.3], "diameter": [40, 90], "correct": 1.0, "tilt": 60.0,
    "clip": {"frames": 5, "objects": [2, 2], "object_speed": [0, 5], "camera_speed": 3, "occlusion": 0.0},
}  # fmt: skip


def write_recipe(path: Path, stage: dict[str, Any] | None = None, **options: Any) -> Path:
    """A curriculum of a few tiny steps."""
    recipe = {"seed": 1, "ema": 0.9, **options, "stages": [{**SMALL, **(stage or {})}]}
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "tiny.yaml")


class TinyMaterial:
    """What needs no file, in every process."""

    def library(self) -> AssetLibrary:
        return library()


class TinySources(Sources):
    def material(self) -> Material:
        return TinyMaterial()


def sources(tmp_path: Path) -> Sources:
    return TinySources(tmp_path, None)


def batches(small: Path, workers: int = 1, **changes: Any) -> Batches:
    stage = replace(read_config(small).stages[0], **changes)
    return Batches(RenderedClips(stage.scenes(), TinyMaterial()), stage, (3, 0, 0), workers)


def test_a_batch_has_prompts_on_objects_that_are_there(small: Path) -> None:
    batch = batches(small, batch=2, frames=3, free=0, kinds=(0.0, 1.0, 0.0))[0]
    assert batch.images.shape == (3, 2, 3, 64, 128) and batch.images.dtype == torch.uint8
    assert batch.targets.shape == (3, 4, 1, 32, 64)
    for prompt, target in zip(batch.prompts, batch.targets[0, :, 0], strict=True):
        u, v = prompt.points[0]
        assert target[int(v) // 2, int(u) // 2] > 0
    boxes = batches(small, batch=2, free=0, kinds=(1.0, 0.0, 0.0))[0].prompts
    assert all(p.box is not None for p in boxes)


def test_the_same_step_has_the_same_clips_whenever_it_comes(small: Path) -> None:
    going, resumed = batches(small), batches(small)
    passed = [going[step] for step in range(4)]
    again = resumed[3]
    assert torch.equal(passed[3].images, again.images) and torch.equal(passed[3].targets, again.targets)
    assert not torch.equal(passed[2].images[0], again.images[0])
    loaded = list(batches(small).loader(2))
    assert len(loaded) == 2 and torch.equal(loaded[1].images, again.images)


def test_the_parts_of_a_batch_are_made_by_processes_of_their_own(small: Path) -> None:
    made = list(batches(small, workers=2, batch=4).loader(2))
    assert [len(batch.prompts) for batch in made] == [8, 8]  # two objects in each clip
    own = batches(small, workers=2, batch=4)
    for step, batch in zip((2, 3), made, strict=True):
        parts = [own[2 * step], own[2 * step + 1]]
        assert torch.equal(batch.images, torch.cat([part.images for part in parts], 1))
        assert torch.equal(batch.targets, torch.cat([part.targets for part in parts], 1))
        assert not torch.equal(parts[0].images, parts[1].images)
    with pytest.raises(ValueError, match="batch of 4 clips of stage tiny cannot be made by 3 workers"):
        batches(small, workers=3, batch=4)
    with pytest.raises(ValueError, match="cannot be made by -1 workers"):
        batches(small, workers=-1, batch=4)


def test_what_a_worker_is_sent_is_small(tmp_path: Path) -> None:
    stage = read_config(CONFIGS[-2]).stages[-1]
    for source in (
        RenderedClips(stage.scenes(), StoredMaterial(tmp_path, tmp_path)),
        RegionClips(Scenes(stage.scenes(), StoredMaterial(tmp_path, tmp_path)), 160),
    ):
        assert len(pickle.dumps(Batches(source, stage, (1, 2, 3)))) < 10_000


REGIONS = {
    "size": [64, 64], "panorama": [128, 256], "objects": 1, "free": 1, "frames": 3, "diameter": [20, 40],
    "tilt": 0.0,
}  # fmt: skip


def regions(small: Path, **changes: Any) -> RegionClips:
    stage = replace(read_config(small).stages[0], **{k: tuple(v) if isinstance(v, list) else v
                                                     for k, v in REGIONS.items()}, **changes)  # fmt: skip
    source = sources(small.parent).of(stage)
    assert isinstance(source, RegionClips)
    return source


def test_search_regions_follow_one_object_each(small: Path) -> None:
    source = regions(small)
    middles = []
    for number in range(12):
        images, labels = source.clip(number)
        assert images.shape == (5, 64, 64, 3) and images.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1} and labels[0].any()
        middles.append(np.argwhere(labels[0]).mean(0))
        region = labels[0] > 0
        assert 0.004 < region.mean() < 0.5
        colour = images[0][region].mean(0)  # one of the two sprites, on grey noise
        assert np.abs(colour - colour.mean()).max() > 20
    assert np.abs(np.array(middles) - 31.5).max() < 20  # a region lies round its object
    again = regions(small)
    for number in (7, 2):
        assert all(map(np.array_equal, source.clip(number), again.clip(number)))
    assert not np.array_equal(source.clip(0)[0], source.clip(1)[0])


def test_some_regions_are_seen_by_a_poorer_camera(small: Path) -> None:
    good, poor = regions(small, poor=0.0), regions(small, poor=1.0)
    images, labels = good.clip(3)
    (sharp, here), (blurred, there) = (
        source.varied(np.random.default_rng(1), images, labels, 0.0) for source in (good, poor)
    )
    assert np.array_equal(here, there) and not np.array_equal(sharp, blurred)
    assert abs(sharp.astype(float).mean() - blurred.mean()) < 3


def test_regions_of_panoramas_show_what_those_of_a_scene_show(small: Path) -> None:
    stage = replace(read_config(small).stages[0], size=(128, 256), diameter=(20, 40))
    scenes = replace(stage.scenes(), width=1024, height=512, noise=0.0)
    cut = RegionClips(Panoramic(RenderedClips(scenes, TinyMaterial())), 64)
    drawn = RegionClips(Scenes(scenes, TinyMaterial()), 64)
    for number in (0, 1, 4):
        (cut_images, cut_labels), (images, labels) = cut.clip(number), drawn.clip(number)
        both, either = (cut_labels & labels).sum((1, 2)), (cut_labels | labels).sum((1, 2))
        assert (both > 0.85 * either).all()  # where things are is known to a degree for the ones drawn
        assert np.abs(cut_images.astype(float) - images).mean() < 12


def test_a_clip_without_an_object_is_empty_and_never_learned_from(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, labels = regions(small), SceneView.labels
    monkeypatch.setattr(
        SceneView, "labels", lambda own, t: (labels(own, t)[0] * (own.seed % 2 == 0), labels(own, t)[1])
    )
    assert not source.clip(3)[1].any() and source.clip(0)[1].any()
    stage = replace(read_config(small).stages[0], size=(64, 64), objects=1, frames=2, free=0, batch=3)
    batch = Batches(source, stage, (3, 0, 0))
    assert all(batch[step].targets[0].sum() > 0 for step in range(4))


def test_a_network_learns_from_search_regions(small: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "regions.yaml", REGIONS, model={"regions": True, "colour_evidence": 4.0})
    trainer = Trainer(read_config(path), tmp_path / "run", sources(tmp_path), workers=0)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.run(save_every=1e9)
    assert any(not torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())
    saved = load_weights(tmp_path / "run" / "panosam2_nano.safetensors")
    assert saved.config.regions and saved.input_size == (64, 64)


def test_clips_of_a_data_set_are_its_frames() -> None:
    video = FakeVideo(moving(8, 4), {1: 0})
    dataset = Dataset("fake", "train", None, "", (video.name,), 30.0, True, lambda name: video)
    images, labels = DatasetClips(dataset, (64, 128), frames=3, every=2).clip(5)
    assert images.shape == (3, 64, 128, 3) and labels.shape == (3, 64, 128)
    first = int(images[0, 0, 0, 0])  # a picture's first pixel names its frame
    assert images[:, 0, 0, 0].tolist() == [first, first + 2, first + 4]
    assert np.array_equal(labels, video.truth[first : first + 5 : 2])
    with pytest.raises(ValueError, match="shorter clips"):
        DatasetClips(dataset, (64, 128), frames=5, every=2).clip(0)


def test_clips_are_taken_where_all_frames_have_masks_and_ids_may_have_16_bits() -> None:
    class Sparse(FakeVideo):
        """As some videos of 360VOS: the fourth frame has no mask."""

        def labels(self, index: int) -> Any:
            return None if index == 3 else self.truth[index].astype(np.uint16) * 300

    video = Sparse(moving(8, 4), {1: 0})
    dataset = Dataset("fake", "train", None, "", (video.name,), 30.0, True, lambda name: video)
    for number in range(10):
        images, labels = DatasetClips(dataset, (64, 128), frames=3, every=1).clip(number)
        assert images[0, 0, 0, 0] in (0, 4, 5) and set(np.unique(labels)) == {0, 1}
    with pytest.raises(ValueError, match="no video of fake has 5 frames with masks"):
        DatasetClips(dataset, (64, 128), frames=5, every=1).clip(0)


def test_processes_that_see_different_folders_are_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panosam2_ros.training.train.gather_object", lambda mine: [*mine, True])
    with pytest.raises(ValueError, match=r"only 1 of 2 processes see .*: .*--out on a shared disk"):
        Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_config(small)
    whole = Trainer(recipe, tmp_path / "whole", sources(tmp_path))  # its clips made by another process
    before = {name: p.clone() for name, p in whole.model.named_parameters()}
    whole.run(save_every=1000)
    original, calls = Trainer._update, 0

    def killed_at_third(self: Trainer, stage: Stage, batch: TrainingBatch, over: float) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(self, stage, batch, over)

    monkeypatch.setattr(Trainer, "_update", killed_at_third)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0).run(save_every=0)
    monkeypatch.setattr(Trainer, "_update", original)
    again = Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0)
    assert (again.stage, again.step, again.average.updates) == (0, 2, 2)
    again.run(save_every=1000)
    assert again.average.updates == 4
    for name, value in whole.model.named_parameters():
        assert torch.allclose(value, dict(again.model.named_parameters())[name], atol=1e-5), name
    assert any(not torch.equal(p, before[name]) for name, p in again.model.named_parameters())
    log = tmp_path / "run" / "log.jsonl"
    lines = log.read_text().splitlines()
    assert len(lines) == 4 and list((tmp_path / "run" / "tensorboard").iterdir())
    log.write_text("\n".join([*lines[:3], *lines[2:]]) + "\n")  # killed between a step and its checkpoint
    models = tmp_path / "new" / "models"
    manifest = json.loads(ship(tmp_path / "run", small, models).read_text())
    weights = models / "panosam2_nano.safetensors"
    assert manifest["sha256"] == sha256(weights) and manifest["steps"] == 4
    shipped, average = load_weights(weights).state_dict(), again.average.model.state_dict()
    half = {name: x.half().float() if x.is_floating_point() else x for name, x in average.items()}
    assert all(torch.equal(shipped[name], half[name]) for name in half)
    path = weights.with_suffix(".json")
    longer = json.loads(ship(tmp_path / "run", small, models, after=path).read_text())  # in its own place
    assert longer["steps"] == 8 and longer["curve"] == 2 * manifest["curve"]
    assert longer["hours"] == 2 * manifest["hours"] and longer["sha256"] == manifest["sha256"]


def test_a_dry_run_says_what_would_be_learned_and_leaves_nothing(small: Path, tmp_path: Path) -> None:
    trainer = Trainer(read_config(small), tmp_path / "dry", sources(tmp_path), workers=0)
    text = trainer.dry_run()
    count = sum(p.numel() for p in trainer.model.parameters())
    assert f"{count:,} of {count:,} parameters" in text and "tiny: 4 steps of 1 x 4 frames of 128x64" in text
    assert not list((tmp_path / "dry").iterdir())
    recipe = read_config(write_recipe(small, {"steps": 10**6, "minutes": 3.0}))
    text = Trainer(recipe, tmp_path / "clock", sources(tmp_path), workers=0).dry_run()
    assert text.endswith("0.05 h in all")  # not the days that a million steps would take


def test_a_stage_may_end_by_the_clock_also_where_it_was_interrupted(small: Path, tmp_path: Path) -> None:
    """Of two seconds all but a hundredth were spent before a kill: one step at most is left of a million."""
    recipe = read_config(write_recipe(small, {"steps": 10**6, "minutes": 2 / 60}))
    after = replace(recipe.stages[0], name="next", steps=1, minutes=0.0)
    recipe = replace(recipe, stages=(recipe.stages[0], after))
    trainer = Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0)
    trainer.spent = 1.99
    trainer.save()
    resumed = Trainer(recipe, tmp_path / "run", sources(tmp_path), workers=0)
    assert resumed._over(recipe.stages[0]) > 0.99 and resumed._over(recipe.stages[1]) == 0
    resumed.run(save_every=1000)
    steps = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in steps] in (["next"], ["tiny", "next"])


def test_gradients_are_gathered_over_as_many_steps_as_asked(small: Path, tmp_path: Path) -> None:
    small = write_recipe(small, {"accumulate": 3})
    trainer = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)
    trainer.run(save_every=1000)
    assert trainer.average.updates == 2  # after three steps, and at the end


def test_checkpoints_lie_where_no_gradients_wait(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = write_recipe(small, {"accumulate": 3})
    trainer, saved = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0), []
    monkeypatch.setattr(Trainer, "save", lambda self: saved.append((self.stage, self.step)))
    trainer.run(save_every=0)
    assert saved == [(0, 3), (1, 0)]


def test_what_was_trained_last_is_the_size_of_what_is_saved(small: Path, tmp_path: Path) -> None:
    trainer = Trainer(read_config(small), tmp_path / "run", sources(tmp_path), workers=0)
    trainer.save()
    assert load_weights(tmp_path / "run" / "panosam2_nano.safetensors").input_size == (64, 128)


def test_adapters_alone_learn_and_have_a_file_of_their_own(small: Path, tmp_path: Path) -> None:
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
    gate = trainer.average.model.long_short.gate  # type: ignore[union-attr]
    assert torch.equal(other.long_short.gate, gate.half().float())
    nothing = write_recipe(small, start=str(weights), learn="adapters")
    with pytest.raises(ValueError, match="nothing of panosam2_nano would be learned"):
        Trainer(read_config(nothing), tmp_path / "none", sources(tmp_path), workers=0)


def test_a_stage_may_learn_some_parts_only(small: Path, tmp_path: Path) -> None:
    """And the next one all again."""
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
    average = trainer.average.model.memory_attention.layers[0].linear1.weight
    assert torch.allclose(saved.memory_attention.layers[0].linear1.weight, average, rtol=1e-3, atol=1e-6)


def test_several_processes_learn_as_one(small: Path, tmp_path: Path) -> None:
    """Two processes, by the launcher that users have, end with the same weights."""
    script = tmp_path / "run.py"
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    write_recipe(small, {"steps": 2})
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'test'}{os.pathsep}{ROOT / 'test' / 'unit' / 'training'}",
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
from test_train import sources
if __name__ == "__main__":
    recipe, out = read_config(Path(sys.argv[1])), Path(sys.argv[2])
    trainer = Trainer(recipe, out / "run", sources(out))
    images = trainer._batches(recipe.stages[0]).whole(0).images
    trainer.run(save_every=1000)
    trainer._resume()
    assert trainer.stage == 1  # goes on where it ended
    rank, count = trainer.accelerator.process_index, trainer.accelerator.num_processes
    state = {"model": trainer.model.state_dict(), "images": images, "processes": count}
    torch.save(state, out / f"{rank}.pt")
"""


def test_a_model_that_tracked_can_be_trained(small: Path) -> None:
    """What is cached while tracking, without autograd, must not come into the way of training."""
    batch = batches(small, objects=1)[0]
    model = random_model(0)
    model.set_input_size(64, 128)
    loss = ClipLoss(model, LossConfig())
    _rotations_of.cache_clear()
    with torch.inference_mode():
        loss(batch, Rollout())
    loss(batch, Rollout())[0].backward()
    assert model.memory_attention.layers[0].linear1.weight.grad is not None


def test_a_correction_is_a_click_on_the_larger_mistake() -> None:
    found, truth = np.zeros((2, 16, 32), bool)
    truth[4:12, 28:], truth[4:12, :6] = True, True  # across the seam
    found[4:12, 28:] = True
    found[0, 10] = True
    missed = correction(found != truth, found, 4)
    assert missed.point_labels.tolist() == [1]
    u, v = missed.points[0]
    assert truth[int(v) // 4, int(u) // 4] and not found[int(v) // 4, int(u) // 4]
    extra = correction(found != (found & False), found, 4)
    u, v = extra.points[0]
    assert extra.point_labels.tolist() == [0] and found[int(v) // 4, int(u) // 4]


def test_a_clip_that_jumps_turns_images_and_targets_alike(small: Path) -> None:
    batch = batches(small, frames=3, free=0)[0]
    torch.manual_seed(0)
    after = jumped(batch, 2)
    assert torch.equal(after.images[:2], batch.images[:2])
    assert torch.equal(after.targets[:2], batch.targets[:2])
    turns = [c for c in range(1, 128) if torch.equal(after.images[2], batch.images[2].roll(c, -1))]
    assert len(turns) == 1 and turns[0] % 16 == 0
    assert torch.equal(after.targets[2], batch.targets[2].roll(turns[0] // 2, -1))


def test_misleading_masks_are_those_of_others_of_the_clip_or_in_another_place() -> None:
    model = random_model(1)
    model.set_input_size(64, 128)
    bank = empty_bank(model, 6)
    masks = torch.full((6, 1, 16, 32), -1.0)
    for i in range(6):
        masks[i, :, i : i + 3, 4 * i : 4 * i + 2] = i + 1.0
    bank = replace(bank, mask_logits=masks, centre=torch.arange(6))
    wrong = torch.tensor([True, True, False] * 2)
    kinds = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found = misled(bank, wrong, clips=2)
        assert torch.equal(found.mask_logits[~wrong], masks[~wrong])
        assert torch.equal(found.centre[~wrong], bank.centre[~wrong])
        for i in wrong.nonzero()[:, 0].tolist():
            whose = int(found.mask_logits[i].max()) - 1
            assert whose // 3 == i // 3, "of another clip"
            assert not torch.equal(found.mask_logits[i], masks[i])
            assert (whose == i) == (int(found.centre[i]) != whose)
            kinds.add(whose == i)
    assert kinds == {True, False}


@pytest.mark.parametrize("option", ["mislead", "jump"])
def test_misled_and_jumping_clips_are_learned_from(small: Path, option: str) -> None:
    torch.manual_seed(0)
    model = random_model(1)
    model.set_input_size(64, 128)
    loss = ClipLoss(model.train(), LossConfig())
    batch = batches(small, frames=3, free=0)[0]
    plain = float(loss(batch, Rollout())[0].detach())
    torch.manual_seed(0)
    total, _, ious = loss(batch, replace(Rollout(), **{option: 1.0}))
    assert torch.isfinite(total) and float(total.detach()) != plain and len(ious) == 3
    total.backward()


def test_the_last_mask_of_an_unseen_object_is_its_own_again(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[MemoryBank] = []

    def watched(bank: MemoryBank, wrong: torch.Tensor, clips: int) -> MemoryBank:
        shown.append(bank)
        return misled(bank, wrong, clips)

    monkeypatch.setattr("panosam2_ros.training.rollout.misled", watched)
    torch.manual_seed(0)
    model = random_model(1)
    model.set_input_size(64, 128)
    batch = batches(small, frames=3, free=0)[0]
    batch.targets[1] = 0  # nothing is in the second frame
    ClipLoss(model.train(), LossConfig())(batch, replace(Rollout(), mislead=1.0))
    first, second = shown
    assert torch.equal(first.mask_logits, second.mask_logits)
    assert torch.equal(first.centre, second.centre)


def test_muon_makes_updates_of_one_size_and_finds_a_least_square() -> None:
    torch.manual_seed(0)
    both = torch.randn(2, 24, 60)
    torch.testing.assert_close(orthogonalised(both)[1], orthogonalised(both[1]))
    values = torch.linalg.svdvals(orthogonalised(torch.randn(24, 60)))
    assert values.min() > 0.5 and values.max() < 1.5
    layer, x = torch.nn.Conv2d(12, 16, 1), torch.randn(64, 12, 1, 1)
    wanted = torch.nn.Conv2d(12, 16, 1)(x).detach()
    muon, rest = build_optimizers(layer, "muon", 0.0)
    assert [p.dim() for g in muon.param_groups for p in g["params"]] == [4]
    for step in range(300):
        loss = (layer(x) - wanted).square().mean()
        if step == 0:
            before = loss.item()
        loss.backward()
        for optimizer in (muon, rest):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - step / 300)
            optimizer.step()
            optimizer.zero_grad()
    assert loss < 0.01 * before
    with pytest.raises(ValueError, match="muon or adamw"):
        build_optimizers(layer, "sgd", 0.0)


def test_weights_of_several_stages_can_be_mixed() -> None:
    last, *others = reconfigured(random_model(1), {"mask_stride": 2}), random_model(2), random_model(3)
    (first, second), kept = (m.state_dict() for m in others), dict(last.state_dict())
    kept = {name: value.clone() for name, value in kept.items()}
    for name, value in mixed(last, list(zip(others, (0.25, 0.3), strict=True))).state_dict().items():
        wanted = kept[name].float()
        if name in first and value.is_floating_point():
            wanted = 0.45 * wanted + 0.25 * first[name] + 0.3 * second[name]
        assert torch.allclose(value.float(), wanted, atol=1e-6), name
    with pytest.raises(ValueError, match=r"add up to 0\.\.1, got \[0\.7, 0\.6\]"):
        mixed(last, list(zip(others, (0.7, 0.6), strict=True)))


def test_pauses_between_sessions_are_no_training_time() -> None:
    assert training_hours([{"time": t} for t in (0.0, 30.0, 4000.0, 4042.0)]) == pytest.approx(72 / 3600)


def test_regions_go_ahead_of_objects_that_move_while_learning() -> None:
    """Without what trackers do wrong they lie on the way from where the object was to where it is."""
    before, now = (TargetExtent(lonlat_to_vector(lon, 0.0), 0.3, 0.3) for lon in (0.0, 0.1))
    region, rng, shares = SearchRegion.around(before), np.random.default_rng(0), []
    for _ in range(50):
        middle = _led(rng, region, before, now).axes[2]
        shares.append(math.atan2(middle[0], middle[2]) / 0.1)
        assert middle[1] == pytest.approx(0, abs=1e-9)
    assert 0.49 < min(shares) < 0.6 and 0.9 < max(shares) < 1.01
