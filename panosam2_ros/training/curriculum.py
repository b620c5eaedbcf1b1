"""What is learned in which order: ``config/train/*.yaml``."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.training.losses import LossConfig


@dataclass(frozen=True)
class Stage:
    """One part of the curriculum; see ``config/train/nano.yaml``."""

    name: str
    steps: int
    size: tuple[int, int]  # H, W
    batch: int  # clips of a step, of each process
    frames: int  # that are learned from
    objects: int
    lr: float
    kinds: tuple[float, float, float]  # how likely box, click and mask prompts are
    free: int = 0  # at most as many before them are tracked without learning: its own mistakes to live with
    hide: float = 0.2  # how often the previous mask is withheld, so that memory must carry identity
    correct: float = 0.0  # how often a click corrects the worst mistakes of one later frame
    mislead: float = 0.0  # how often the last mask that is shown is another object's, or in another place
    jump: float = 0.0  # how often a clip goes on turned by a random angle, as after a long occlusion
    only: tuple[str, ...] = ()  # what the names of the parameters that it learns begin with; empty: all
    optimizer: str = "muon"  # or adamw; starts anew with every stage
    balance: float = 0.4  # of the balanced cross entropy
    near: float = 0.0  # share of the mask's loss that pixels near its outline have, however small it is
    freeze_norm: bool = True  # batch norm keeps its running statistics
    refine: bool = True  # with distortion refinement, where the network has it
    tilt: float = 0.0  # degrees, by which whole clips are tilted, at most
    poor: float = 0.0  # share of the clips of search regions that a poorer camera sees
    reuse: float = 2.0  # times that a clip is used, on average
    minutes: float = 0.0  # after which it ends, however many steps that were; 0: after its steps
    accumulate: int = 1  # steps whose gradients make one update
    data: str = ""  # of evaluation.datasets, with its folder; empty: synthetic scenes
    every: int = 1  # every n-th frame of a data set
    panorama: tuple[int, int] = (0, 0)  # H, W from which search regions of ``size`` are cut; 0: panoramas
    diameter: tuple[float, float] = (8, 65)  # degrees, of synthetic objects
    clip: dict[str, Any] = field(default_factory=dict)  # of synthetic scenes

    @property
    def panoramas(self) -> tuple[int, int]:
        """H, W of the panoramas that clips are made of."""
        return self.panorama if all(self.panorama) else self.size

    @property
    def longest(self) -> int:
        """Frames of its longest clip."""
        return self.free + self.frames

    def free_frames(self, step: int) -> int:
        """Frames that a step tracks without learning; the same in every process, so that none waits."""
        seed = [len(self.name), self.steps, step]
        return int(np.random.default_rng(seed).integers(self.free + 1))

    def scenes(self) -> SceneConfig:
        """What the stage's clips are like."""
        options = dict(self.clip)
        options["object_speed"] = tuple(math.radians(x) for x in options["object_speed"])
        options["camera_speed"] = math.radians(options["camera_speed"])
        for key in ("objects", "hidden_frames", "clutter"):
            if key in options:
                options[key] = tuple(options[key])
        size = (math.radians(self.diameter[0]), math.radians(self.diameter[1]))
        height, width = self.panoramas
        return SceneConfig(height=height, width=width, size=size, **options)


@dataclass(frozen=True)
class Recipe:
    """A whole training run."""

    stages: tuple[Stage, ...]
    seed: int = 1
    ema: float = 0.998  # decay of the averaged weights that are shipped
    weight_decay: float = 0.02
    gradient_clip: float = 1.0
    loss: LossConfig = field(default_factory=LossConfig)
    start: str = ""  # weights by name or path; empty: random ones
    model: dict[str, Any] = field(default_factory=dict)  # values of ModelConfig to change
    learn: str = "all"  # what is learned: all, or adapters: PanoSAM2's parts alone
    lora: int = 0  # rank of low-rank changes in the place of whole matrices; 0: whole ones
    lora_into: tuple[str, ...] = ("image_encoder.trunk", "memory_attention")  # whose linear layers


def read_config(path: Path, variant: str = "") -> Recipe:
    """The recipe in a file, or one of its ``variants``, which change the recipe's options, and its stages' by
    name, and name the model.

    Raises ValueError for options that do not exist, are missing or do not go together, and for an unknown
    variant.
    """
    config = yaml.safe_load(path.read_text())
    variants = config.pop("variants", {})
    if variant:
        if variant not in variants:
            raise ValueError(f"{path} has no variant {variant!r}; it has {', '.join(variants) or 'none'}")
        changes = variants[variant]
        config["stages"] = _changed(config["stages"], changes.pop("stages", {}), path)
        for key, value in changes.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        config["model"] = {**config.get("model", {}), "name": variant}
    entries = config.pop("stages")
    stages = tuple(_filled(Stage, entry, f"stage {entry.get('name')}", path) for entry in entries)
    config["loss"] = LossConfig(**config.get("loss", {}))
    recipe = _filled(Recipe, {**config, "stages": stages}, "the recipe", path)
    if recipe.learn not in ("all", "adapters"):
        raise ValueError(f"learn in {path} is all or adapters, got {recipe.learn!r}")
    _check_regions(recipe, path)
    return recipe


def _check_regions(recipe: Recipe, path: Path) -> None:
    """ValueError where regions would be weighted or refined by rows, or panoramas treated as regions."""
    for stage in (stage for stage in recipe.stages if stage.poor and not all(stage.panorama)):
        raise ValueError(
            f"stage {stage.name} in {path} has poor: {stage.poor}, which is for search regions: give it a "
            "panorama, or leave out poor"
        )
    refined = bool(recipe.model.get("refine_steps"))
    for stage in (stage for stage in recipe.stages if all(stage.panorama)):
        if recipe.loss.weighting != "none" or (refined and stage.refine):
            raise ValueError(
                f"stage {stage.name} in {path} learns from search regions, which have no stretched rows: it "
                f"needs the loss's weighting none and refine_steps 0, got {recipe.loss.weighting} and "
                f"{recipe.model.get('refine_steps', 0)}; or leave out its panorama"
            )


def _changed(
    stages: list[dict[str, Any]], changes: dict[str, dict[str, Any]], path: Path
) -> list[dict[str, Any]]:
    """Stages with what a variant changes in those that it names."""
    names = [str(stage.get("name")) for stage in stages]
    if unknown := [name for name in changes if name not in names]:
        raise ValueError(f"a variant in {path} changes stages {unknown}; there are {', '.join(names)}")
    return [{**stage, **changes.get(stage.get("name", ""), {})} for stage in stages]


def trial(recipe: Recipe, share: float, rate: float) -> Recipe:
    """A recipe with ``share`` of every stage's steps and ``rate`` times its learning rates, for a search."""
    stages = (replace(s, steps=max(1, round(share * s.steps)), lr=rate * s.lr) for s in recipe.stages)
    return replace(recipe, stages=tuple(stages))


def _filled(kind: Any, options: dict[str, Any], what: str, path: Path) -> Any:
    known = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if wrong := (set(options) - known) | (needed - set(options)):
        raise ValueError(f"{what} in {path}: unknown or missing {wrong}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


def learning_rate(step: int, steps: int, peak: float, over: float = 0.0) -> float:
    """Warm-up over 3 % of a stage, then a cosine down to a tenth; ``over``: share of its time that is."""
    warm = min(1.0, (step + 1) / max(1, round(0.03 * steps)))
    return peak * warm * (0.55 + 0.45 * math.cos(math.pi * max(step / steps, over)))
