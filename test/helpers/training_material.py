"""A library of two sprites and a panorama, that workers of other processes can import."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.training.clip_sources import Sources
from panosam2_ros.training.clips import Material


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


class TinyMaterial:
    """What needs no file, in every process."""

    def library(self) -> AssetLibrary:
        return library()


class TinySources(Sources):
    def material(self) -> Material:
        return TinyMaterial()


def sources(tmp_path: Path) -> Sources:
    return TinySources(tmp_path, None)
