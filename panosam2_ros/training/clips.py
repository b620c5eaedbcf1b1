"""Clips by number, rendered or read from a data set, and the material of synthetic ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from panosam2_ros.datasets.registry import Dataset as VideoDataset
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.simulation.assets import AssetLibrary, Split, SpriteSplit
from panosam2_ros.simulation.scene import render_clip
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.synthetic.mesh_assets import with_models
from panosam2_ros.synthetic.npm_assets import library_from_npm
from panosam2_ros.training.augment import augment_clip

MIN_PIXELS = 12  # of an object in the first frame, at least, to be prompted
_TRIES = 8  # starts in a video, before another video is taken

Clip = tuple[ImageArray, ImageArray]  # images [T, H, W, 3], labels [T, H, W], 0 = none


class ClipSource(Protocol):
    """A source of clips by number; the same number gives the same clip."""

    @property
    def single_object(self) -> bool:
        """Whether each clip shows one object only."""
        ...

    def clip(self, number: int) -> Clip:
        """Return the clip of a number."""
        ...

    def augment(self, rng: np.random.Generator, images: ImageArray, labels: ImageArray, tilt: float) -> Clip:
        """Augment a cut of a clip; ``tilt``: rad, by which it may be tilted at most."""
        ...


class PanoramaClips:
    """Base of sources of whole panoramas, which may be rotated."""

    single_object = False

    def augment(self, rng: np.random.Generator, images: ImageArray, labels: ImageArray, tilt: float) -> Clip:
        """Augment a cut of a clip, as ``augment_clip`` does."""
        return augment_clip(rng, images, labels, tilt=tilt)


class Material(Protocol):
    """A source of an asset library, small when pickled: workers that are sent much start one by one."""

    def library(self) -> AssetLibrary:
        """Return the library."""
        ...


@dataclass(frozen=True)
class StoredMaterial:
    """The training split of a folder of npm packages, and strips of ``synthetic.mesh_assets``."""

    npm: Path
    models: Path | None
    sprite_split: SpriteSplit = "name"

    def library(self) -> AssetLibrary:
        """Read the library once per process."""
        return _library(self.npm, self.models, self.sprite_split)


@cache
def _library(npm: Path, models: Path | None, sprite_split: SpriteSplit) -> AssetLibrary:
    """Read a library."""
    library = library_from_npm(npm, Split.TRAIN, sprite_split=sprite_split)
    return library if models is None else with_models(library, models)


@dataclass(frozen=True)
class RenderedClips(PanoramaClips):
    """Synthetic clips, one for every number."""

    config: SceneConfig
    material: Material

    def clip(self, number: int) -> Clip:
        """Render the scene whose seed is the number."""
        return render_clip(self.config, self.material.library(), number)


@dataclass(frozen=True)
class DatasetClips(PanoramaClips):
    """Cuts of a data set's videos: ``frames`` frames, every ``every``-th, at ``size`` (H, W)."""

    dataset: VideoDataset
    size: tuple[int, int]
    frames: int
    every: int

    def clip(self, number: int) -> Clip:
        """Read a cut that the number chooses; raise ValueError where no video has such a cut with masks."""
        rng = np.random.default_rng([number, 7])
        span = (self.frames - 1) * self.every + 1
        for index in rng.permutation(len(self.dataset.names)):
            sequence = self.dataset.open(self.dataset.names[index])
            starts = rng.permutation(max(len(sequence) - span + 1, 0))[:_TRIES]
            for start in starts.tolist():
                if (found := self._read(sequence, range(start, start + span, self.every))) is not None:
                    return found
        raise ValueError(
            f"no video of {self.dataset.name} has {span} frames with masks: choose shorter clips (frames, "
            "free_running_frames) or a smaller step (every)"
        )

    def _read(self, sequence: VideoSequence, indices: range) -> Clip | None:
        """Read the frames of a cut; None where one has no mask, as some of 360VOS."""
        height, width = self.size
        labels = []
        for t in indices:
            if (ground_truth := sequence.labels(t)) is None:
                return None
            labels.append(resize_labels(ground_truth, width, height))
        images = [
            cv2.resize(sequence.image(t), (width, height), interpolation=cv2.INTER_AREA) for t in indices
        ]
        ids = np.union1d([0], np.stack(labels))  # ids of files may have 16 bits, those of clips have 8
        if len(ids) > 256:
            raise ValueError(f"{sequence.name} shows {len(ids) - 1} objects in one clip, more than 255")
        return np.stack(images).astype(np.uint8), np.searchsorted(ids, np.stack(labels)).astype(np.uint8)
