"""Recipes are complete, typos are refused, variants change what they name."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.process import ROOT
from helpers.tiny_training import (
    SMALL,
    TinyMaterial,
    write_recipe,
)
from panosam2_ros.model.checkpoints import OFFICIAL
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.training import clips
from panosam2_ros.training.clip_sources import Sources
from panosam2_ros.training.curriculum import learning_rate, read_config
from panosam2_ros.training.region_clips import RegionClips, SceneVideos

FOLDERS = (ROOT / "config" / "train", ROOT / "experiments" / "config")
CONFIGS = sorted(path for folder in FOLDERS for path in folder.glob("*.yaml"))


def test_the_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] < 0.05 and max(rates) > 0.99 and rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert learning_rate(200, 1000, 1.0, elapsed=0.1) == rates[200]
    assert learning_rate(200, 1000, 1.0, elapsed=0.5) == rates[500]  # by its clock, where that is ahead


def variants(path: Path) -> list[str]:
    """Return the names of the variants of a recipe, and an empty one for the recipe itself."""
    return ["", *yaml.safe_load(path.read_text()).get("variants", {})]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipes_of_official_networks_say_which_views_they_train(path: Path) -> None:
    """Official networks see regions unless told otherwise: panoramas would be trained as regions are."""
    recipe = read_config(path)
    if recipe.start in OFFICIAL:
        assert recipe.model["regions"] == all(all(stage.panorama) for stage in recipe.stages)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipes_are_complete_and_typos_are_refused(path: Path, tmp_path: Path) -> None:
    for stage in (stage for variant in variants(path) for stage in read_config(path, variant=variant).stages):
        assert stage.data or stage.scene_config().width == stage.panoramas[1]
        assert stage.data or stage.scene_config().frames >= stage.max_frames
        if all(stage.panorama) and not stage.data:
            unlike = {
                "models": 0.0,
                "people": 0.0,
                "photos": 0.0,
                "clutter": (0, 0),
                "parted": 0.0,
            }  # material has none
            scenes = replace(stage.scene_config(), **unlike, frames=2)
            RegionClips(SceneVideos(scenes, TinyMaterial()), stage.size[1]).clip(0)
    config = yaml.safe_load(path.read_text())
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**config, "sede": 1}))
    with pytest.raises(ValueError, match="sede"):
        read_config(wrong)
    config["stages"][0]["stpes"] = 1
    del config["stages"][0]["lr"]
    wrong.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"stage .* has unknown options or lacks some: lr, stpes"):
        read_config(wrong)


def test_a_variant_changes_the_stages_that_it_names(small: Path) -> None:
    region = {"size": [64, 64], "panorama": [64, 128], "objects": 1}
    config = yaml.safe_load(small.read_text()) | {"variants": {"near": {"stages": {"tiny": region}}}}
    config["stages"].append({**SMALL, "name": "after"})
    small.write_text(yaml.safe_dump(config))
    changed, after = read_config(small, variant="near").stages
    assert (changed.size, changed.panoramas, changed.objects) == ((64, 64), (64, 128), 1)
    plain = read_config(small).stages
    assert after == plain[1] and replace(changed, size=(64, 128), panorama=(0, 0), objects=2) == plain[0]
    config["variants"]["near"]["stages"]["tnyi"] = region
    small.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"changes stages \['tnyi'\]; there are tiny, after"):
        read_config(small, variant="near")


@pytest.mark.parametrize("wrong", [{"loss": {"weighting": "distortion"}}, {"model": {"refine_steps": 3}}])
def test_search_regions_exclude_weighting_and_refinement(small: Path, wrong: dict[str, Any]) -> None:
    region = {"size": [64, 64], "panorama": [64, 128], "objects": 1}
    with pytest.raises(ValueError, match=r"stage tiny.*search regions.*weighting none and refine_steps 0"):
        read_config(write_recipe(small, region, **wrong))
    write_recipe(small, {**region, "refine": False}, model={"refine_steps": 3})
    assert read_config(small).stages[0].panorama == (64, 128)
    assert read_config(write_recipe(small, **wrong)).stages[0].panorama == (0, 0)
    with pytest.raises(ValueError, match=r"stage tiny in .* has poor: 0\.5, which is for search regions"):
        read_config(write_recipe(small, {"poor": 0.5}))


def test_sprites_are_split_by_name_unless_the_recipe_says_otherwise(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of the recipe reaches the library that its clips are made of."""
    asked: list[str] = []

    def read(root: Path, split: Split, *, sprite_split: str) -> AssetLibrary:
        asked.append(sprite_split)
        return TinyMaterial().library()

    monkeypatch.setattr(clips, "library_from_npm", read)
    for changes in ({}, {"sprite_split": "family"}):
        recipe = read_config(write_recipe(small, **changes))
        Sources(tmp_path, None, recipe.sprite_split).open_clips(recipe.stages[0])
    assert asked == ["name", "family"]
    with pytest.raises(ValueError, match=r"sprite_split in .* is name or family, got 'hash'"):
        read_config(write_recipe(small, sprite_split="hash"))


def test_events_of_clips_are_given_in_degrees_and_stops(small: Path) -> None:
    clip = {
        **SMALL["clip"],
        "jump": 0.2,
        "jump_size": [5, 20],
        "light_change": 0.3,
        "light_stops": [0.5, 1.5],
    }
    scene = read_config(write_recipe(small, {"clip": clip})).stages[0].scene_config()
    assert (scene.jump, scene.light_change, scene.light_stops) == (0.2, 0.3, (0.5, 1.5))
    assert scene.jump_size == pytest.approx((math.radians(5), math.radians(20)))
    hash(scene)
