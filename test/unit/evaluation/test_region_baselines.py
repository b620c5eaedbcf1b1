"""Baselines that follow views hold what is easy, start from masks, and know nothing beside that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.fake_videos import noise
from helpers.spherical_shapes import disc
from panosam2_ros.evaluation.region_baselines import FollowedViews, MemoryAlone, NearestPixels
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, MaskArray
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt

GRID = Equirect(512, 256)


@pytest.fixture(scope="module")
def small() -> PanoSAM2:
    config = ModelConfig(input_height=96, input_width=96, regions=True)
    return random_model(3, config=config).eval().requires_grad_(False)


def frame(t: int) -> tuple[ImageArray, MaskArray]:
    """A red disc that moves across the seam on a quiet background."""
    image = (noise(GRID.width, GRID.height) // 6 + 90).astype(np.uint8)
    mask = disc(3.0 + 0.04 * t, 0.1, 0.25, GRID)
    image[mask] = (230, 20, 20)
    return image, mask


def test_nearest_pixels_follow_a_thing_of_other_colours_across_the_seam(small: PanoSAM2) -> None:
    method = FollowedViews(small, GRID, NearestPixels)
    image, mask = frame(0)
    assert not method.step(image, 0).labels.any()
    assert method.start(image, 0, {7: Prompt(mask=mask)}) == {}
    for t in range(1, 9):
        image, mask = frame(t)
        found = method.step(image, t).labels == 7
        assert np.count_nonzero(found & mask) / np.count_nonzero(found | mask) > 0.4
    assert mask[:, 0].any() and mask[:, -1].any()


def test_the_network_alone_remembers_its_prompt(small: PanoSAM2) -> None:
    segmenter = MemoryAlone(small)
    pixels, mask = torch.rand(1, 3, 96, 96) * 255, np.zeros((96, 96), bool)
    mask[30:60, 30:60] = True
    segmenter.start(pixels, mask)
    assert segmenter._bank.maskmem.valid.sum() == 1
    logits = segmenter.find(pixels)
    assert logits.shape == (24, 24) and torch.isfinite(logits).all()
    assert segmenter._bank.frame.tolist() == [2]  # what was found is remembered
    torch.nn.init.constant_(small.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, -1e4)
    assert (segmenter.find(pixels) < 0).all()


def test_the_nearest_pixels_are_those_of_the_first_and_the_last_view(small: PanoSAM2) -> None:
    segmenter = NearestPixels(small)
    views, mask = torch.rand(4, 1, 3, 96, 96) * 255, np.zeros((96, 96), bool)
    mask[30:60, 30:60] = True
    segmenter.start(views[0], mask)
    for view in views[1:]:
        segmenter.find(view)
    first, last = (keys for keys, _ in segmenter._kept)
    assert torch.equal(first, segmenter._keys(views[0])) and torch.equal(last, segmenter._keys(views[3]))


def test_other_prompts_are_refused(small: PanoSAM2) -> None:
    method = FollowedViews(small, GRID, NearestPixels)
    image, mask = frame(0)
    refused = method.start(
        image, 0, {1: Prompt(box=(1.0, 2.0, 30.0, 40.0)), 2: Prompt(mask=np.zeros_like(mask))}
    )
    assert set(refused) == {1, 2} and all("mask" in reason for reason in refused.values())
