"""Training batches: clips made by worker processes, cached for a while, augmented at every use.

The batch of step k of a process depends only on the seed, the stage, k, the process and the number of its
workers, so that a run that was killed goes on with the clips that it would have had.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.synthetic.worker_process import end_with_parent
from panosam2_ros.training.clips import MIN_PIXELS, Clip, ClipSource
from panosam2_ros.training.curriculum import Stage
from panosam2_ros.training.prompt_sampling import sample_prompt

HIDDEN_ODDS = (
    5.0  # how much likelier an object is chosen that is hidden in some frames: such objects are rare
)
SKIPPED_SHARE = 0.35  # of the clips of single objects that are never hidden, for the same reason
TARGET_STRIDE = 2  # image pixels per pixel of the targets
CACHED_CLIPS = 150  # clips that a batch is drawn from
_PREFETCHED = 8


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """B clips of T frames with O objects each."""

    images: Tensor  # [T, B, 3, H, W] uint8
    targets: Tensor  # [T, B * O, 1, H / 2, W / 2] float, share of the object in each pixel
    prompts: list[Prompt]  # of frame 0, B * O

    @classmethod
    def concatenate(cls, parts: Sequence[TrainingBatch]) -> TrainingBatch:
        """Join the clips of all parts, in this order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            torch.cat([part.images for part in parts], 1),
            torch.cat([part.targets for part in parts], 1),
            [prompt for part in parts for prompt in part.prompts],
        )

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the same batch on another device."""
        return TrainingBatch(self.images.to(device), self.targets.to(device), self.prompts)


class Batches(Dataset[TrainingBatch]):
    """The batches of a stage, in equal parts that ``workers`` processes make.

    Each worker caches the clips of its own parts. With 0 workers the calling process makes the batches, the
    same as one worker would.
    """

    def __init__(self, source: ClipSource, stage: Stage, seed: tuple[int, ...], *, workers: int = 1) -> None:
        """Take the seed of run, stage and process; raise ValueError where workers do not divide the batch."""
        parts = workers or 1
        if parts < 1 or stage.batch % parts:
            raise ValueError(
                f"the batch of {stage.batch} clips of stage {stage.name} cannot be made by {parts} workers: "
                "their number has to divide it"
            )
        self.source, self.stage, self.seed = source, stage, seed
        self.parts, self.workers = parts, workers
        self._size = stage.batch // parts
        self._cache: OrderedDict[int, Clip] = OrderedDict()

    def __getitem__(self, number: int) -> TrainingBatch:
        """Make part ``number % parts`` of the batch of step ``number // parts``."""
        step, part = divmod(number, self.parts)
        seed = [*self.seed, part] if part else [*self.seed]
        rng, first = np.random.default_rng([*seed, step]), np.random.SeedSequence(seed).generate_state(1)
        frames = self.stage.free_running_length(step) + self.stage.frames
        fresh = int(self._size / self.stage.reuse * step)
        window = np.array([max(0, fresh - CACHED_CLIPS), 2 * self._size + fresh]) + int(first[0])
        samples = [self._sample(rng, window, frames) for _ in range(self._size)]
        return TrainingBatch(
            torch.stack([sample[0] for sample in samples], 1),
            torch.cat([sample[1] for sample in samples], 1),
            [prompt for sample in samples for prompt in sample[2]],
        )

    def full_batch(self, step: int) -> TrainingBatch:
        """Make the whole batch of a step in the calling process."""
        return TrainingBatch.concatenate([self[step * self.parts + part] for part in range(self.parts)])

    def loader(self, start: int) -> Iterator[TrainingBatch]:
        """Yield the batches of the steps from ``start`` on, made by the workers.

        Workers are spawned: a process that is forked while threads hold locks may wait for these for ever.
        """
        if not self.workers:
            yield from map(self.full_batch, range(start, self.stage.steps))
            return
        loader = DataLoader(
            self, batch_size=None, sampler=range(start * self.parts, self.stage.steps * self.parts),
            num_workers=self.parts, prefetch_factor=_PREFETCHED, worker_init_fn=_set_up_worker,
            multiprocessing_context="spawn",
        )  # fmt: skip
        made = iter(loader)  # round-robin: a part is always made by the same worker
        for _ in range(start, self.stage.steps):
            yield TrainingBatch.concatenate([next(made) for _ in range(self.parts)])

    def _clip(self, number: int) -> Clip:
        """Return a clip of this run, made unless it is cached."""
        if number not in self._cache:
            self._cache[number] = self.source.clip(number)
            while len(self._cache) > CACHED_CLIPS + 2 * self._size:
                self._cache.popitem(last=False)
        return self._cache[number]

    def _sample(
        self, rng: np.random.Generator, window: NDArray[np.int64], frames: int
    ) -> tuple[Tensor, Tensor, list[Prompt]]:
        """Draw images [T, 3, H, W], targets [T, O, 1, H / 2, W / 2] and prompts of one clip."""
        objects = self.stage.objects
        images, labels, ids = self._cut(rng, window, frames)
        hidden = np.array([not (labels == i).any((1, 2)).all() for i in ids])
        odds = np.where(hidden, HIDDEN_ODDS, 1.0)
        chosen = rng.choice(ids, objects, ids.size < objects, odds / odds.sum())
        masks = labels[:, None] == chosen[None, :, None, None]  # [T, O, H, W]
        prompts = [sample_prompt(rng, mask, self.stage.kinds) for mask in masks[0]]
        shares = F.avg_pool2d(torch.from_numpy(masks).float(), TARGET_STRIDE)
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), shares[:, :, None], prompts

    def _cut(
        self, rng: np.random.Generator, window: NDArray[np.int64], frames: int
    ) -> tuple[ImageArray, ImageArray, ImageArray]:
        """Draw an augmented cut whose first frame shows at least one object, and those objects' ids."""
        while True:
            images, labels = self._clip(int(rng.integers(*window)))
            start = int(rng.integers(len(images) - frames + 1))
            cut = slice(start, start + frames)
            tilt = math.radians(self.stage.tilt)
            images, labels = self.source.augment(rng, images[cut], labels[cut], tilt)
            ids, counts = np.unique(labels[0][labels[0] > 0], return_counts=True)
            never_hidden = self.source.single_object and (labels > 0).any((1, 2)).all()
            if never_hidden and rng.random() < SKIPPED_SHARE:
                continue
            if (counts >= MIN_PIXELS).any():
                return images, labels, ids[counts >= MIN_PIXELS]


def _set_up_worker(worker: int) -> None:
    """Give workers a low priority and one thread of OpenCV, so that they do not slow the training down."""
    end_with_parent()
    os.nice(5)
    cv2.setNumThreads(1)
