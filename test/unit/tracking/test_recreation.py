"""Maps of prompts and anchors are made anew after a loss and at another scale, now and then."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.tracker_inputs import live_batch, mask_prompt, picture
from panosam2_ros import PanoTracker, Prompt, TrackState
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.tracking.recreation import due_rows, recreated
from panosam2_ros.tracking.view import ViewKind

PERIOD = 10**8  # ns between frames


def scene(*, shown: bool = True) -> NDArray[np.uint8]:
    """Return a grey image with a red square, or without."""
    image = np.full((256, 512, 3), 90, np.uint8)
    image[100:160:8] = 120
    if shown:
        image[110:150, 230:270] = (230, 40, 30)
    return image


def tracker_of(*, recreate: bool) -> PanoTracker:
    model = build_model("panosam2_nano", device="cpu")
    model.config = replace(model.config, recreate_slots=recreate)
    tracker = PanoTracker(model)
    assert tracker.prompt(scene(), 0, [Prompt(mask=scene()[..., 0] > 200)])[0].success
    return tracker


def follow(tracker: PanoTracker, shown: list[bool]) -> list[int]:
    """Return how often maps had been made anew after each of these frames."""
    counts = []
    for index, there in enumerate(shown):
        (track,) = tracker.step(scene(shown=there), (index + 1) * PERIOD).tracks
        assert there or track.state is not TrackState.VISIBLE
        counts.append(tracker._pipelines[ViewKind.REGION].recreations)
    assert track.state is TrackState.VISIBLE
    return counts


def test_maps_are_made_anew_after_a_loss_at_most_once_a_second() -> None:
    counts = follow(tracker_of(recreate=True), 4 * [True] + 30 * [False] + 22 * [True])
    assert counts[33] == 0  # nor is anything made anew while it may come back at any size
    assert 1 <= counts[-1] <= 1 + 22 * PERIOD / 1e9
    assert counts[-1] == counts[-9]  # and then there is nothing to do


def test_an_object_that_is_back_is_due_at_its_old_scale_too(small: PanoTracker) -> None:
    batch = live_batch(small)
    item, bank, reach = copy.deepcopy(batch.objects[0]), batch.bank, batch.bank.mask_reach
    due: list[bool] = []
    for tenth in range(40):  # seen at first, from 1.0 s to 2.5 s not, and for 0.3 s from 3.0 s on
        if not (10 <= tenth < 25 or 30 <= tenth < 33):
            item.motion.state, item.motion.last_seen = TrackState.VISIBLE, tenth * PERIOD
        else:
            item.motion.state = TrackState.OCCLUDED
        due.append(bool(due_rows([item], bank, reach, tenth * PERIOD)))
    assert [tenth for tenth, now in enumerate(due) if now] == [25]


def test_a_frame_makes_maps_of_few_objects_anew(small: PanoTracker) -> None:
    batch = live_batch(small)
    items = [copy.deepcopy(batch.objects[0]) for _ in range(3)]
    bank = batch.bank.select(torch.zeros(3, dtype=torch.int64))
    rows = [due_rows(items, bank, 2 * bank.mask_reach, stamp * PERIOD) for stamp in range(3)]
    assert rows == [[0, 1], [2], []]


def test_a_network_that_keeps_no_pixels_makes_no_map_anew() -> None:
    tracker = tracker_of(recreate=False)
    assert follow(tracker, 4 * [True] + 15 * [False] + 6 * [True])[-1] == 0
    kept = tracker_of(recreate=True)
    more = kept.memory_bytes - tracker.memory_bytes
    assert more == 2 * (160 * 160 * 3 + 40 * 40 * 4 + 4 + 8)  # of two prompted frames


@pytest.fixture(scope="module")
def small() -> PanoTracker:
    config = ModelConfig(input_height=96, input_width=96, regions=True, recreate_slots=True, anchors=1)
    tracker = PanoTracker(random_model(4, config=config).eval().requires_grad_(False))
    assert tracker.prompt(picture(), 0, [mask_prompt(100, 50)])[0].success
    return tracker


@torch.inference_mode()
def test_a_map_that_is_made_anew_at_its_own_scale_is_the_same(small: PanoTracker) -> None:
    model, bank = small._pipelines[ViewKind.REGION].model, live_batch(small).bank
    again = recreated(model, bank, bank.mask_reach)
    assert torch.allclose(again.maskmem_features, bank.maskmem_features, atol=1e-4)
    assert again.slot_reach[again.maskmem.valid].tolist() == bank.slot_reach[bank.maskmem.valid].tolist()


@torch.inference_mode()
def test_a_map_that_is_made_anew_is_of_the_present_scale(small: PanoTracker) -> None:
    model, bank = small._pipelines[ViewKind.REGION].model, live_batch(small).bank
    reach, slot = 2 * bank.mask_reach, bank.maskmem.valid
    again = recreated(model, bank, reach)
    assert again.slot_reach[slot].tolist() == reach.tolist()
    read = again.read(reach)
    assert read.tokens_valid is not None and torch.equal(read.maskmem_features, again.maskmem_features)
    assert torch.equal(read.tokens_valid, bank.read(reach).tokens_valid)  # no more is known than before
    away = (read.maskmem_features - bank.read(reach).maskmem_features)[slot].abs().max()
    assert away > 1e-2  # encoded, not resampled
    assert torch.equal(again.maskmem_features[~slot], bank.maskmem_features[~slot])


def test_pixels_of_frames_that_are_forgotten_go(small: PanoTracker) -> None:
    bank = live_batch(small).bank
    assert bank.keyframes.valid.sum() == 1 and bank.keyframe_is_prompt.sum() == 1
    assert not bank.before_newest().keyframes.valid.any()
    assert bank.keyframes.pixels[bank.keyframes.valid].float().std() > 1


def test_keyframes_survive_a_snapshot(small: PanoTracker) -> None:
    bank = live_batch(small).bank
    again: MemoryBank = bank.with_tensors(bank.tensors())
    assert torch.equal(again.keyframes.pixels, bank.keyframes.pixels)
    both = bank.append(again).select(torch.tensor([1]))
    assert torch.equal(both.keyframes.written, bank.keyframes.written)
