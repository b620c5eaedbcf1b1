"""Masks at stride 2: their initial values, their equivariance to rolls, and their use by the tracker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.tracker_inputs import live_batch
from panosam2_ros.geometry.circular import wrap_resize
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.model.build import random_model, reconfigured
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.mask_upsampler import MaskUpsampler
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.propagation import empty_bank, propagate, segment_prompts
from panosam2_ros.tracking.tracker import PanoTracker

HEIGHT, WIDTH = 64, 128
BOX = Prompt(box=(30.0, 20.0, 70.0, 50.0))


def fine_model(learned: bool) -> PanoSAM2:
    model = random_model(0, config=ModelConfig(mask_stride=2)).eval().requires_grad_(False)
    model.set_input_size(HEIGHT, WIDTH)
    if learned:
        assert model.detail is not None
        nn.init.normal_(model.detail.residual.weight, std=0.5, generator=torch.manual_seed(1))
    return model


@torch.inference_mode()
def two_frames(model: PanoSAM2, images: torch.Tensor, box: Prompt):
    encoding = PromptEncoder(Equirect(WIDTH, HEIGHT), model.input_size, model.config)
    first, second = (model.encode_image(image[None]) for image in images)
    start = segment_prompts(model, empty_bank(model, 1), first, encoding.encode([box]), corrects=False)
    return start, propagate(model, start.bank, second)


def pictures() -> torch.Tensor:
    return torch.randint(0, 255, (2, 3, HEIGHT, WIDTH), generator=torch.manual_seed(0)).float()


def test_untrained_upsampler_interpolates() -> None:
    torch.manual_seed(0)
    logits, stem = torch.randn(4, 1, 8, 16), torch.randn(2, 24, 16, 32)
    assert torch.equal(MaskUpsampler(24, wrap=True)(logits, stem), wrap_resize(logits, 16, 32))


def test_memory_holds_means_of_masks_at_stride_2() -> None:
    model = fine_model(learned=True)
    for step in two_frames(model, pictures(), BOX):
        assert step.fine_logits.shape == (1, 1, HEIGHT // 2, WIDTH // 2)
        assert torch.equal(step.mask_logits, F.avg_pool2d(step.fine_logits, 2))
        assert step.bank.mask_logits.shape == (1, 1, HEIGHT // 4, WIDTH // 4)
    plain = two_frames(fine_model(learned=False), pictures(), BOX)[0]
    assert (plain.fine_logits - two_frames(model, pictures(), BOX)[0].fine_logits).abs().max() > 0.1


def test_masks_at_stride_2_are_equivariant_to_rolls() -> None:
    model, images, roll = fine_model(learned=True), pictures(), 64  # whole strides of the trunk, 32
    moved = replace(BOX, box=((30.0 + roll) % WIDTH, 20.0, (70.0 + roll) % WIDTH, 50.0))
    for still, rolled in zip(
        two_frames(model, images, BOX), two_frames(model, images.roll(roll, -1), moved), strict=True
    ):
        assert (still.fine_logits.roll(roll // 2, -1) - rolled.fine_logits).abs().max() < 1e-4


def test_tracker_publishes_masks_at_stride_2() -> None:
    """Label images are rendered from masks at stride 2, memory keeps those at stride 4."""
    tracker = PanoTracker(fine_model(learned=False))
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:44, 40:80] = True
    tracker.prompt(image, 0, [Prompt(mask=mask)])
    step = tracker.step(image, 1)
    assert step.labels.shape == (HEIGHT, WIDTH)
    assert live_batch(tracker).bank.mask_logits.shape[-2:] == (HEIGHT // 4, WIDTH // 4)


def test_reconfigured_adds_the_upsampler() -> None:
    plain = random_model(3)
    finer = reconfigured(plain, {"mask_stride": 2})
    assert finer.detail is not None and plain.detail is None
    state = finer.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    with pytest.raises(ValueError, match="mask_stride is 4, or 2 with the trunk conv or mobilenet_v2"):
        ModelConfig(mask_stride=2, trunk="hiera")
