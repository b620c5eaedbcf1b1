"""Sequences with known scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.evaluation.results import SequenceResult
from panosam2_ros.evaluation.sequence_score import ScoredFrame, SequenceScore
from panosam2_ros.geometry.equirect import Equirect

SMALL = Equirect(32, 16)


def labels(**boxes: tuple[int, int]) -> NDArray[np.uint16]:
    """Return labels [16, 32] with objects of 4 x 4 pixels at (v, u); ``o1`` is object 1."""
    image = np.zeros((16, 32), np.uint16)
    for name, (v, u) in boxes.items():
        image[v : v + 4, u : u + 4] = int(name[1:])
    return image


HERE, THERE = labels(o1=(6, 4)), labels(o1=(6, 20))


def sequence(name: str, shifts: list[int], attributes: tuple[str, ...] = ()) -> SequenceResult:
    """Score a sequence in which object 1 is predicted ``shifts`` columns beside its place, frame by frame."""
    score = SequenceScore(name, SMALL, {1: 0}, attributes=attributes)
    for index, shift in enumerate([0, *shifts]):
        score.add(index, ScoredFrame(HERE, np.roll(HERE, shift, 1)))
    return score.result()
