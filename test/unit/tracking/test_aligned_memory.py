"""Memories that are compared with the present view: aligned, and spared where that says nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.tracker_inputs import live_batch, mask_prompt, picture
from panosam2_ros import PanoTracker, Prompt, TrackState
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.propagation import propagate
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.tracking.view import PanoramaView, SearchRegionView, ViewKind
from panosam2_ros.tracking.view_pipeline import FrameTask
from panosam2_ros.tracking.view_planner import ViewPlan

SECOND = 10**9


def network(**options: object) -> PanoSAM2:
    config = ModelConfig(input_height=96, input_width=96, regions=True, **options)  # type: ignore[arg-type]
    return random_model(4, config=config).eval().requires_grad_(False)


def prompted(model: PanoSAM2) -> PanoTracker:
    tracker = PanoTracker(model)
    assert tracker.prompt(picture(), 0, [mask_prompt(100, 50)])[0].success
    return tracker


def test_a_region_reaches_as_far_as_it_shows() -> None:
    region = SearchRegion.around(TargetExtent(lonlat_to_vector(1.0, 0.2), 0.3, 0.3))
    view = SearchRegionView(region)
    outermost = region.directions(501)[250, -1]  # in the middle of the right side
    assert view.reach == pytest.approx(2 * np.tan(angle_between(region.axes[2], outermost) / 2), rel=0.01)
    assert SearchRegionView(region.widest()).reach > 2 * view.reach
    assert PanoramaView().reach == 0


def test_a_tracker_remembers_how_far_views_reached() -> None:
    tracker = prompted(network())
    view = live_batch(tracker).objects[0].last_view
    assert view is not None and view.reach > 0.25  # LEAST_FOV
    bank = live_batch(tracker).bank
    assert bank.slot_reach[bank.maskmem.valid].tolist() == pytest.approx([view.reach])
    assert bank.mask_reach.tolist() == pytest.approx([view.reach])


@torch.inference_mode()
def found(model: PanoSAM2, bank: MemoryBank, factor: float) -> PropagationResult:
    pixels = torch.from_numpy(picture(1, 96, 96)).permute(2, 0, 1)[None].float()
    return propagate(model, bank, model.encode_image(pixels), reach=factor * bank.mask_reach)


def test_a_network_attends_to_maps_and_masks_as_the_present_view_shows_them() -> None:
    model = network()
    bank = live_batch(prompted(model)).bank
    reach = 0.5 * bank.mask_reach  # a view that shows nothing but what was seen
    by_hand = replace(
        bank,
        maskmem_features=bank.read(reach).maskmem_features,
        mask_logits=bank.last_masks(reach, outside=0.0),
    )
    aligned, plain = (found(model, bank, factor).mask_logits for factor in (0.5, 1.0))
    assert torch.allclose(aligned, found(model, by_hand, 1.0).mask_logits, atol=1e-5)
    assert (aligned - plain).abs().max() > 1e-3


def test_a_network_does_not_attend_to_what_was_not_seen() -> None:
    model = network()
    bank = live_batch(prompted(model)).bank
    read = bank.read(2 * bank.mask_reach)
    maps, valid = read.maskmem_features, read.tokens_valid
    assert valid is not None and not valid[bank.maskmem.valid].all()
    noise = torch.where(valid[:, :, None], maps, 5.0)
    pixels = torch.from_numpy(picture(1, 96, 96)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        features = model.encode_image(pixels)
        expected, spoiled = (
            model.condition(features, replace(read, maskmem_features=x, tokens_valid=v))
            for x, v in ((maps, valid), (noise, valid))
        )
        seen = model.condition(features, replace(read, maskmem_features=noise, tokens_valid=None))
    assert torch.allclose(expected, spoiled, atol=1e-5)
    assert (expected - seen).abs().max() > 1e-3


def test_a_network_whose_memory_is_not_aligned_does_not_look_at_the_reach() -> None:
    model = network(align_memory=False)
    bank = live_batch(prompted(model)).bank
    assert torch.equal(found(model, bank, 2.0).mask_logits, found(model, bank, 1.0).mask_logits)


def tracked(**options: object) -> PanoTracker:
    """Return a tracker that has followed a red square in the middle of a grey image for some seconds."""
    model = build_model("panosam2_nano", device="cpu")
    model.config = replace(model.config, **options)  # type: ignore[arg-type]
    tracker, image = PanoTracker(model), scene()
    assert tracker.prompt(image, 0, [Prompt(mask=image[..., 0] > 200)])[0].success
    for index in range(1, 5):
        (track,) = tracker.step(image, index * SECOND).tracks
        assert track.state is TrackState.VISIBLE
    learned = live_batch(tracker).bank.maskmem
    assert (learned.valid & ~learned.cond).sum() > 1
    return tracker


def scene() -> NDArray[np.uint8]:
    image = np.full((256, 512, 3), 90, np.uint8)
    image[110:150, 230:270], image[110:150, 300:340] = (230, 40, 30), (40, 60, 200)
    return image


def test_a_tracker_remembers_when_and_how_frames_were_seen() -> None:
    bank = live_batch(tracked()).bank
    assert sorted(bank.maskmem.stamp[bank.maskmem.valid].tolist()) == [0, 2 * SECOND, 3 * SECOND, 4 * SECOND]
    assert (bank.slot_reach[bank.maskmem.valid] > 0.25).all() and bank.mask_reach > 0.25


def test_an_object_that_was_not_seen_may_be_back_at_any_size() -> None:
    model = network()
    seen = live_batch(prompted(model)).bank
    lost = replace(seen, frame=seen.frame + 1)
    assert (found(model, seen, 2.0).mask_logits != found(model, seen, 1.0).mask_logits).any()
    assert torch.equal(found(model, lost, 2.0).mask_logits, found(model, lost, 1.0).mask_logits)


def test_a_frame_is_remembered_with_the_view_and_the_stamp_in_which_it_was_seen() -> None:
    tracker = tracked()
    batch, pipeline = live_batch(tracker), tracker._pipelines[ViewKind.REGION]
    item = batch.objects[0]
    assert isinstance(item.view, SearchRegionView)
    aside = SearchRegionView(replace(item.view.region, diameter=2 * item.view.region.diameter))
    frame = Frame(scene(), 5 * SECOND)
    task = FrameTask(batch, frame, torch.tensor([False]), batch.bank.appearance)
    result = pipeline._propagate(task, ViewPlan([aside]))
    bank = result.bank
    newest = bank.maskmem.written == bank.frame[:, None] - 1
    assert bank.slot_reach[newest].tolist() == pytest.approx([aside.reach])
    assert bank.maskmem.stamp[newest].tolist() == [5 * SECOND]


def correct(tracker: PanoTracker, columns: slice) -> MemoryBank:
    """Return the memory after a correction in the newest image by the mask of these columns."""
    mask = np.zeros((256, 512), bool)
    mask[110:150, columns] = True
    assert tracker.prompt(scene(), 4 * SECOND, [Prompt(mask=mask, obj_id=1)])[0].success
    return live_batch(tracker).bank


def test_a_correction_of_a_wrong_mask_takes_what_was_learned_with_it() -> None:
    bank = correct(tracked(forget_wrong=True), slice(300, 340))
    assert bank.maskmem.valid.sum() == 2 and bank.maskmem.cond[bank.maskmem.valid].all()
    assert bank.pointers.valid.sum() == 2 and bank.long_count.tolist() == [2]
    kept = bank.slot_ptrs[bank.maskmem.valid]
    assert torch.allclose(bank.long_ptr, kept.mean(0), atol=1e-5)


def test_a_network_that_keeps_everything_keeps_what_a_wrong_mask_taught() -> None:
    bank = correct(tracked(forget_wrong=False), slice(300, 340))
    assert (bank.maskmem.valid & ~bank.maskmem.cond).any() and bank.long_count > 2


def test_a_correction_of_a_mask_that_was_mostly_right_takes_nothing() -> None:
    bank = correct(tracked(forget_wrong=True), slice(232, 276))
    assert (bank.maskmem.valid & ~bank.maskmem.cond).any() and bank.long_count > 2
