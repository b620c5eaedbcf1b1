"""Prompts roll with the image."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.fake_videos import WIDTH, moving
from panosam2_ros.datasets.ground_truth_prompts import prompt_from_mask
from panosam2_ros.evaluation.method import rolled_prompt


@pytest.mark.parametrize("kind", ["mask", "box", "click"])
def test_a_rolled_prompt_is_the_prompt_of_the_rolled_mask(kind: str) -> None:
    mask = moving(1, 0, u=100)[0] == 1
    turned, direct = (
        rolled_prompt(prompt_from_mask(mask, kind), 21, WIDTH),
        prompt_from_mask(np.roll(mask, 21, 1), kind),
    )
    assert turned.box == direct.box and (turned.points == direct.points).all()
    assert (turned.mask is None and direct.mask is None) or (turned.mask == direct.mask).all()
