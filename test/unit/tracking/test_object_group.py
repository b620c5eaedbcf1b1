"""Prompts on older images: the object comes to the newest through the images in between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.tracker_inputs import live_batch, mask_prompt, picture
from panosam2_ros.model.build import random_model
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.tracker import PanoTracker

FRAMES = 6
SECOND = 10**9


def new_tracker() -> PanoTracker:
    model = random_model(1).eval().requires_grad_(False)
    model.set_input_size(64, 128)
    return PanoTracker(model, TrackerConfig(max_objects=4, min_island=0.0))


def states_equal(a: PanoTracker, b: PanoTracker) -> bool:
    ours, theirs = a.snapshot().bank.tensors(), b.snapshot().bank.tensors()
    return all(torch.allclose(ours[name].float(), theirs[name].float(), atol=1e-5) for name in ours)


def test_who_was_prompted_late_ends_as_if_prompted_in_time() -> None:
    in_time, late = new_tracker(), new_tracker()
    in_time.prompt(picture(0), 0, [mask_prompt(40, 40)])
    for t in range(1, FRAMES):
        in_time.step(picture(t), t)
        late.step(picture(t), t)
    outcome = late.prompt(picture(0), 0, [mask_prompt(40, 40, label="cup")])[0]
    assert outcome.success and outcome.track is not None and outcome.track.state is TrackState.VISIBLE
    assert late.replay_stamp == 0
    for t in range(1, FRAMES):
        (track,) = late.tracks()
        assert (track.obj_id, track.label) == (1, "cup") and track.state is not TrackState.VISIBLE
        late.replay(picture(t), t)
    assert late.replay_stamp is None and states_equal(in_time, late)
    ours, theirs = (tracker.step(picture(9), 9) for tracker in (late, in_time))
    assert (ours.labels == theirs.labels).all()


def test_others_do_not_notice_and_ids_stay_in_order() -> None:
    tracker, alone = new_tracker(), new_tracker()
    for t in range(3):
        for each in (tracker, alone):
            each.step(picture(t), t)
    alone.prompt(picture(2), 2, [mask_prompt(90, 40)])
    tracker.prompt(picture(0), 0, [mask_prompt(40, 40)])
    tracker.prompt(picture(2), 2, [mask_prompt(90, 40)])
    assert [track.obj_id for track in tracker.tracks()] == [1, 2]
    for t in (3, 4):
        tracker.step(picture(t), t)
        alone.step(picture(t), t)
    assert torch.allclose(live_batch(tracker).bank.mask_logits, live_batch(alone).bank.mask_logits, atol=1e-6)
    for t in (2, 4):
        tracker.replay(picture(t), t)
    assert tracker.replay_stamp is None and [k.obj_id for k in tracker._live.objects] == [1, 2]
    assert torch.allclose(
        live_batch(tracker).bank.mask_logits[1:], live_batch(alone).bank.mask_logits, atol=1e-6
    )


def test_a_late_correction_replaces_memory_when_it_has_come_to_the_newest() -> None:
    tracker = new_tracker()
    tracker.prompt(picture(0), 0, [mask_prompt(40, 40, label="cup")])
    for t in range(1, 4):
        tracker.step(picture(t), t)
    before = live_batch(tracker).bank.mask_logits.clone()
    assert tracker.prompt(picture(1), 1, [mask_prompt(60, 50, obj_id=1)])[0].success
    assert tracker.replay_stamp == 1 and torch.equal(live_batch(tracker).bank.mask_logits, before)
    assert tracker.tracks()[0].label == "cup"
    again = tracker.prompt(picture(3), 3, [mask_prompt(70, 50, obj_id=1)])[0]
    assert not again.success and "call again in a moment" in again.message  # it would be lost
    for t in (2, 3):
        tracker.replay(picture(t), t)
    assert len(tracker.tracks()) == 1 and not torch.equal(live_batch(tracker).bank.mask_logits, before)


@pytest.mark.parametrize("replaced", [True, False])
def test_motion_of_what_was_corrected_late_is_that_of_the_correction(replaced: bool) -> None:
    tracker = new_tracker()
    for t in range(3):  # to the right, in every image
        prompt = mask_prompt(40 + 8 * t, 40, obj_id=min(t, 1))
        tracker.step(picture(t), t * SECOND)
        tracker.prompt(picture(t), t * SECOND, [prompt])
    tracker.step(picture(3), 3 * SECOND)
    given = mask_prompt(180, 40, obj_id=1, label="cup", replace=replaced)
    assert tracker.prompt(picture(2), 2 * SECOND, [given])[0].success
    assert tracker.snapshot().objects[0].label == "cup" and tracker._live.objects[0].label == ""
    tracker.merge_replayed(everything=True)
    (track,) = tracker.tracks()
    assert track.label == "cup" and track.bearing.direction[0] > 0.5  # there, on the right
    assert np.isnan(track.angular_velocity).all() == replaced


def test_who_is_behind_can_be_removed_and_remembered_but_not_corrected() -> None:
    tracker = new_tracker()
    for t in range(3):
        tracker.step(picture(t), t)
    tracker.prompt(picture(0), 0, [mask_prompt(40, 40), mask_prompt(80, 40)])
    refused = tracker.prompt(picture(2), 2, [mask_prompt(40, 40, obj_id=1)])[0]
    assert not refused.success and "call again in a moment" in refused.message
    assert [item.obj_id for item in tracker.snapshot().objects] == [1, 2]
    assert tracker.remove([1]) == [1] and [t.obj_id for t in tracker.tracks()] == [2]
    tracker.merge_replayed(everything=True)
    assert tracker.replay_stamp is None and len(live_batch(tracker).bank) == 1
    tracker.prompt(picture(1), 1, [mask_prompt(40, 40)])
    tracker.reset()
    assert tracker.replay_stamp is None and tracker.tracks() == ()


def test_limits_count_who_is_behind() -> None:
    tracker = new_tracker()
    for t in range(2):
        tracker.step(picture(t), t)
    tracker.prompt(picture(0), 0, [mask_prompt(20 * i, 40) for i in range(3)])
    outcomes = tracker.prompt(picture(1), 1, [mask_prompt(10, 40), mask_prompt(50, 40)])
    assert [o.success for o in outcomes] == [True, False] and "max_objects" in outcomes[1].message
    with pytest.raises(ValueError, match="width/height"):
        tracker.replay(picture(1, 64, 64), 1)
