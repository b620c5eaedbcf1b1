"""What is learned in which order: the stages of ``config/train/*.yaml``."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from panosam2_ros.data.scene_config import SceneConfig


@dataclass(frozen=True)
class Stage:
    """One part of the curriculum; see ``config/train/nano.yaml``."""

    name: str
    steps: int
    size: tuple[int, int]  # H, W
    batch: int
    frames: int  # that are learned from
    free: int  # at most as many before them are tracked without learning: its own mistakes to live with
    hide: float  # how often the previous mask is withheld, so that memory must carry identity
    objects: int
    lr: float
    balance: float
    freeze_norm: bool
    kinds: tuple[float, float, float]
    diameter: tuple[float, float]  # degrees
    clip: dict[str, Any]

    def scenes(self) -> SceneConfig:
        """What the stage's clips are like."""
        options = dict(self.clip)
        options["object_speed"] = tuple(math.radians(x) for x in options["object_speed"])
        options["camera_speed"] = math.radians(options["camera_speed"])
        for key in ("objects", "hidden_frames"):
            if key in options:
                options[key] = tuple(options[key])
        size = (math.radians(self.diameter[0]), math.radians(self.diameter[1]))
        return SceneConfig(height=self.size[0], width=self.size[1], size=size, **options)


def read_config(path: Path) -> tuple[dict[str, Any], list[Stage]]:
    """The file's general options and its stages; ValueError for options that do not exist."""
    config = yaml.safe_load(path.read_text())
    known = {field.name for field in fields(Stage)}
    stages = []
    for options in config.pop("stages"):
        if set(options) != known:
            raise ValueError(
                f"stage {options.get('name')} in {path}: unknown or missing {set(options) ^ known}"
            )
        pairs: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        stages.append(Stage(**pairs))
    return config, stages


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up over 3 % of a stage, then a cosine down to a tenth."""
    warm = min(1.0, (step + 1) / max(1, round(0.03 * steps)))
    return peak * warm * (0.55 + 0.45 * math.cos(math.pi * step / steps))
