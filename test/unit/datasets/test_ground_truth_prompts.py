"""Prompts made from masks are valid, also across the seam."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.fake_videos import HEIGHT, WIDTH, moving
from panosam2_ros.datasets.ground_truth_prompts import prompt_from_mask
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.prompts.validation import check_prompt


@pytest.mark.parametrize("u", [20, 120])
def test_prompts_from_a_mask_also_across_the_seam(u: int) -> None:
    mask = moving(1, 0, u=u)[0] == 1
    grid = Equirect(WIDTH, HEIGHT)
    for kind in ("mask", "box", "click"):
        check_prompt(prompt_from_mask(mask, kind), grid, corrects=False)
    box = prompt_from_mask(mask, "box").box
    assert box == (u, 24, (u + 15) % WIDTH, 39) and (box[0] > box[2]) == (u == 120)
    (click,) = prompt_from_mask(mask, "click").points
    assert abs((click[0] - u - 7.5 + 64) % WIDTH - 64) <= 1 and abs(click[1] - 31.5) <= 1


def test_a_single_pixel_has_a_box_too() -> None:
    for v, u in ((0, 0), (HEIGHT - 1, WIDTH - 1)):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[v, u] = True
        check_prompt(prompt_from_mask(mask, "box"), Equirect(WIDTH, HEIGHT), corrects=False)
