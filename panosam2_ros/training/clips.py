"""Training batches: clips rendered or read in the background, kept for a while, augmented at every use.

What step k of a process learns from follows from the seed, the stage, k, the process and how many workers it
has alone, so that a run that was killed goes on with the clips that it would have had.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from panosam2_ros.datasets.registry import Dataset as VideoDataset
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.geometry.equirect import mask_box
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import SceneConfig, render_clip
from panosam2_ros.synthetic.mesh_assets import with_models
from panosam2_ros.synthetic.npm_assets import library_from_npm
from panosam2_ros.training.augment import augmented
from panosam2_ros.training.curriculum import Stage

HIDDEN_ODDS = 5.0  # how much likelier an object is taken that is absent at times: they are rare
PASSED_OVER = 0.35  # for the same reason, of clips of one object those in which it is always there
MIN_PIXELS = 12  # an object with fewer in the first frame is not prompted
TARGET_STRIDE = 2  # of what masks are compared with
KEPT = 150  # clips that are drawn from
_PREFETCHED = 8
_TRIES = 8  # places in a video, before another is taken

Clip = tuple[ImageArray, ImageArray]  # images [T, H, W, 3], labels [T, H, W], 0 = none


class ClipSource(Protocol):
    """Clips by number; the same number gives the same clip."""

    @property
    def single(self) -> bool: ...  # whether they show one object each

    def clip(self, number: int) -> Clip: ...

    def varied(self, rng: np.random.Generator, images: ImageArray, labels: ImageArray, tilt: float) -> Clip:
        """A cut of a clip as it is learned from; ``tilt``: rad, by which it may be tilted."""
        ...


class PanoramaClips:
    """Clips of whole panoramas may be turned."""

    single = False

    def varied(self, rng: np.random.Generator, images: ImageArray, labels: ImageArray, tilt: float) -> Clip:
        return augmented(rng, images, labels, tilt)


class Material(Protocol):
    """Where a library comes from; picklable and small: processes that are sent much start one by one."""

    def library(self) -> AssetLibrary: ...


@dataclass(frozen=True)
class StoredMaterial:
    """The training split of a folder of npm packages, and a folder of solid models, see training_sources."""

    npm: Path
    models: Path | None

    def library(self) -> AssetLibrary:
        """Read once in a process."""
        return _library(self.npm, self.models)


@cache
def _library(npm: Path, models: Path | None) -> AssetLibrary:
    library = library_from_npm(npm, Split.TRAIN)
    return library if models is None else with_models(library, models)


@dataclass(frozen=True)
class RenderedClips(PanoramaClips):
    """Endless synthetic clips."""

    config: SceneConfig
    material: Material

    def clip(self, number: int) -> Clip:
        return render_clip(self.config, self.material.library(), number)


@dataclass(frozen=True)
class DatasetClips(PanoramaClips):
    """Pieces of ``frames`` frames, every ``every``-th, of a data set's videos, at ``size`` (H, W)."""

    dataset: VideoDataset
    size: tuple[int, int]
    frames: int
    every: int

    def clip(self, number: int) -> Clip:
        """ValueError where no video has so many frames with masks."""
        rng = np.random.default_rng([number, 7])
        span = (self.frames - 1) * self.every + 1
        for index in rng.permutation(len(self.dataset.names)):
            sequence = self.dataset.open(self.dataset.names[index])
            starts = rng.permutation(max(len(sequence) - span + 1, 0))[:_TRIES]
            for start in starts.tolist():
                if (found := self._read(sequence, range(start, start + span, self.every))) is not None:
                    return found
        raise ValueError(
            f"no video of {self.dataset.name} has {span} frames with masks: have shorter clips (frames, "
            "free) or a smaller step (every)"
        )

    def _read(self, sequence: VideoSequence, indices: range) -> Clip | None:
        """None where a frame has no mask: some of 360VOS have none."""
        height, width = self.size
        labels = []
        for t in indices:
            if (truth := sequence.labels(t)) is None:
                return None
            labels.append(resize_labels(truth, width, height))
        images = [
            cv2.resize(sequence.image(t), (width, height), interpolation=cv2.INTER_AREA) for t in indices
        ]
        names = np.union1d([0], np.stack(labels))  # ids of files may have 16 bits, those of clips have 8
        if len(names) > 256:
            raise ValueError(f"{sequence.name} shows {len(names) - 1} objects in one clip, more than 255")
        return np.stack(images).astype(np.uint8), np.searchsorted(names, np.stack(labels)).astype(np.uint8)


@dataclass(frozen=True)
class TrainingBatch:
    """B clips of T frames with O objects each."""

    images: Tensor  # [T, B, 3, H, W] uint8
    targets: Tensor  # [T, B * O, 1, H / 2, W / 2] float, share of the object in each pixel
    prompts: list[Prompt]  # of frame 0, B * O

    @classmethod
    def joined(cls, parts: Sequence[TrainingBatch]) -> TrainingBatch:
        """The clips of all parts, in this order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            torch.cat([part.images for part in parts], 1),
            torch.cat([part.targets for part in parts], 1),
            [prompt for part in parts for prompt in part.prompts],
        )

    def to(self, device: torch.device) -> TrainingBatch:
        """The same on another device."""
        return TrainingBatch(self.images.to(device), self.targets.to(device), self.prompts)


class Batches(Dataset[TrainingBatch]):
    """The batches of a stage, made by ``workers`` processes; ``seed``: of the run, the stage and the process.

    Each makes an equal part, which has clips of its own, so that it can keep them. Without any (0) they are
    made where they are asked for, the same as by one. ValueError where so many cannot make a batch.
    """

    def __init__(self, source: ClipSource, stage: Stage, seed: tuple[int, ...], workers: int = 1) -> None:
        parts = workers or 1
        if parts < 1 or stage.batch % parts:
            raise ValueError(
                f"the batch of {stage.batch} clips of stage {stage.name} cannot be made by {parts} workers: "
                "their number has to divide it"
            )
        self.source, self.stage, self.seed = source, stage, seed
        self.parts, self.workers = parts, workers
        self._size = stage.batch // parts
        self._kept: OrderedDict[int, Clip] = OrderedDict()

    def __getitem__(self, number: int) -> TrainingBatch:
        """Part ``number % parts`` of the batch of step ``number // parts``."""
        step, part = divmod(number, self.parts)
        seed = [*self.seed, part] if part else [*self.seed]
        rng, first = np.random.default_rng([*seed, step]), np.random.SeedSequence(seed).generate_state(1)
        frames = self.stage.free_frames(step) + self.stage.frames
        fresh = int(self._size / self.stage.reuse * step)
        window = np.array([max(0, fresh - KEPT), 2 * self._size + fresh]) + int(first[0])
        items = [self._one(rng, window, frames) for _ in range(self._size)]
        return TrainingBatch(
            torch.stack([item[0] for item in items], 1),
            torch.cat([item[1] for item in items], 1),
            [prompt for item in items for prompt in item[2]],
        )

    def whole(self, step: int) -> TrainingBatch:
        """The batch of a step, made here."""
        return TrainingBatch.joined([self[step * self.parts + part] for part in range(self.parts)])

    def loader(self, start: int) -> Iterator[TrainingBatch]:
        """The batches of the steps from ``start`` on, each part made by a process of its own.

        They are spawned: one forked from a process with threads may wait for ever for what those held.
        """
        if not self.workers:
            yield from map(self.whole, range(start, self.stage.steps))
            return
        loader = DataLoader(
            self, batch_size=None, sampler=range(start * self.parts, self.stage.steps * self.parts),
            num_workers=self.parts, prefetch_factor=_PREFETCHED, worker_init_fn=_modest,
            multiprocessing_context="spawn",
        )  # fmt: skip
        made = iter(loader)  # in turns: a part is always made by the same process
        for _ in range(start, self.stage.steps):
            yield TrainingBatch.joined([next(made) for _ in range(self.parts)])

    def _clip(self, number: int) -> Clip:
        """A clip of this run, rendered unless it is kept."""
        if number not in self._kept:
            self._kept[number] = self.source.clip(number)
            while len(self._kept) > KEPT + 2 * self._size:
                self._kept.popitem(last=False)
        return self._kept[number]

    def _one(
        self, rng: np.random.Generator, window: NDArray[np.int64], frames: int
    ) -> tuple[Tensor, Tensor, list[Prompt]]:
        """Images [T, 3, H, W], targets [T, O, 1, H / 2, W / 2] and prompts of one clip."""
        objects = self.stage.objects
        images, labels, ids = self._cut(rng, window, frames)
        hidden = np.array([not (labels == i).any((1, 2)).all() for i in ids])
        odds = np.where(hidden, HIDDEN_ODDS, 1.0)
        chosen = rng.choice(ids, objects, ids.size < objects, odds / odds.sum())
        masks = labels[:, None] == chosen[None, :, None, None]  # [T, O, H, W]
        prompts = [simulated_prompt(rng, mask, self.stage.kinds) for mask in masks[0]]
        shares = F.avg_pool2d(torch.from_numpy(masks).float(), TARGET_STRIDE)
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), shares[:, :, None], prompts

    def _cut(
        self, rng: np.random.Generator, window: NDArray[np.int64], frames: int
    ) -> tuple[ImageArray, ImageArray, ImageArray]:
        """An augmented cut whose first frame shows at least one object, and those objects' ids."""
        while True:
            images, labels = self._clip(int(rng.integers(*window)))
            start = int(rng.integers(len(images) - frames + 1))
            cut = slice(start, start + frames)
            tilt = math.radians(self.stage.tilt)
            images, labels = self.source.varied(rng, images[cut], labels[cut], tilt)
            ids, counts = np.unique(labels[0][labels[0] > 0], return_counts=True)
            if self.source.single and (labels > 0).any((1, 2)).all() and rng.random() < PASSED_OVER:
                continue
            if (counts >= MIN_PIXELS).any():
                return images, labels, ids[counts >= MIN_PIXELS]


def _modest(worker: int) -> None:
    """Rendering must not slow the training that waits for nothing else."""
    os.nice(5)
    cv2.setNumThreads(1)


def simulated_prompt(
    rng: np.random.Generator, mask: NDArray[np.bool_], kinds: tuple[float, float, float]
) -> Prompt:
    """A box, a click or the mask of an object [H, W], as likely as ``kinds`` says."""
    kind = rng.choice(3, p=kinds)
    if kind == 0:
        return Prompt(box=_loose_box(rng, mask))
    if kind == 1:
        return Prompt(points=click_prompt(rng, mask), point_labels=np.array([1]))
    return Prompt(mask=mask)


def _loose_box(rng: np.random.Generator, mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The mask's box with each side moved by up to 8 % of the box's size."""
    box, (height, width) = mask_box(mask), mask.shape
    assert box is not None
    u_min, v_min, u_max, v_max = box
    span = (u_max - u_min) % width
    du, dv = rng.uniform(-0.08, 0.08, (2, 2)) * [[span], [v_max - v_min]]
    if span > 0.8 * width:
        du[:] = 0  # a box all round has no outside to move to
    wrapped = [(u + d + 0.5) % width - 0.5 for u, d in zip((u_min, u_max), du, strict=True)]
    rows = np.clip([v_min + dv[0], v_max + dv[1]], -0.5, height - 0.501)
    return wrapped[0], float(rows[0]), wrapped[1], float(rows[1])


def click_prompt(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A pixel [1, 2] well inside the object, seen across the seam too."""
    width = mask.shape[1]
    padded = np.pad(np.concatenate([mask, mask, mask], 1), ((1, 1), (0, 0))).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, width : 2 * width]
    v, u = np.nonzero(depth >= rng.uniform(0.3, 1.0) * depth.max())
    pick = rng.integers(len(u))
    return np.array([[float(u[pick]), float(v[pick])]])
