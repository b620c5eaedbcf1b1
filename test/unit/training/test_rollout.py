"""Losses of tracked clips: corrections, yaw jumps, swapped masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.tiny_training import (
    make_batches,
)
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.build import random_model
from panosam2_ros.model.memory_attention import _rotations_of
from panosam2_ros.prompts.encoding import PromptEncoder
from panosam2_ros.tracking.propagation import empty_bank, segment_prompts
from panosam2_ros.training import rollout
from panosam2_ros.training.losses import LossConfig
from panosam2_ros.training.rollout import ClipLoss, RolloutConfig, apply_yaw_jump, correction, swap_masks


def test_a_model_that_tracked_can_be_trained(small: Path) -> None:
    """Constants that are cached while tracking, without autograd, must not break training."""
    batch = make_batches(small, objects=1)[0]
    model = random_model(0)
    model.set_input_size(64, 128)
    loss = ClipLoss(model, LossConfig())
    _rotations_of.cache_clear()
    with torch.inference_mode():
        loss(batch, RolloutConfig())
    loss(batch, RolloutConfig())[0].backward()
    assert model.memory_attention.layers[0].linear1.weight.grad is not None


def test_a_correction_is_a_click_on_the_larger_mistake() -> None:
    found, ground_truth = np.zeros((2, 16, 32), bool)
    ground_truth[4:12, 28:], ground_truth[4:12, :6] = True, True  # across the seam
    found[4:12, 28:] = True
    found[0, 10] = True
    missed = correction(found != ground_truth, found, 4)
    assert missed.point_labels.tolist() == [1]
    u, v = missed.points[0]
    assert ground_truth[int(v) // 4, int(u) // 4] and not found[int(v) // 4, int(u) // 4]
    extra = correction(found != (found & False), found, 4)
    u, v = extra.points[0]
    assert extra.point_labels.tolist() == [0] and found[int(v) // 4, int(u) // 4]


@pytest.mark.parametrize("objects", [1, 3])
def test_objects_of_several_clips_are_corrected(small: Path, objects: int) -> None:
    torch.manual_seed(0)
    model = random_model(1)
    model.set_input_size(64, 128)
    batch = make_batches(small, frames=2, free_running_frames=0, batch=2, objects=objects)[0]
    corrected: list[int] = []
    real = ClipLoss._correct

    def watched(self: ClipLoss, *arguments: Any) -> Any:
        step, losses = real(self, *arguments)
        corrected.append(len(losses))
        assert len(step.bank) == len(step.mask_logits) == 2 * objects
        return step, losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipLoss, "_correct", watched)
        total = ClipLoss(model.train(), LossConfig())(batch, RolloutConfig(correct=1.0))[0]
    total.backward()
    assert corrected == [1]


Watched = tuple[list[Tensor], list[Any]]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """The masks that corrections start from, and what was found of prompts and corrections, as they come."""
    asked: list[Tensor] = []
    steps: list[Any] = []
    real = PromptEncoder.encode

    def encoded(self: PromptEncoder, prompts: Any, previous: Tensor | None = None) -> Any:
        asked.extend([] if previous is None else [previous])
        return real(self, prompts, previous)

    def segmented(*arguments: Any, **options: Any) -> Any:
        steps.append(segment_prompts(*arguments, **options))
        return steps[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PromptEncoder, "encode", encoded)
        patch.setattr(rollout, "segment_prompts", segmented)
        yield asked, steps


def test_a_correction_starts_from_the_mask_of_its_own_frame(small: Path, watched: Watched) -> None:
    """As in the tracker, and on the prompted frame, too."""
    torch.manual_seed(0)
    model = random_model(1)
    model.set_input_size(64, 128)
    batch = make_batches(small, frames=1, free_running_frames=0, batch=2, objects=1, kinds=(1.0, 0.0, 0.0))[0]
    ClipLoss(model.train(), LossConfig())(batch, RolloutConfig(correct=1.0))
    asked, steps = watched
    (previous,) = asked
    assert len(steps) == 2 and torch.equal(previous, steps[0].mask_logits[: len(previous)])


def test_corrections_follow_each_other_and_the_last_one_is_remembered(small: Path, watched: Watched) -> None:
    model = random_model(1)
    model.set_input_size(64, 128)
    batch = make_batches(small, frames=1, free_running_frames=0, batch=1, objects=1, kinds=(1.0, 0.0, 0.0))[0]
    (asked, steps), clicks = watched, set()
    for seed in range(8):
        torch.manual_seed(seed)
        asked.clear()
        steps.clear()
        ClipLoss(model.train(), LossConfig())(batch, RolloutConfig(correct=1.0, corrections=3))
        assert all(torch.equal(a, s.mask_logits) for a, s in zip(asked, steps[:-1], strict=True))
        assert all(int(step.bank.frame[0]) == 1 for step in steps)
        clicks.add(len(asked))
    assert clicks == {1, 2, 3}


def test_masks_that_are_given_are_not_corrected(small: Path, watched: Watched) -> None:
    model = random_model(1)
    model.set_input_size(64, 128)
    batch = make_batches(small, frames=1, free_running_frames=0, batch=2, objects=1, kinds=(0.0, 0.0, 1.0))[0]
    ClipLoss(model.train(), LossConfig())(batch, RolloutConfig(correct=1.0))
    steps = watched[1]
    wrong = [(step.fine_logits > 0) != (step.prediction.fine_logits > 0) for step in steps]
    assert len(steps) == 1 and wrong[0].any()  # the network's own masks differ


def test_a_yaw_jump_rolls_images_and_targets_alike(small: Path) -> None:
    batch = make_batches(small, frames=3, free_running_frames=0)[0]
    torch.manual_seed(0)
    after = apply_yaw_jump(batch, 2)
    assert torch.equal(after.images[:2], batch.images[:2])
    assert torch.equal(after.targets[:2], batch.targets[:2])
    turns = [c for c in range(1, 128) if torch.equal(after.images[2], batch.images[2].roll(c, -1))]
    assert len(turns) == 1 and turns[0] % 16 == 0
    assert torch.equal(after.targets[2], batch.targets[2].roll(turns[0] // 2, -1))


def test_swapped_masks_are_those_of_other_objects_of_the_clip_or_in_another_place() -> None:
    model = random_model(1)
    model.set_input_size(64, 128)
    bank = empty_bank(model, 6)
    masks = torch.full((6, 1, 16, 32), -1.0)
    for i in range(6):
        masks[i, :, i : i + 3, 4 * i : 4 * i + 2] = i + 1.0
    bank = replace(bank, mask_logits=masks, centre=torch.arange(6))
    wrong = torch.tensor([True, True, False] * 2)
    kinds = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found = swap_masks(bank, wrong, clips=2)
        assert torch.equal(found.mask_logits[~wrong], masks[~wrong])
        assert torch.equal(found.centre[~wrong], bank.centre[~wrong])
        for i in wrong.nonzero()[:, 0].tolist():
            whose = int(found.mask_logits[i].max()) - 1
            assert whose // 3 == i // 3, "of another clip"
            assert not torch.equal(found.mask_logits[i], masks[i])
            assert (whose == i) == (int(found.centre[i]) != whose)
            kinds.add(whose == i)
    assert kinds == {True, False}


@pytest.mark.parametrize("option", ["mask_swap_prob", "yaw_jump_prob"])
def test_swapped_masks_and_yaw_jumps_have_gradients(small: Path, option: str) -> None:
    torch.manual_seed(0)
    model = random_model(1)
    model.set_input_size(64, 128)
    loss = ClipLoss(model.train(), LossConfig())
    batch = make_batches(small, frames=3, free_running_frames=0)[0]
    plain = float(loss(batch, RolloutConfig())[0].detach())
    torch.manual_seed(0)
    total, _, ious = loss(batch, replace(RolloutConfig(), **{option: 1.0}))
    assert torch.isfinite(total) and float(total.detach()) != plain and len(ious) == 3
    total.backward()


def test_the_previous_mask_of_a_hidden_object_is_its_own_after_a_swap(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[MemoryBank] = []

    def watched(bank: MemoryBank, wrong: torch.Tensor, *, clips: int) -> MemoryBank:
        shown.append(bank)
        return swap_masks(bank, wrong, clips=clips)

    monkeypatch.setattr("panosam2_ros.training.rollout.swap_masks", watched)
    torch.manual_seed(0)
    model = random_model(1)
    model.set_input_size(64, 128)
    batch = make_batches(small, frames=3, free_running_frames=0)[0]
    batch.targets[1] = 0  # nothing is in the second frame
    ClipLoss(model.train(), LossConfig())(batch, replace(RolloutConfig(), mask_swap_prob=1.0))
    first, second = shown
    assert torch.equal(first.mask_logits, second.mask_logits)
    assert torch.equal(first.centre, second.centre)
