"""Recipes, material and clips that are small enough for training in tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.training.batches import Batches
from panosam2_ros.training.clip_sources import Sources
from panosam2_ros.training.clips import Material, RenderedClips
from panosam2_ros.training.curriculum import read_config
from panosam2_ros.training.region_clips import RegionClips

SMALL = {
    "name": "tiny", "steps": 4, "size": [64, 128], "batch": 1, "frames": 2, "free_running_frames": 2,
    "objects": 2, "lr": 1e-3, "kinds": [0.4, 0.3, 0.3], "diameter": [40, 90], "correct": 1.0, "tilt": 60.0,
    "clip": {"frames": 5, "objects": [2, 2], "object_speed": [0, 5], "camera_speed": 3, "occlusion": 0.0},
}  # fmt: skip
REGIONS = {
    "size": [64, 64], "panorama": [128, 256], "objects": 1, "free_running_frames": 1, "frames": 3,
    "diameter": [20, 40], "tilt": 0.0,
}  # fmt: skip


def write_recipe(path: Path, stage: dict[str, Any] | None = None, **options: Any) -> Path:
    """Write a recipe of a few tiny steps."""
    recipe = {"seed": 1, "ema": 0.9, **options, "stages": [{**SMALL, **(stage or {})}]}
    path.write_text(yaml.safe_dump(recipe))
    return path


def tiny_library() -> AssetLibrary:
    """Return one panorama and two sprites that need no file."""
    rng = np.random.default_rng(0)
    panorama = cv2.resize(rng.integers(0, 255, (8, 16, 3), np.uint8), (256, 128))
    sprites = {}
    for name, colour in (("disc", (250, 40, 30)), ("ring", (30, 60, 250))):
        sprite = np.zeros((64, 64, 4), np.uint8)
        cv2.circle(sprite, (32, 32), 28, (*colour, 255), -1 if name == "disc" else 12)
        sprites[name] = sprite
    return AssetLibrary({"noise": panorama}, sprites)


class TinyMaterial:
    """Material that needs no file; workers import it from here."""

    def library(self) -> AssetLibrary:
        return tiny_library()


class TinySources(Sources):
    """Sources of tiny material."""

    def material(self) -> Material:
        return TinyMaterial()


def sources(tmp_path: Path) -> Sources:
    """Return the sources of tiny material."""
    return TinySources(tmp_path, None)


def make_batches(small: Path, *, workers: int = 1, **changes: Any) -> Batches:
    """Return the batches of a recipe's first stage with changes."""
    stage = replace(read_config(small).stages[0], **changes)
    return Batches(RenderedClips(stage.scene_config(), TinyMaterial()), stage, (3, 0, 0), workers=workers)


def region_clips(small: Path, **changes: Any) -> RegionClips:
    """Return clips of search regions of a recipe's first stage with changes."""
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in REGIONS.items()}
    source = sources(small.parent).open_clips(replace(read_config(small).stages[0], **values, **changes))
    assert isinstance(source, RegionClips)
    return source
