"""PanoTracker: ids, states, bounded memory; an object is tracked by a model that knows how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.tracker_inputs import live_batch, mask_prompt, picture
from panosam2_ros.memory.frame_memory import FrameMemory
from panosam2_ros.model.build import random_model
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.propagation import propagate
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.tracking.tracker import PanoTracker, Prompt, TrackerConfig

Image = NDArray[np.uint8]
SECOND = 10**9


@pytest.fixture
def tracker() -> PanoTracker:
    model = random_model(1).eval().requires_grad_(False)
    model.set_input_size(128, 256)
    return PanoTracker(model, TrackerConfig(max_objects=4))


def test_a_mask_prompt_is_taken_as_it_is(tracker: PanoTracker) -> None:
    outcome = tracker.prompt(picture(), 5, [mask_prompt(240, 40, label="cup")])[0]
    assert outcome.success and outcome.track is not None
    track = outcome.track
    assert (track.obj_id, track.label, track.state, track.last_seen) == (1, "cup", TrackState.VISIBLE, 5)
    assert abs(track.bearing.direction[0]) < 0.02 and track.bearing.direction[2] < -0.9  # on the seam
    assert track.bearing.solid_angle == pytest.approx(24 * 32 * (2 * np.pi / 256) ** 2, rel=0.15)


def test_every_known_object_is_in_every_frame_and_masks_are_never_stale(tracker: PanoTracker) -> None:
    tracker.prompt(picture(), 0, [mask_prompt(240, 40), mask_prompt(100, 60)])
    for stamp in range(1, 5):
        frame = tracker.step(picture(stamp), stamp * 2 * SECOND)
        assert frame.stamp == stamp * 2 * SECOND and frame.labels.shape == (128, 256)
        assert [t.obj_id for t in frame.tracks] == [1, 2]
        visible = {t.obj_id for t in frame.tracks if t.state is TrackState.VISIBLE}
        assert set(np.unique(frame.labels)) - {0} <= visible
        for track in frame.tracks:
            assert (track.mask_iou > 0) == (track.state is TrackState.VISIBLE)
            assert (track.last_seen == frame.stamp) == (track.state is TrackState.VISIBLE)


def test_masks_come_at_the_chosen_width_whatever_the_image_is(tracker: PanoTracker) -> None:
    small = PanoTracker(tracker.model, TrackerConfig(mask_width=256))
    pixels = picture(width=1920, height=960)
    assert small.step(pixels, 0).labels.shape == (128, 256)
    mask = np.zeros((960, 1920), bool)
    mask[300:500, 1700:] = True
    whole, reduced = (t.prompt(pixels, 0, [Prompt(mask=mask)])[0].track for t in (tracker, small))
    assert whole is not None and reduced is not None
    assert whole.bearing.direction @ reduced.bearing.direction > np.cos(np.radians(0.5))
    assert reduced.bearing.solid_angle == pytest.approx(whole.bearing.solid_angle, rel=0.1)
    assert small.step(pixels, SECOND).labels.shape == (128, 256)
    with pytest.raises(ValueError, match="at least 64, got 3"):
        TrackerConfig(mask_width=3)


def test_islands_go_while_tracking_and_stay_in_a_mask_that_was_given(
    tracker: PanoTracker, monkeypatch
) -> None:
    prompt = mask_prompt(240, 40)
    assert prompt.mask is not None
    prompt.mask[80:92, 100:112] = True  # a sixth of the other part
    given = tracker.prompt(picture(), 0, [prompt])[0].track
    assert given is not None and abs(given.bearing.direction[0]) > 0.02  # both parts
    found = torch.full((1, 1, 32, 64), -5.0)
    found[0, 0, 10:16, 60:] = found[0, 0, 20:22, 25:27] = 5.0

    def as_found(*arguments: Any, **options: Any) -> PropagationResult:
        result = propagate(*arguments, **options)
        memory = FrameMemory(
            maskmem_features=result.bank.maskmem_features[:, 0],
            obj_ptrs=result.bank.long_ptr,
            mask_logits=found,
            centre=result.bank.centre,
            keep=torch.tensor([True]),
            cond=torch.tensor([False]),
            present=torch.tensor([True]),
            confidence=torch.ones(1),
        )
        bank = result.bank.write(memory)
        sure = torch.full((1,), 5.0)
        return replace(result, mask_logits=found, fine_logits=found, scores=sure, bank=bank)

    monkeypatch.setattr("panosam2_ros.tracking.view_pipeline.propagate", as_found)
    seen = tracker.step(picture(1), 1).tracks[0]
    assert abs(seen.bearing.direction[0]) < 0.5 and seen.bearing.direction[2] < 0  # the larger part
    kept = live_batch(tracker).bank.mask_logits
    assert (kept[0, 0, 10:16, 60:] > 0).all() and (kept[0, 0, 20:22, 25:27] < 0).all()


def test_good_prompts_take_effect_beside_bad_ones(tracker: PanoTracker) -> None:
    prompts = [Prompt(), mask_prompt(10, 10), Prompt(obj_id=7, box=(1, 1, 9, 9)), mask_prompt(90, 10)]
    outcomes = tracker.prompt(picture(), 0, prompts)
    assert [o.success for o in outcomes] == [False, True, False, True]
    assert "not known" in outcomes[2].message
    assert [t.obj_id for t in tracker.tracks()] == [1, 2]


def test_ids_are_not_reused_until_a_reset(tracker: PanoTracker) -> None:
    tracker.prompt(picture(), 0, [mask_prompt(10, 10), mask_prompt(90, 10)])
    assert tracker.remove([2, 9]) == [2]
    tracker.prompt(picture(), 0, [mask_prompt(50, 10)])
    assert [t.obj_id for t in tracker.tracks()] == [1, 3]
    assert tracker.remove([]) == []
    epoch = tracker.epoch
    tracker.reset()
    assert tracker.tracks() == () and tracker.epoch == epoch + 1 and tracker.memory_bytes == 0
    tracker.prompt(picture(), 0, [mask_prompt(50, 10)])
    assert [t.obj_id for t in tracker.tracks()] == [1]


def test_no_more_objects_than_allowed_and_no_id_beyond_16_bits(tracker: PanoTracker) -> None:
    outcomes = tracker.prompt(picture(), 0, [mask_prompt(40 * i, 10) for i in range(5)])
    assert [o.success for o in outcomes] == [True] * 4 + [False]
    assert "max_objects" in outcomes[4].message
    tracker.reset()
    tracker._next_id = 65535
    outcomes = tracker.prompt(picture(), 0, [mask_prompt(10, 10), mask_prompt(90, 10)])
    assert [o.success for o in outcomes] == [True, False]
    assert "reset" in outcomes[1].message and tracker.tracks()[0].obj_id == 65535


def test_what_replaces_an_object_takes_no_room(tracker: PanoTracker) -> None:
    tracker.prompt(picture(), 0, [mask_prompt(40 * i, 10) for i in range(3)])
    again = mask_prompt(60, 50, obj_id=1, replace=True)
    outcomes = tracker.prompt(picture(), 0, [again, mask_prompt(200, 60), mask_prompt(100, 60)])
    assert [o.success for o in outcomes] == [True, True, False]


def test_what_replaces_an_object_has_no_motion_yet(tracker: PanoTracker) -> None:
    for t in range(2):
        tracker.prompt(picture(), t * SECOND, [mask_prompt(40 + 4 * t, 10, obj_id=t, replace=t > 0)])
    assert np.isnan(tracker.tracks()[0].angular_velocity).all()


@pytest.mark.parametrize("width", [0, 128])
def test_an_outcome_has_the_pixels_of_its_object(tracker: PanoTracker, width: int) -> None:
    tracker = PanoTracker(tracker.model, TrackerConfig(mask_width=width))
    prompts = [mask_prompt(240, 40), mask_prompt(100, 60)]
    for prompt, outcome in zip(prompts, tracker.prompt(picture(), 0, prompts), strict=True):
        wanted = prompt.mask[::2, ::2] if width else prompt.mask
        assert outcome.mask is not None and outcome.mask.shape == wanted.shape
        assert (outcome.mask & wanted).sum() / (outcome.mask | wanted).sum() > 0.8
    assert tracker.prompt(picture(), 0, [Prompt(obj_id=9)])[0].mask is None


def test_panoramas_of_any_accepted_ratio_are_tracked_at_any_mask_width(tracker: PanoTracker) -> None:
    tracker = PanoTracker(tracker.model, TrackerConfig(mask_width=1024))
    frame = tracker.step(np.zeros((100, 190, 3), np.uint8), 0)  # 190/100 = 1.9, 1024/539 is less
    assert frame.labels.shape == (538, 1024)


def test_correcting_one_object_leaves_the_others_alone(tracker: PanoTracker) -> None:
    tracker.prompt(picture(), 0, [mask_prompt(10, 10), mask_prompt(90, 10), mask_prompt(180, 10)])
    before = live_batch(tracker).bank
    point = Prompt(obj_id=2, label="door", points=np.array([[100.0, 20.0]]), point_labels=np.array([1]))
    outcome = tracker.prompt(picture(), 1, [point])[0]
    assert outcome.success or "nothing was found" in outcome.message
    for row in (0, 2):
        assert (live_batch(tracker).bank.maskmem_features[row] == before.maskmem_features[row]).all()
        assert (live_batch(tracker).bank.obj_ptrs[row] == before.obj_ptrs[row]).all()
    replaced = tracker.prompt(picture(), 1, [mask_prompt(60, 50, obj_id=2, replace=True)])[0]
    assert replaced.success and [t.obj_id for t in tracker.tracks()] == [1, 2, 3]
    assert int(live_batch(tracker).bank.maskmem.valid[1].sum()) == 1
    assert "prompted twice" in tracker.prompt(picture(), 1, [point, point])[1].message


def test_memory_per_object_is_constant_over_a_thousand_frames() -> None:
    model = random_model(1).eval().requires_grad_(False)
    model.set_input_size(32, 64)
    tracker = PanoTracker(model)
    image = picture(0, 64, 32)
    mask = np.zeros((32, 64), bool)
    mask[8:24, 60:] = mask[8:24, :8] = True
    tracker.prompt(image, 0, [Prompt(mask=mask)])
    size = tracker.memory_bytes
    for i in range(1000):
        tracker.step(image, i * SECOND // 10)
    assert tracker.memory_bytes == size and len(tracker.tracks()) == 1


def test_an_image_that_is_no_panorama_is_refused_and_nothing_is_forgotten(tracker: PanoTracker) -> None:
    tracker.prompt(picture(), 0, [mask_prompt(10, 10)])
    with pytest.raises(ValueError, match="vertical_fov"):
        tracker.step(picture(0, 200, 128), 1)
    assert len(tracker.step(picture(), 2).tracks) == 1
