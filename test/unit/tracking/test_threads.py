"""Threads of networks: what measured best, unless a number is given."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import pytest
import torch

from panosam2_ros.model.build import random_model
from panosam2_ros.model.checkpoints import official_config
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.threads import use_threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def threads() -> tuple[int, int]:
    return torch.get_num_threads(), cv2.getNumThreads()


def test_a_small_network_uses_one_thread_and_others_what_torch_chooses() -> None:
    large = PanoSAM2(official_config("sam2.1_hiera_tiny", 64, 128))
    use_threads(0, large)
    assert threads() == (2, 2)
    use_threads(0, random_model())
    assert threads() == (1, 1)


def test_a_number_that_is_given_counts_for_every_network() -> None:
    use_threads(3, random_model())
    assert threads() == (3, 3)
