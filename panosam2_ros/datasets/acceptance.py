"""The frozen acceptance scenes: 12 synthetic videos of material that was never used in training.

Every setting that determines the scenes is spelled out here, so that a changed default of the generator
does not change them; the SHA-256 of the settings is part of every result.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from panosam2_ros.datasets.sequence import SceneSequence
from panosam2_ros.geometry.image_types import LabelImage
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.scene import Scene, SceneFrame
from panosam2_ros.simulation.scene_config import SceneConfig

FIRST_SEED = 7901  # of the first scene; the following scenes have the following seeds
SEQUENCES = 12
LATE_FRAMES = range(50, 60)  # frames, 0-based, whose mean J_sphere is the criterion
WANTED, WANTED_ABOVE_KEEP_FIRST = 0.35, 0.15  # required mean, and its margin above the floor keep-first

SCENE: Mapping[str, Any] = {
    "width": 960,
    "height": 480,
    "frames": 60,
    "rate": 10.0,
    "objects": (2, 4),
    "size": (math.radians(12), math.radians(60)),
    "hold_sizes": False,
    "object_speed": (0.0, 0.06),
    "speed_skew": 1.0,
    "turn": 0.8,
    "camera_speed": 0.05,
    "full_rotation": 0.7,
    "camera_tilt": math.pi / 3,
    "distractors": (0, 3),
    "occlusion": 0.3,
    "hidden_frames": (10, 30),
    "seam": 0.4,
    "pole": 0.25,
    "look_alike": 0.3,
    "look_alike_near": 0.0,
    "size_change": 1.5,
    "growth": 0.0,
    "large": 0.0,
    "texture_shapes": 0.25,
    "recolour": 0.3,
    "exposure": 0.7,
    "exposure_drift": 0.2,
    "noise": 2.0,
    "motion_blur": 0.0,
    "blur_samples": 5,
    "stitching": 0.0,
    "lens_step": 0.0,
}
# Fields that SceneConfig got after these scenes were frozen, at values that do not change the scenes.
LATER_FIELDS: Mapping[str, Any] = {
    **dict.fromkeys(("models", "people", "photos", "sway"), 0.0),
    **dict.fromkeys(("thin", "parts", "parted", "crossing", "meeting", "jump", "light_change"), 0.0),
    **dict.fromkeys(("clutter", "jump_size", "light_stops"), (0, 0)),
}


def config_text(library: AssetLibrary) -> str:
    """Return the settings that determine the scenes as canonical JSON."""
    config = {
        "benchmark": "acceptance",
        "scene": {k: _rounded(v) for k, v in SCENE.items()},
        "seed": FIRST_SEED,
        "sequences": SEQUENCES,
        "panoramas": sorted(library.panoramas),
        "sprites": sorted(library.sprites),
    }
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def config_sha256(library: AssetLibrary) -> str:
    """Return the SHA-256 of ``config_text`` as hexadecimal digits."""
    return hashlib.sha256(config_text(library).encode()).hexdigest()


def names() -> tuple[str, ...]:
    """Return the names of the sequences, in order."""
    return tuple(f"acceptance-{k:02d}" for k in range(SEQUENCES))


class AcceptanceSequence(SceneSequence):
    """A scene with its whole ground truth; its objects are those that frame 0 shows."""

    def directions(self, index: int) -> Mapping[int, Floats]:
        """Return the true directions [3] of all objects in optical axes, by id."""
        return {item.obj_id: item.direction for item in self._frame(index).objects}

    def distractors(self, index: int) -> LabelImage | None:
        """Return ids of the objects that untracked things look like, [H, W], 0 = none."""
        found = self._frame(index).look_alikes
        return None if found is None else np.asarray(found, np.uint16)

    def _frame(self, index: int) -> SceneFrame:
        return cast(SceneFrame, self._render(index))


def open_sequence(name: str, library: AssetLibrary) -> AcceptanceSequence:
    """Open the scene of a name."""
    return AcceptanceSequence(
        name, Scene(SceneConfig(**SCENE, **LATER_FIELDS), library, FIRST_SEED + names().index(name))
    )


def _rounded(value: Any) -> Any:
    """Round floats to 9 significant digits, so that every machine writes the same text."""
    if isinstance(value, tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
