"""Settings of the benchmark: the frozen file, and the plan of every sequence that follows from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panosam2_ros.io.package_files import package_file
from panosam2_ros.simulation.assets import AssetLibrary, Split, SpriteSplit
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.synthetic.npm_assets import VERSIONS, library_from_npm

FROZEN = {version: ("config", f"synthpano_{version}.json") for version in ("v1", "v2")}
SHIPPED = "shipped"  # material of the package, for trials
# Feature that a sequence may be made to have -> the probability of SceneConfig that makes it so.
FEATURES = {
    "crossing_border": "seam",
    "high_latitude": "pole",
    "hidden_and_back": "occlusion",
    "look_alike": "look_alike",
    "large_fov": "large",
    "size_change": "growth",
    "light_change": "light_change",
    "crossed": "crossing",
    "objects_crossing": "meeting",
    "thin": "thin",
    "many_parts": "parted",
    "jump": "jump",
}


@dataclass(frozen=True)
class ObjectRequirements:
    """Visibility and contrast that every tracked object of a sequence must have."""

    shown_in_share_of_frames: float
    shown_fraction: float  # of an object, at least, in a frame that shows it
    contrast: float  # of its texture, grey levels; see Sprite.contrast


@dataclass(frozen=True)
class Plan:
    """Everything that is known of a sequence before its seed is searched."""

    split: Split
    index: int
    features: tuple[str, ...]
    demands: ObjectRequirements
    scene: SceneConfig
    jpeg_quality: int
    seed: tuple[int, ...]
    events: tuple[str, ...]  # attributes of events.py that are measured

    @property
    def name(self) -> str:
        """Name of its folder: a number, counted from 1, as in 360VOS."""
        return f"{self.index + 1:03d}"


@dataclass(frozen=True)
class BenchmarkConfig:
    """Contents of the frozen file."""

    name: str
    material: Mapping[str, str] | str  # versions of the npm packages, or SHIPPED
    seed: int
    sequences: int  # per split
    scene: Mapping[str, Any]  # of SceneConfig; a name that ends in _deg is given in degrees
    shutter: tuple[float, float]  # share of the frame time; drawn per sequence
    jpeg_quality: tuple[int, int]  # drawn per sequence
    every_object: ObjectRequirements
    # Share of the sequences that are made to have each feature; a sequence has at most one of a group.
    features: tuple[Mapping[str, float], ...]
    quotas: Mapping[str, float]  # least share of sequences with a measured attribute; "a|b" is a or b
    sha256: str  # of the file
    sprite_split: SpriteSplit = "name"
    events: tuple[str, ...] = ()  # attributes of events.py that are measured

    @classmethod
    def load(cls, path: Path) -> BenchmarkConfig:
        """Read a frozen file; raise ValueError for unknown features and settings that features control."""
        content = path.read_bytes()
        data = json.loads(content)
        groups = tuple(dict(group) for group in data["features"])
        unknown = {name for group in groups for name in group} - set(FEATURES)
        given = set(data["scene"]) & set(FEATURES.values())
        if unknown or given:
            raise ValueError(
                f"{path}: features must be some of {sorted(FEATURES)}, and scene must not set what they "
                f"control; got unknown features {sorted(unknown)} and settings {sorted(given)}"
            )
        data.update(features=groups, sha256=hashlib.sha256(content).hexdigest())
        data["every_object"] = ObjectRequirements(**data["every_object"])
        for name in ("shutter", "jpeg_quality", "events"):
            data[name] = tuple(data.get(name, ()))
        return cls(**data)

    @classmethod
    def frozen(cls) -> dict[str, BenchmarkConfig]:
        """Read the frozen files of all versions."""
        return {version: cls.load(package_file(*parts)) for version, parts in FROZEN.items()}

    def plan(self, split: Split, index: int) -> Plan:
        """Plan sequence ``index`` of a split, independently of all other sequences."""
        if not 0 <= index < self.sequences:
            raise ValueError(f"{self.name} has sequences 0..{self.sequences - 1} in a split, got {index}")
        seed = (self.seed, list(Split).index(split), index)
        rng = np.random.default_rng((*seed, 0))
        shutter = round(float(rng.uniform(*self.shutter)), 3)
        quality = int(rng.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
        features = self._features(split, index)
        return Plan(
            split=split,
            index=index,
            features=features,
            demands=self.every_object,
            scene=self._scene(features, shutter),
            jpeg_quality=quality,
            seed=(*seed, 1),
            events=self.events,
        )

    def _features(self, split: Split, index: int) -> tuple[str, ...]:
        """Choose features by the place in one shuffled order per group, so that shares hold exactly."""
        found = []
        for number, group in enumerate(self.features):
            key = (self.seed, list(Split).index(split), self.sequences, number)
            place = int(np.random.default_rng(key).permutation(self.sequences)[index])
            end = 0
            for name, share in group.items():
                start, end = end, end + math.ceil(share * self.sequences - 1e-9)
                if start <= place < end:
                    found.append(name)
        return tuple(found)

    def _scene(self, features: tuple[str, ...], shutter: float) -> SceneConfig:
        """Return the scene's settings, with angles in radians and the probabilities of features 0 or 1."""
        options: dict[str, Any] = {}
        for name, value in self.scene.items():
            value = tuple(value) if isinstance(value, list) else value
            if name.endswith("_deg"):
                radians = np.radians(value)
                value = tuple(radians.tolist()) if isinstance(value, tuple) else float(radians)
            options[name.removesuffix("_deg")] = value
        for name, field in FEATURES.items():
            options[field] = float(name in features)
        return SceneConfig(**options, motion_blur=shutter)

    def library(self, split: Split, sources: Path, *, reserved: bool) -> AssetLibrary:
        """Read the material of a split; ``sources`` holds the unpacked npm packages."""
        if self.material == SHIPPED:
            return AssetLibrary.shipped(split, reserved=reserved, sprite_split=self.sprite_split)
        if self.material != VERSIONS:
            raise ValueError(f"{self.name} needs the material {self.material}; only {VERSIONS} is supported")
        return library_from_npm(sources, split, reserved=reserved, sprite_split=self.sprite_split)
