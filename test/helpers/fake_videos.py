"""Videos and methods whose scores are known beforehand, for tests."""

from __future__ import annotations

import numpy as np

from panosam2_ros.datasets.registry import Dataset
from panosam2_ros.evaluation.method import Answer
from panosam2_ros.geometry.equirect import Equirect

WIDTH, HEIGHT = 128, 64


def noise(width: int = WIDTH, height: int = HEIGHT, seed: int = 0):
    """A smooth random picture [H, W, 3] that closes at the seam."""
    rng = np.random.default_rng(seed)
    coarse = np.repeat(np.repeat(rng.integers(0, 255, (height // 4, width // 4, 3)), 4, 0), 4, 1)
    around = [np.roll(coarse, shift, (0, 1)) for shift in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return np.mean(around, 0).astype(np.uint8)


def moving(frames: int, step: int, u: int = 20, width: int = 16):
    """Labels [T, H, W]: object 1, a block round the equator that goes right by ``step`` columns."""
    labels = np.zeros((frames, HEIGHT, WIDTH), np.uint16)
    for t in range(frames):
        labels[t, 24:40, np.arange(u + t * step, u + t * step + width) % WIDTH] = 1
    return labels


class FakeVideo:
    """Labels with pictures that show them."""

    def __init__(self, labels, first_frames, name: str = "fake", attributes=frozenset()) -> None:
        self.name, self.attributes, self.first_frames = name, attributes, first_frames
        self.truth = labels
        self.grid = Equirect(labels.shape[2], labels.shape[1])

    def __len__(self) -> int:
        return len(self.truth)

    def image(self, index: int):
        picture = noise(self.grid.width, self.grid.height)
        picture[self.truth[index] > 0] = (250, 30, 30)
        picture[0, 0, 0] = index  # what the frame's number is, for methods that look it up
        return picture

    def labels(self, index: int):
        return self.truth[index]

    def prompt_mask(self, obj_id: int):
        return self.truth[self.first_frames[obj_id]] == obj_id


class Oracle:
    """Answers the truth of the frame that a picture's first pixel names; of frames ``lose`` nothing.

    ``by_index``: of the frame that it is told to be in.
    """

    def __init__(self, video, lose=(), by_index: bool = False) -> None:
        self.video, self.lose, self.by_index = video, lose, by_index
        self.steps, self.starts = [], []

    def step(self, image, index: int) -> Answer:
        self.steps.append(index)
        labels = self.video.labels(index if self.by_index else int(image[0, 0, 0]))
        return Answer(np.zeros_like(labels) if index in self.lose else labels)

    def start(self, image, index: int, prompts):
        self.starts.append((index, sorted(prompts)))
        return {}


class Red:
    """Finds what is red, wherever it is: perfectly equivariant; ``columns``: only there."""

    def __init__(self, columns=slice(None)) -> None:
        self.columns = columns

    def step(self, image, index: int) -> Answer:
        labels = np.zeros(image.shape[:2], np.uint16)
        labels[:, self.columns] = (image == (250, 30, 30)).all(-1)[:, self.columns]
        return Answer(labels)

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
