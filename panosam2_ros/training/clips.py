"""Training clips: rendered in the background, kept for a while, augmented at every use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from panosam2_ros.data.sources import SourceLibrary
from panosam2_ros.data.synthetic import SceneConfig, clip
from panosam2_ros.equirect import mask_box
from panosam2_ros.prompts import LOW_RES_STRIDE, Prompt

HIDDEN_ODDS = 5.0  # how much likelier an object is taken that is absent at times: they are rare
MIN_PIXELS = 12  # an object with fewer in the first frame is not prompted


@dataclass(frozen=True)
class TrainingBatch:
    """B clips of T frames with O objects each."""

    images: Tensor  # [T, B, 3, H, W] uint8
    targets: Tensor  # [T, B * O, 1, H / 4, W / 4] float, share of the object in each pixel
    prompts: list[Prompt]  # of frame 0, B * O


class RenderedClips(IterableDataset[tuple[NDArray[np.uint8], NDArray[np.uint8]]]):
    """Endless synthetic clips; clip k of a worker is the same in every run with this seed."""

    def __init__(self, config: SceneConfig, library: SourceLibrary, seed: int) -> None:
        self.config, self.library, self.seed = config, library, seed

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        os.nice(5)  # rendering must not slow the training that waits for nothing else
        cv2.setNumThreads(1)
        seed = self.seed
        while True:
            yield clip(self.config, self.library, seed)
            seed += 1


class ClipPool:
    """The newest ``size`` rendered clips, from which batches are drawn with augmentation."""

    def __init__(self, clips: RenderedClips, grid: tuple[int, int], size: int, fresh: int, seed: int) -> None:
        self.height, self.width = grid
        self.fresh = fresh
        self.rng = np.random.default_rng(seed)
        self.pool: deque[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = deque(maxlen=size)
        self.source = iter(DataLoader(clips, batch_size=None, num_workers=1, prefetch_factor=8))

    def draw(self, batch: int, frames: int, objects: int, kinds: tuple[float, float, float]) -> TrainingBatch:
        """``kinds``: how likely box, click and mask prompts are."""
        for _ in range(self.fresh if len(self.pool) >= 2 * batch else 2 * batch):
            images, labels = next(self.source)
            self.pool.append((np.asarray(images), np.asarray(labels)))
        items = [self._one(frames, objects, kinds) for _ in range(batch)]
        return TrainingBatch(
            torch.stack([item[0] for item in items], 1),
            torch.cat([item[1] for item in items], 1),
            [prompt for item in items for prompt in item[2]],
        )

    def _one(
        self, frames: int, objects: int, kinds: tuple[float, float, float]
    ) -> tuple[Tensor, Tensor, list[Prompt]]:
        """Images [T, 3, H, W], targets [T, O, 1, H / 4, W / 4] and prompts of one clip."""
        images, labels, ids = self._cut(frames)
        hidden = np.array([not (labels == i).any((1, 2)).all() for i in ids])
        odds = np.where(hidden, HIDDEN_ODDS, 1.0)
        chosen = self.rng.choice(ids, objects, ids.size < objects, odds / odds.sum())
        masks = labels[:, None] == chosen[None, :, None, None]  # [T, O, H, W]
        prompts = [self._prompt(mask, kinds) for mask in masks[0]]
        shares = F.avg_pool2d(torch.from_numpy(masks).float(), LOW_RES_STRIDE)
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), shares[:, :, None], prompts

    def _cut(self, frames: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """An augmented cut whose first frame shows at least one object, and those objects' ids."""
        while True:
            images, labels = self._augmented(*self.pool[int(self.rng.integers(len(self.pool)))], frames)
            ids, counts = np.unique(labels[0][labels[0] > 0], return_counts=True)
            if (counts >= MIN_PIXELS).any():
                return images, labels, ids[counts >= MIN_PIXELS]

    def _augmented(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], frames: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A random cut in time, yaw roll, mirror, direction of time, and colour."""
        start = int(self.rng.integers(len(images) - frames + 1))
        images, labels = images[start : start + frames], labels[start : start + frames]
        shift = int(self.rng.integers(self.width))
        images, labels = np.roll(images, shift, 2), np.roll(labels, shift, 2)
        if self.rng.random() < 0.5:
            images, labels = images[:, :, ::-1], labels[:, :, ::-1]
        if self.rng.random() < 0.5:
            images, labels = images[::-1], labels[::-1]
        gain = self.rng.uniform(0.75, 1.3, 3) * self.rng.uniform(0.8, 1.2)
        offset = self.rng.uniform(-15, 15)
        table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
        images = np.stack([table[:, c][images[..., c]] for c in range(3)], -1)
        return images, labels

    def _prompt(self, mask: NDArray[np.bool_], kinds: tuple[float, float, float]) -> Prompt:
        """A box, a click or the mask of an object in frame 0."""
        kind = self.rng.choice(3, p=kinds)
        if kind == 0:
            return Prompt(box=self._loose_box(mask))
        if kind == 1:
            return Prompt(points=self._click(mask), point_labels=np.array([1]))
        return Prompt(mask=mask)

    def _loose_box(self, mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
        """The mask's box with each side moved by up to 8 % of the box's size."""
        box = mask_box(mask)
        assert box is not None
        u_min, v_min, u_max, v_max = box
        span = (u_max - u_min) % self.width
        du, dv = self.rng.uniform(-0.08, 0.08, (2, 2)) * [[span], [v_max - v_min]]
        if span > 0.8 * self.width:
            du[:] = 0  # a box all round has no outside to move to
        wrapped = [(u + d + 0.5) % self.width - 0.5 for u, d in zip((u_min, u_max), du, strict=True)]
        rows = np.clip([v_min + dv[0], v_max + dv[1]], -0.5, self.height - 0.501)
        return wrapped[0], float(rows[0]), wrapped[1], float(rows[1])

    def _click(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """A pixel [1, 2] well inside the object, seen across the seam too."""
        padded = np.pad(np.concatenate([mask, mask, mask], 1), ((1, 1), (0, 0))).astype(np.uint8)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, self.width : 2 * self.width]
        v, u = np.nonzero(depth >= self.rng.uniform(0.3, 1.0) * depth.max())
        pick = self.rng.integers(len(u))
        return np.array([[float(u[pick]), float(v[pick])]])
