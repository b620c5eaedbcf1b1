"""Synthetic scenes are video sequences."""

from __future__ import annotations

import numpy as np

from helpers.tiny_datasets import HEIGHT, WIDTH, box
from panosam2_ros.datasets.sequence import SceneSequence, VideoSequence
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.simulation.scene import SceneFrame


class Scene:
    """A stand-in for ``simulation.scene.Scene`` that records what is rendered."""

    grid = Equirect(WIDTH, HEIGHT)

    def __init__(self) -> None:
        self.rendered: list[int] = []

    def __len__(self) -> int:
        return 3

    def render(self, index: int) -> SceneFrame:
        self.rendered.append(index)
        image = np.full((HEIGHT, WIDTH, 3), index, np.uint8)
        labels = (box(3, index) + (box(5, 20) if index else 0)).astype(np.uint8)
        return SceneFrame(index, index / 10, image, labels, (), np.eye(3))


def test_synthetic_scenes_are_sequences_too() -> None:
    scene = Scene()
    sequence: VideoSequence = SceneSequence("scene", scene, attributes=frozenset({"crossing_border"}))
    assert sequence.first_frames == {3: 0}  # 5 is not there yet
    assert (len(sequence), sequence.attributes) == (3, {"crossing_border"})
    labels = sequence.labels(2)
    assert labels is not None and labels.dtype == np.uint16
    assert set(np.unique(labels)) == {0, 3, 5}
    assert (sequence.image(2) == 2).all()
    assert (sequence.prompt_mask(3) == (box(3, 0) == 3)).all()
    assert scene.rendered == [0, 2, 0]
