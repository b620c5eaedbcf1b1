"""Recipes of training: stages in order, read from ``config/train/*.yaml``."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from panosam2_ros.simulation.assets import SPRITE_SPLITS, SpriteSplit
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.training.losses import LossConfig


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum; see ``config/train/nano.yaml``."""

    name: str
    steps: int
    size: tuple[int, int]  # H, W
    batch: int  # clips of a step in each process
    frames: int  # of a clip, that the loss is computed of
    objects: int
    lr: float
    kinds: tuple[float, float, float]  # probabilities of box, click and mask prompts
    free_running_frames: int = 0  # at most so many frames before them are tracked without a loss
    previous_mask_dropout: float = 0.2  # probability that memory alone has to find an object
    correct: float = 0.0  # probability that clicks correct the largest mistakes of one frame
    corrections: int = 1  # at most so many of them follow each other
    mask_swap_prob: float = 0.0  # probability of a previous mask of another object, or in another place
    yaw_jump_prob: float = 0.0  # probability of a random yaw within a clip, as after a long occlusion
    only: tuple[str, ...] = ()  # prefixes of the names of the parameters that are learned; empty: all
    optimizer: str = "muon"  # or adamw; starts anew with every stage
    trunk_rate: float = 1.0  # factor of the trunk's learning rate; below 1 AdamW learns the trunk
    balance: float = 0.4  # of the balanced cross entropy
    near: float = 0.0  # share of the mask's loss of pixels near its outline, however small the object
    freeze_norm: bool = True  # batch norm keeps its running statistics
    refine: bool = True  # with distortion refinement, where the network has it
    tilt: float = 0.0  # degrees by which whole clips are tilted at most
    poor: float = 0.0  # share of the clips of search regions that are degraded
    lost: float = 0.0  # share of the clips of search regions in which the object is looked for elsewhere
    relit: float = 0.0  # share of the clips of search regions in which the light changes
    zoomed: float = 0.0  # share of the clips of search regions that are seen from closer
    zoom: tuple[float, float] = (0.45, 0.8)  # of those, times their field of view
    reuse: float = 2.0  # mean number of uses of a clip
    minutes: float = 0.0  # time limit of the stage; 0: it ends with its steps
    accumulate: int = 1  # steps whose gradients make one update
    data: str = ""  # data set by name and folder, see datasets.registry; empty: synthetic scenes
    every: int = 1  # every n-th frame of a data set
    panorama: tuple[int, int] = (0, 0)  # H, W from which regions of ``size`` are cut; 0: panoramas
    diameter: tuple[float, float] = (8, 65)  # degrees, of synthetic objects
    clip: dict[str, Any] = field(default_factory=dict)  # of synthetic scenes; speeds and jumps in degrees

    @property
    def panoramas(self) -> tuple[int, int]:
        """Size (H, W) of the panoramas of clips."""
        return self.panorama if all(self.panorama) else self.size

    @property
    def max_frames(self) -> int:
        """Number of frames of the longest clips."""
        return self.free_running_frames + self.frames

    def free_running_length(self, step: int) -> int:
        """Draw how many frames a step tracks without a loss; all processes draw the same number."""
        seed = [len(self.name), self.steps, step]
        return int(np.random.default_rng(seed).integers(self.free_running_frames + 1))

    def scene_config(self) -> SceneConfig:
        """Return the settings of the stage's synthetic scenes, in radians."""
        options = dict(self.clip)
        options["object_speed"] = tuple(math.radians(x) for x in options["object_speed"])
        options["camera_speed"] = math.radians(options["camera_speed"])
        if "jump_size" in options:
            options["jump_size"] = tuple(math.radians(x) for x in options["jump_size"])
        for key in ("objects", "hidden_frames", "clutter", "light_stops"):
            if key in options:
                options[key] = tuple(options[key])
        size = (math.radians(self.diameter[0]), math.radians(self.diameter[1]))
        height, width = self.panoramas
        return SceneConfig(height=height, width=width, size=size, **options)


@dataclass(frozen=True)
class Recipe:
    """Recipe of a whole training run."""

    stages: tuple[Stage, ...]
    seed: int = 1
    ema: float = 0.998  # decay of the averaged weights, which are exported
    weight_decay: float = 0.02
    gradient_clip: float = 1.0
    loss: LossConfig = field(default_factory=LossConfig)
    sprite_split: SpriteSplit = "name"  # or family, which SynthPano v2 needs; see split_of_sprite
    start: str = ""  # weights by name or path; empty: random ones
    model: dict[str, Any] = field(default_factory=dict)  # values of ModelConfig to change
    learn: str = "all"  # or adapters: PanoSAM2's parts alone
    lora: int = 0  # rank of low-rank updates in the place of whole matrices; 0: whole matrices
    lora_into: tuple[str, ...] = ("image_encoder.trunk", "memory_attention")  # modules with such layers


def read_config(path: Path, *, variant: str = "") -> Recipe:
    """Read the recipe in a file, or one of its ``variants``.

    A variant changes options of the recipe, and of its stages by name, and names the model. Raise ValueError
    for options that do not exist, are missing or do not go together, and for an unknown variant.
    """
    config = yaml.safe_load(path.read_text())
    variants = config.pop("variants", {})
    if variant:
        if variant not in variants:
            raise ValueError(f"{path} has no variant {variant!r}; it has {', '.join(variants) or 'none'}")
        changes = variants[variant]
        config["stages"] = _with_stage_changes(config["stages"], changes.pop("stages", {}), path)
        for key, value in changes.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        config["model"] = {**config.get("model", {}), "name": variant}
    entries = config.pop("stages")
    stages = tuple(_parse(Stage, entry, f"stage {entry.get('name')}", path) for entry in entries)
    config["loss"] = LossConfig(**config.get("loss", {}))
    recipe = _parse(Recipe, {**config, "stages": stages}, "the recipe", path)
    if recipe.learn not in ("all", "adapters"):
        raise ValueError(f"learn in {path} is all or adapters, got {recipe.learn!r}")
    if recipe.sprite_split not in SPRITE_SPLITS:
        raise ValueError(
            f"sprite_split in {path} is {' or '.join(SPRITE_SPLITS)}, got {recipe.sprite_split!r}"
        )
    _check_regions(recipe, path)
    return recipe


def _check_regions(recipe: Recipe, path: Path) -> None:
    """Raise ValueError where stages of search regions have options of panoramas, or the other way round."""
    for stage in (stage for stage in recipe.stages if not all(stage.panorama)):
        for option in ("poor", "relit", "lost", "zoomed"):
            if share := getattr(stage, option):
                raise ValueError(
                    f"stage {stage.name} in {path} has {option}: {share}, which is for search regions: "
                    f"give it a panorama, or leave out {option}"
                )
    refined = bool(recipe.model.get("refine_steps"))
    for stage in (stage for stage in recipe.stages if all(stage.panorama)):
        if recipe.loss.weighting != "none" or (refined and stage.refine):
            raise ValueError(
                f"stage {stage.name} in {path} learns from search regions, which have no stretched rows: it "
                f"needs the loss's weighting none and refine_steps 0, got {recipe.loss.weighting} and "
                f"{recipe.model.get('refine_steps', 0)}; or leave out its panorama"
            )


def _with_stage_changes(
    stages: list[dict[str, Any]], changes: dict[str, dict[str, Any]], path: Path
) -> list[dict[str, Any]]:
    """Return the stages with a variant's changes; raise ValueError where it names an unknown stage."""
    names = [str(stage.get("name")) for stage in stages]
    if unknown := [name for name in changes if name not in names]:
        raise ValueError(f"a variant in {path} changes stages {unknown}; there are {', '.join(names)}")
    return [{**stage, **changes.get(stage.get("name", ""), {})} for stage in stages]


def scaled_recipe(recipe: Recipe, *, share: float, rate: float) -> Recipe:
    """Return a recipe with ``share`` of every stage's steps and ``rate`` times its learning rates."""
    stages = (replace(s, steps=max(1, round(share * s.steps)), lr=rate * s.lr) for s in recipe.stages)
    return replace(recipe, stages=tuple(stages))


def recipe_on_data(recipe: Recipe, data: str) -> Recipe:
    """Return a recipe all of whose stages learn from the data set ``data``, see ``datasets.registry``."""
    return replace(recipe, stages=tuple(replace(stage, data=data) for stage in recipe.stages))


def _parse(kind: Any, options: dict[str, Any], what: str, path: Path) -> Any:
    """Make a dataclass of options; raise ValueError for unknown and missing ones."""
    known = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if wrong := (set(options) - known) | (needed - set(options)):
        raise ValueError(f"{what} in {path} has unknown options or lacks some: {', '.join(sorted(wrong))}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


def learning_rate(step: int, steps: int, peak: float, *, elapsed: float = 0.0) -> float:
    """Return the rate of a step: a warm-up over 3 % of a stage, then a cosine down to a tenth of the peak.

    ``elapsed``: share of the stage's time that has passed; counts where it is ahead of the steps.
    """
    warm = min(1.0, (step + 1) / max(1, round(0.03 * steps)))
    return peak * warm * (0.55 + 0.45 * math.cos(math.pi * max(step / steps, elapsed)))
