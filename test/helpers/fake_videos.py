"""Videos and methods with known scores, for tests."""

from __future__ import annotations

from itertools import count

import numpy as np

from panosam2_ros.datasets.ground_truth_prompts import ground_truth_prompts
from panosam2_ros.datasets.registry import Dataset
from panosam2_ros.evaluation.method import Prediction
from panosam2_ros.evaluation.runner import EveryFrame, SequenceRun, score_sequence
from panosam2_ros.geometry.equirect import Equirect

WIDTH, HEIGHT = 128, 64


def noise(width: int = WIDTH, height: int = HEIGHT, seed: int = 0):
    """Return a smooth random image [H, W, 3] that is continuous across the seam."""
    rng = np.random.default_rng(seed)
    coarse = np.repeat(np.repeat(rng.integers(0, 255, (height // 4, width // 4, 3)), 4, 0), 4, 1)
    around = [np.roll(coarse, shift, (0, 1)) for shift in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return np.mean(around, 0).astype(np.uint8)


def moving(frames: int, step: int, u: int = 20, width: int = 16):
    """Return labels [T, H, W]: object 1 is a block at the equator that moves right by ``step`` columns."""
    labels = np.zeros((frames, HEIGHT, WIDTH), np.uint16)
    for t in range(frames):
        labels[t, 24:40, np.arange(u + t * step, u + t * step + width) % WIDTH] = 1
    return labels


class FakeVideo:
    """A video of images that show given labels."""

    def __init__(self, labels, first_frames, name: str = "fake", attributes=frozenset()) -> None:
        self.name, self.attributes, self.first_frames = name, attributes, first_frames
        self.ground_truth = labels
        self.grid = Equirect(labels.shape[2], labels.shape[1])

    def __len__(self) -> int:
        return len(self.ground_truth)

    def image(self, index: int):
        picture = noise(self.grid.width, self.grid.height)
        picture[self.ground_truth[index] > 0] = (250, 30, 30)
        picture[0, 0, 0] = index  # for methods that look up the number of the frame
        return picture

    def labels(self, index: int):
        return self.ground_truth[index]

    def prompt_mask(self, obj_id: int):
        return self.ground_truth[self.first_frames[obj_id]] == obj_id


class Oracle:
    """A method that returns the ground truth of the frame that an image's first pixel names.

    ``lose``: frames without any mask; ``by_index``: the frame is given by its index instead.
    """

    def __init__(self, video, lose=(), by_index: bool = False) -> None:
        self.video, self.lose, self.by_index = video, lose, by_index
        self.steps, self.starts = [], []

    def step(self, image, index: int) -> Prediction:
        self.steps.append(index)
        labels = self.video.labels(index if self.by_index else int(image[0, 0, 0]))
        return Prediction(np.zeros_like(labels) if index in self.lose else labels)

    def start(self, image, index: int, prompts):
        self.starts.append((index, sorted(prompts)))
        return {}


class Red:
    """A method that finds red pixels, in all or in some ``columns``; in all it is perfectly equivariant."""

    def __init__(self, columns=slice(None)) -> None:
        self.columns = columns

    def step(self, image, index: int) -> Prediction:
        labels = np.zeros(image.shape[:2], np.uint16)
        labels[:, self.columns] = (image == (250, 30, 30)).all(-1)[:, self.columns]
        return Prediction(labels)

    def start(self, image, index: int, prompts):
        return {}


def fake_dataset(video) -> Dataset:
    """Return a data set of one video."""
    return Dataset(
        name="fake",
        split="train",
        seed=None,
        config_sha256="",
        names=(video.name,),
        rate=30.0,
        has_ground_truth=True,
        open=lambda name: video,
    )


def ticking(seconds: float):
    """Return a clock that advances by ``seconds`` at every reading."""
    ticks = count()
    return lambda: next(ticks) * seconds


def score_video(video, method, schedule=None, clock=None, kind: str = "mask") -> SequenceRun:
    """Run a method on a video and score it."""
    prompts = ground_truth_prompts(video, kind)
    return score_sequence(video, method, prompts, schedule or EveryFrame(), clock=clock or ticking(0.01))
