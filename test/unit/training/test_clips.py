"""Clips of a data set are cuts of its videos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.fake_videos import FakeVideo, fake_dataset, moving
from panosam2_ros.training.clips import DatasetClips


def test_clips_of_a_data_set_are_frames_of_its_videos() -> None:
    video = FakeVideo(moving(8, 4), {1: 0})
    dataset = fake_dataset(video)
    images, labels = DatasetClips(dataset, (64, 128), frames=3, every=2).clip(5)
    assert images.shape == (3, 64, 128, 3) and labels.shape == (3, 64, 128)
    first = int(images[0, 0, 0, 0])  # a picture's first pixel names its frame
    assert images[:, 0, 0, 0].tolist() == [first, first + 2, first + 4]
    assert np.array_equal(labels, video.ground_truth[first : first + 5 : 2])
    with pytest.raises(ValueError, match="shorter clips"):
        DatasetClips(dataset, (64, 128), frames=5, every=2).clip(0)


def test_clips_are_taken_where_all_frames_have_masks_and_ids_may_have_16_bits() -> None:
    class Sparse(FakeVideo):
        """A video whose fourth frame has no mask, as in some videos of 360VOS."""

        def labels(self, index: int) -> Any:
            return None if index == 3 else self.ground_truth[index].astype(np.uint16) * 300

    video = Sparse(moving(8, 4), {1: 0})
    dataset = fake_dataset(video)
    for number in range(10):
        images, labels = DatasetClips(dataset, (64, 128), frames=3, every=1).clip(number)
        assert images[0, 0, 0, 0] in (0, 4, 5) and set(np.unique(labels)) == {0, 1}
    with pytest.raises(ValueError, match="no video of fake has 5 frames with masks"):
        DatasetClips(dataset, (64, 128), frames=5, every=1).clip(0)
