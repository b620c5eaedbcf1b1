"""Prompts are encoded the same wherever the seam is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.mask_decoder import BOX_FIRST, BOX_LAST
from panosam2_ros.prompts.encoding import DENSE_LOGIT, ImageSize, PromptEncoder
from panosam2_ros.prompts.prompt import Prompt

GRID = Equirect(640, 322)
MASK = np.zeros((322, 640), bool)
MASK[100:150, 630:] = True


def points(*uv: tuple[float, float], labels: tuple[int, ...] = (1,)) -> Prompt:
    return Prompt(points=np.array(uv, float).reshape(-1, 2), point_labels=np.array(labels))


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-0.5, 639), st.floats(-0.5, 320), st.floats(20, 300), st.floats(10, 200),
    st.integers(0, 39),
)  # fmt: skip
def test_a_box_rolled_by_tokens_gives_a_rolled_prompt(
    u: float, v: float, width: float, height: float, tokens: int
) -> None:
    """16 image pixels a token here (640 -> 40 tokens), whether or not the box crosses the seam."""
    encoding = PromptEncoder(GRID, (320, 640), ModelConfig())
    shift = 16 * tokens
    rows = (v, min(v + height, 321))
    if rows[1] - rows[0] < 2:
        return
    boxes = [
        ((u + s + 0.5) % 640 - 0.5, rows[0], (u + width + s + 0.5) % 640 - 0.5, rows[1]) for s in (0, shift)
    ]
    if any(abs(x - round(x)) > 0.49 for box in boxes for x in (box[0] / 4, box[2] / 4)):
        return  # rounding decides
    plain, rolled = (encoding.encode([Prompt(box=box)]) for box in boxes)
    assert torch.equal(plain.decoder.mask_input.roll(shift // 4, -1), rolled.decoder.mask_input)
    assert plain.decoder.point_labels.tolist() == [[BOX_FIRST, BOX_LAST]]
    assert (plain.decoder.mask_input == DENSE_LOGIT).any()


def test_the_centre_of_prompts_across_the_seam() -> None:
    encoding = PromptEncoder(GRID, (128, 256), ModelConfig())
    encoded = encoding.encode(
        [
            Prompt(box=(600, 10, 40, 60)),
            Prompt(mask=MASK | np.roll(MASK, 10, 1)),
            points((635, 9), (5, 9), labels=(1, 1)),
            points((2, 9), (300, 9), labels=(1, 0)),  # what it is not may lie anywhere
        ]
    )
    assert encoded.centre.tolist() == [0, 0, 0, 0]
    assert encoded.is_given.tolist() == [False, True, False, False]


@pytest.mark.parametrize("digit", [-1e-13, 0.0, 1e-13])
def test_the_very_middle_of_a_region_does_not_hang_on_the_last_digit(digit: float) -> None:
    encoding = PromptEncoder(ImageSize(160, 160), (160, 160), ModelConfig())
    assert encoding.encode([Prompt(box=(50 + digit, 60, 109, 90))]).centre.tolist() == [5]


def test_a_mask_becomes_its_share_of_every_pixel() -> None:
    encoding = PromptEncoder(Equirect(256, 128), (128, 256), ModelConfig())
    mask = np.zeros((128, 256), bool)
    mask[8:12, 4:10] = True  # a pixel at stride 4 and half of the next one
    given = encoding.encode([Prompt(mask=mask)]).given[0, 0]
    assert given[2, 1] == 10 and given[2, 2] == 0 and given.flatten().sort().values[-3] == -10


def test_a_mask_smaller_than_half_a_pixel_is_one_pixel() -> None:
    encoding = PromptEncoder(Equirect(256, 128), (128, 256), ModelConfig())
    mask = np.zeros((128, 256), bool)
    mask[9, 9] = True
    given = encoding.encode([Prompt(mask=mask)]).given[0, 0]
    assert given[2, 2] == 10 and given.flatten().sort().values[-2] == -10


def test_nothing_is_drawn_for_models_that_do_not_want_it() -> None:
    encoding = PromptEncoder(GRID, (128, 256), ModelConfig(draw_prompts=False))
    encoded = encoding.encode([Prompt(box=(600, 10, 40, 60)), Prompt(mask=MASK)])
    assert encoded.decoder.has_mask.tolist() == [False, True]
