"""Losses against their definitions, their weights and their gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.training.losses import (
    LARGEST_STRETCH,
    NEAR,
    SAM2_LOSS,
    WEIGHTINGS,
    LossConfig,
    balanced_cross_entropy,
    dice_loss,
    focal_loss,
    frame_losses,
    mask_iou,
    pixel_weights,
    presence_loss,
)


def some_targets(height: int = 16, width: int = 32) -> torch.Tensor:
    """Return a block at the equator and one across the seam near a pole."""
    target = torch.zeros(2, 1, height, width)
    target[0, 0, 7:10, 10:14] = 1
    target[1, 0, 0:3, :4] = 1
    target[1, 0, 0:3, -4:] = 1
    return target


def test_unbalanced_cross_entropy_is_torchs() -> None:
    logits, target = torch.randn(3, 1, 8, 16), torch.rand(3, 1, 8, 16)
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).mean(1)
    assert torch.allclose(balanced_cross_entropy(logits, target, 0.0), expected, atol=1e-6)


def test_balanced_cross_entropy_weighs_object_and_background_alike() -> None:
    target = torch.zeros(1, 1, 8, 16)
    target[..., 0, :4] = 1
    logits = torch.where(target > 0, -2.0, -3.0)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    expected = 0.5 * loss[target > 0].mean() + 0.5 * loss[target == 0].mean()
    assert torch.allclose(balanced_cross_entropy(logits, target, 1.0)[0], expected, atol=1e-6)


def test_dice_and_iou_of_known_masks() -> None:
    a = torch.full((1, 1, 4, 8), -50.0)
    b = torch.zeros(1, 1, 4, 8)
    a[..., :2, :] = 50
    b[..., 1:3, :] = 1
    assert mask_iou(a, b).item() == pytest.approx(8 / 24)
    assert dice_loss(a, b).item() == pytest.approx(1 - 17 / 33)
    assert mask_iou(-a.abs(), b * 0).item() == 1


def test_masks_of_absent_objects_are_not_judged_but_their_presence_is() -> None:
    target = torch.zeros(2, 1, 8, 16)
    target[0, ..., :4] = 1
    logits = torch.randn(2, 1, 8, 16)
    prediction = MaskPrediction(logits, torch.rand(2), torch.randn(2, 4), torch.tensor([2.0, 2.0]), logits)
    present = torch.tensor([True, False])
    losses = frame_losses(prediction, target, present, balance=1.0)
    alone = MaskPrediction(*(x[:1] for x in vars(prediction).values()))
    expected = frame_losses(alone, target[:1], present[:1], balance=1.0)
    assert torch.allclose(losses.mask, expected.mask) and torch.allclose(losses.dice, expected.dice)
    assert losses.presence > expected.presence


def test_masks_of_something_else_count_as_absence_where_that_is_asked_for() -> None:
    target = torch.zeros(2, 1, 8, 16)
    target[..., :4] = 1
    logits = torch.where(target > 0, 3.0, -3.0)
    logits[1] = logits[1].flip(-1)
    sure = torch.tensor([3.0, 3.0])
    prediction, present = MaskPrediction(logits, sure, sure, sure, logits), torch.tensor([True, True])
    plain = frame_losses(prediction, target, present, balance=1.0).presence
    strict = frame_losses(prediction, target, present, balance=1.0, config=LossConfig(right_iou=0.2)).presence
    assert plain == presence_loss(sure, present, 5.0)
    assert strict == presence_loss(sure, torch.tensor([True, False]), 5.0)


def test_an_absent_object_that_is_taken_for_present_costs_most() -> None:
    sure = torch.tensor([4.0, -4.0])
    cases = ([True, False], [False, False], [True, True])
    costs = [presence_loss(sure, torch.tensor(case), 5.0).item() for case in cases]
    assert costs[0] < costs[2] < costs[1]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("outline, near", [(0.0, 0.0), (2.0, 0.0), (0.0, 0.5), (1.0, 0.8)])
def test_weights_have_mean_1_over_the_frame(weighting: str, outline: float, near: float) -> None:
    weights = pixel_weights(some_targets(), LossConfig(weighting=weighting, outline=outline), near=near)
    assert weights.shape == (2, 1, 16, 32)
    assert torch.allclose(weights.mean((1, 2, 3)), torch.ones(2), atol=1e-6)
    if outline == near == 0 and weighting == "none":
        assert (weights == 1).all()


def test_rows_weigh_by_their_stretch_or_their_area() -> None:
    level = np.cos(Equirect(32, 16).row_latitudes())
    stretched, area = (
        pixel_weights(some_targets(), LossConfig(weighting=kind))[0, 0, :, 0].numpy()
        for kind in ("distortion", "area")
    )
    assert np.allclose(area / area[8], level / level[8], rtol=1e-5)
    bounded = np.minimum(1 / level, LARGEST_STRETCH)
    assert np.allclose(stretched / stretched[8], bounded / bounded[8], rtol=1e-5)
    assert stretched[0] == stretched.max() and stretched[0] / stretched[8] < LARGEST_STRETCH


def test_the_outline_weighs_more_also_across_the_seam() -> None:
    weights = pixel_weights(some_targets(), LossConfig(outline=3.0))
    heavy = weights > weights.amin((2, 3), keepdim=True) * 2
    block, seam = heavy[0, 0], heavy[1, 0]
    assert block[6:11, 9:15].sum() == block.sum() == 5 * 6 - 2 and not block[8, 11:13].any()
    assert seam[:2, 4].all() and seam[:2, -5].all()
    assert not seam[:2, 0].any() and not seam[:2, -1].any()  # inside, though the image ends there


@pytest.mark.parametrize("side", [1, 4])
def test_pixels_near_the_outline_have_their_share_however_small_the_object(side: int) -> None:
    """They get half of a frame's mean weight of 1, and their part of the other half."""
    target = torch.zeros(1, 1, 64, 128)
    target[..., 30 : 30 + side, 0:side] = 1  # beside the seam
    weights = pixel_weights(target, LossConfig(), near=0.5)[0, 0]
    near = weights > 0.5 + 1e-6
    assert near.sum() == (side + 2 * NEAR) ** 2 and near[30, -NEAR:].all() and not near[30, -NEAR - 1]
    share = weights[near].sum() / weights.sum()
    assert float(share) == pytest.approx(0.5 + 0.5 * float(near.float().mean()), abs=1e-5)


def test_a_frame_without_outline_weighs_as_without_its_share() -> None:
    empty, config = torch.zeros(1, 1, 16, 32), LossConfig(weighting="area")
    assert torch.allclose(pixel_weights(empty, config, near=0.5), pixel_weights(empty, config))


def test_sam2s_loss_is_its_formulas() -> None:
    """It is focal with alpha 1/4 and gamma 2, dice, absolute error of IoU, cross entropy; 20 : 1 : 1 : 1."""
    torch.manual_seed(0)
    target, present = some_targets(), torch.tensor([True, True])
    logits = torch.randn(2, 1, 16, 32)
    prediction = MaskPrediction(logits, torch.rand(2), torch.randn(2, 4), torch.tensor([2.0, -1.0]), logits)
    losses = frame_losses(prediction, target, present, balance=1.0, config=SAM2_LOSS)
    x, t = prediction.mask_logits.numpy().astype(float), target.numpy()
    p = 1 / (1 + np.exp(-x))
    right = np.where(t > 0, p, 1 - p)
    focal = np.mean(np.where(t > 0, 0.25, 0.75) * (1 - right) ** 2 * -np.log(right))
    dice = np.mean(1 - (2 * (p * t).sum((1, 2, 3)) + 1) / ((p + t).sum((1, 2, 3)) + 1))
    iou = (prediction.mask_iou - mask_iou(prediction.mask_logits, target)).abs().mean()
    presence = np.mean(np.log1p(np.exp([-2.0, 1.0])))
    expected = 20 * focal + dice + float(iou) + presence
    assert losses.total(SAM2_LOSS).item() == pytest.approx(expected, rel=1e-5)


def test_no_weighting_changes_nothing_and_every_other_does() -> None:
    torch.manual_seed(0)
    target, logits = some_targets(), torch.randn(2, 1, 16, 32)
    ones = torch.ones_like(target)
    assert torch.equal(dice_loss(logits, target), dice_loss(logits, target, ones))
    plain = balanced_cross_entropy(logits, target, 0.5)
    assert torch.allclose(plain, balanced_cross_entropy(logits, target, 0.5, ones))
    for config in (LossConfig(weighting="distortion"), LossConfig(weighting="area"), LossConfig(outline=1.0)):
        weights = pixel_weights(target, config)
        for loss in (focal_loss, dice_loss):
            assert (loss(logits, target, weights) - loss(logits, target, ones)).abs().max() > 1e-4


@pytest.mark.parametrize("mask", ["balanced", "focal"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_gradients_are_those_of_the_losses(mask: str, weighting: str) -> None:
    torch.manual_seed(0)
    config = LossConfig(mask=mask, weighting=weighting, outline=1.0)
    target = some_targets(8, 16).double()
    logits = torch.randn(2, 1, 8, 16, dtype=torch.float64, requires_grad=True)
    weights = pixel_weights(target, config)

    def loss(x: torch.Tensor) -> torch.Tensor:
        if mask == "focal":
            return focal_loss(x, target, weights) + dice_loss(x, target, weights)
        return balanced_cross_entropy(x, target, 0.4, weights) + dice_loss(x, target, weights)

    assert torch.autograd.gradcheck(loss, (logits,))


def test_unknown_losses_are_refused() -> None:
    for options in ({"mask": "hinge"}, {"weighting": "cubic"}):
        with pytest.raises(ValueError, match="distortion"):
            replace(SAM2_LOSS, **options)
