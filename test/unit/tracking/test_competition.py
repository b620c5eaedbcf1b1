"""A pixel that several masks claim goes to one object; things that cross keep their masks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.spherical_shapes import disc
from helpers.tracker_inputs import live_batch, mask_prompt, picture, planner_of
from panosam2_ros.datasets.ground_truth_prompts import prompt_from_mask
from panosam2_ros.datasets.staged_scenes import SCENE_FRAMES, open_staged
from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import lonlat_to_vector, rotation_matrix
from panosam2_ros.geometry.window import Logits
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.tracking import competition, view_pipeline
from panosam2_ros.tracking.competition import LONGEST_MEETING, Claim, claims_of, moved_mask, settled_masks
from panosam2_ros.tracking.motion_model import BearingMotionModel, TrackState
from panosam2_ros.tracking.propagation_result import HostAnswer
from panosam2_ros.tracking.track import TrackedObject, WholeMask
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.tracking.view import SearchRegionView
from panosam2_ros.tracking.view_planner import ViewPlan

SIZE, FRAME = 80, 10**8  # pixels, ns
GRID = Equirect(1024, 512)
LON = 3.1  # so that what is claimed lies across the seam


def region(lon: float, diameter: float = 0.4) -> SearchRegion:
    return SearchRegion.around(TargetExtent(lonlat_to_vector(lon, 0.1), diameter, diameter))


def seen_in(one: SearchRegion, lon: float, radius: float, logit: float = 5.0) -> Logits:
    """Logits of a disc on the sphere, as a region shows it."""
    mask = one.mask(disc(lon, 0.1, radius, GRID), SIZE)
    return np.where(mask, logit, -logit).astype(np.float32)


def test_masks_that_do_not_meet_stay() -> None:
    left, right = region(LON - 0.3), region(LON + 0.3)
    claims = [
        Claim.of(left, seen_in(left, LON - 0.3, 0.2), None),
        Claim.of(right, seen_in(right, LON + 0.3, 0.2), None),
    ]
    assert settled_masks(claims) == {}
    assert settled_masks([claims[0], None]) == {} and settled_masks([None]) == {}


def test_two_masks_of_both_things_become_one_of_each() -> None:
    views = region(LON - 0.15), region(LON + 0.15)
    places = (LON - 0.15, LON + 0.15)
    claims = []
    for view, place in zip(views, places, strict=True):
        both = np.maximum(seen_in(view, places[0], 0.15), seen_in(view, places[1], 0.15))
        claims.append(Claim.of(view, both, seen_in(view, place, 0.15)))
    settled = settled_masks(claims)
    assert sorted(settled) == [0, 1]
    for row, (view, place) in enumerate(zip(views, places, strict=True)):
        own, true = settled[row].logits > 0, seen_in(view, place, 0.15) > 0
        assert (own & true).sum() > 0.95 * (own | true).sum()
    turned = settled_masks(claims[::-1])
    assert (turned[1].logits == settled[0].logits).all() and (turned[0].logits == settled[1].logits).all()


def test_a_louder_network_does_not_take_what_belongs_to_another() -> None:
    view = region(LON)
    large, small = seen_in(view, LON, 0.3, 30.0), seen_in(view, LON, 0.08, 3.0)
    hole = np.where(small > 0, -6.0, large).astype(np.float32)
    settled = settled_masks([Claim.of(view, large, hole), Claim.of(view, small, small)])
    assert list(settled) == [0]
    assert ((settled[0].logits > 0) == (hole > 0)).all()


def test_of_an_object_that_is_hidden_nothing_is_left() -> None:
    view = region(LON)
    front, behind = seen_in(view, LON, 0.2), seen_in(view, LON + 0.01, 0.2)
    settled = settled_masks([Claim.of(view, front, front), Claim.of(view, behind, None)])
    assert list(settled) == [1] and not (settled[1].logits > 0).any()


def test_a_vetoed_mask_takes_no_pixels_and_is_freed_of_those_of_others() -> None:
    view = region(LON)
    loud, other = seen_in(view, LON, 0.3, 30.0), seen_in(view, LON + 0.1, 0.1, 1.0)
    settled = settled_masks([Claim.of(view, loud, loud, vetoed=True), Claim.of(view, other, None)])
    assert list(settled) == [0] and settled[0].whole
    assert ((settled[0].logits > 0) == ((loud > 0) & (other <= 0))).all()


def test_what_others_leave_of_an_object_says_nothing_of_its_motion() -> None:
    view = region(LON)
    front, behind = seen_in(view, LON, 0.15), seen_in(view, LON + 0.15, 0.15)
    union = np.maximum(front, behind)
    (left,) = settled_masks([Claim.of(view, front, front), Claim.of(view, union, behind)]).values()
    assert not left.whole and (left.logits > 0).any()


@pytest.mark.parametrize("diameter", [0.3, 0.4, 0.6])
def test_a_mask_moves_to_where_the_object_should_be_at_the_present_scale(diameter: float) -> None:
    before, now = region(LON), region(LON + 0.2, diameter)
    last = seen_in(before, LON + 0.05, 0.12)[::2, ::2]
    moved = moved_mask(last, before, now, lonlat_to_vector(LON + 0.25, 0.1), SIZE)
    true = seen_in(now, LON + 0.25, 0.12) > 0
    assert moved is not None
    assert ((moved > 0) & true).sum() > 0.8 * ((moved > 0) | true).sum()
    assert moved_mask(-np.abs(last), before, now, lonlat_to_vector(LON, 0.1), SIZE) is None


@pytest.mark.parametrize("turn", [0.0, 0.07])
def test_a_mask_that_others_cut_is_expected_where_the_whole_one_has_moved(turn: float) -> None:
    """Not where the rest of it was: the object goes on at its speed, and the camera turns."""
    speed, rotation, view = 0.04, rotation_matrix([0.0, turn, 0.0]), region(LON)
    shown = SearchRegionView(view)
    item = TrackedObject(1, "", BearingMotionModel(), shown, shown)
    for t in range(9):
        item.rotate(rotation)
        lon = LON + (speed + turn) * (t - 8) + (0.0 if t < 5 else 0.1)  # the rest lies aside from t = 5 on
        seen = Bearing(lonlat_to_vector(lon, 0.1), 1e-4 * np.eye(2), 0.3, 0.3, 0.07)
        item.motion.update(t * FRAME, seen, whole=t < 5)
        if t == 4:
            item.whole = WholeMask(t * FRAME, seen_in(view, LON, 0.15), shown, seen.direction)
    item.rotate(rotation)
    rest, nothing = seen_in(view, LON + 0.1, 0.05), np.full((2, SIZE, SIZE), -1.0, np.float32)
    found = nothing.copy()
    found[:, 0, 0] = 1.0
    sure = np.full(2, 5.0, np.float32)
    answer = HostAnswer(found, np.stack([rest, rest]), sure, sure, sure)
    true = seen_in(view, LON + speed + turn, 0.15) > 0

    def expected() -> NDArray[np.bool_]:
        claim = claims_of([item, item], [shown, shown], answer, 9 * FRAME)[0]
        assert claim is not None
        return np.asarray(claim.strength - found[0] > 0)

    own = expected()
    assert (own & true).sum() > 0.8 * (own | true).sum()
    assert item.whole is not None  # but not for ever
    item.whole = replace(item.whole, stamp=9 * FRAME - round((LONGEST_MEETING + 0.1) * 1e9))
    assert 0 < expected().sum() < 0.3 * true.sum()


@pytest.mark.parametrize("name", ["crossing-like-fast-0", "crossing-unlike-slow-0"])
def test_the_shipped_network_keeps_apart_what_crosses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert min(overlaps(name)) > 0.7
    monkeypatch.setattr(view_pipeline, "settled_masks", lambda claims: {})
    assert min(overlaps(name)) < 0.7


def test_look_alikes_that_cover_each_other_go_on_as_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "crossing-like-medium-0"
    assert min(overlaps(name, "panosam2_mobile")) > 0.8
    monkeypatch.setattr(competition, "LONGEST_MEETING", 0.0)
    assert min(overlaps(name, "panosam2_mobile")) < 0.5


def overlaps(name: str, model: str = "panosam2_nano") -> list[float]:
    """Track both objects of a staged scene; return their mean IoU over the last eight frames."""
    sequence = open_staged(name)
    tracker = PanoTracker(build_model(model))
    prompts = [prompt_from_mask(sequence.prompt_mask(obj_id), "mask") for obj_id in (1, 2)]
    tracker.prompt(sequence.image(0), 0, prompts)
    found: list[list[float]] = [[], []]
    for t in range(1, SCENE_FRAMES):
        labels, truth = tracker.step(sequence.image(t), t * 10**8).labels, np.asarray(sequence.labels(t))
        for k, own in enumerate(found):
            ours, theirs = labels == k + 1, truth == k + 1
            own.append(float((ours & theirs).sum() / max((ours | theirs).sum(), 1)))
    return [float(np.mean(own[-8:])) for own in found]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_was_found_elsewhere_and_is_not_the_object_stays_so(
    elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a mask in its own place is judged again by its colours once others have taken their pixels."""
    config = ModelConfig(
        input_height=64, input_width=64, regions=True, colour_evidence=1e-3, colour_likeness=0.0
    )
    tracker = PanoTracker(random_model(3, config=config).eval().requires_grad_(False))
    tracker.prompt(picture(), 0, [mask_prompt(60, 40), mask_prompt(70, 40)])
    view, real = live_batch(tracker).objects[0].view, view_pipeline.propagate
    plan = ViewPlan([view, view], [False, elsewhere])
    monkeypatch.setattr(planner_of(tracker), "plan", lambda group, frame: plan)
    monkeypatch.setattr(planner_of(tracker), "second_looks", lambda *_: [])

    def both_claim(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        result.prediction.object_score_logits.fill_(5.0)
        result.scores.copy_(torch.tensor([5.0, -10.0]))
        result.fine_logits.fill_(-5.0)
        result.fine_logits[:, :, 4:12, 4:8] = 5.0
        result.fine_logits[1, :, 4:12, 8:12] = 5.0
        return result

    monkeypatch.setattr(view_pipeline, "propagate", both_claim)
    states = [track.state for track in tracker.step(picture(1), 10**8).tracks]
    assert states[0] is TrackState.VISIBLE
    assert (states[1] is TrackState.VISIBLE) != elsewhere
