"""Second looks at a frame: what they show, how many there are, and what the shipped network gains by them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.tracker_inputs import mask_prompt, picture
from panosam2_ros.datasets.ground_truth_prompts import prompt_from_mask
from panosam2_ros.datasets.staged_scenes import open_staged
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.tracking import view_pipeline
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.tracking.view_refinement import MOST_PASSES, centred_region, surrounding_regions

SIZE = 80
FRAME = 10**8


def region(lon: float = 3.1, lat: float = 0.3, diameter: float = 0.3) -> SearchRegion:
    return SearchRegion.around(TargetExtent(lonlat_to_vector(lon, lat), diameter, diameter))


def square(x: int, y: int, side: int = 20) -> NDArray[np.bool_]:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[max(y, 0) : y + side, max(x, 0) : x + side] = True
    return mask


def test_what_lies_in_the_middle_needs_no_other_view() -> None:
    assert centred_region(region(), square(30, 30)) is None
    assert centred_region(region(), square(44, 22)) is None


@pytest.mark.parametrize(("x", "y"), [(-8, 30), (30, 68), (58, 30), (62, 62)])
def test_what_touches_the_edge_or_lies_off_the_middle_comes_to_the_middle(x: int, y: int) -> None:
    mask = square(x, y)
    before, target = region(), region().target(mask)
    centred = centred_region(before, mask)
    assert centred is not None and target is not None
    assert angle_between(centred.axes[2], target.direction) < 1e-6
    assert centred.unseen == 0 and centred.fov >= before.fov
    assert centred_region(centred, square(30, 30)) is None


def test_what_is_cut_off_is_looked_at_again_though_its_middle_is_near() -> None:
    wide = np.zeros((SIZE, SIZE), bool)
    wide[30:50, :62] = True
    centred = centred_region(region(), wide)
    assert centred is not None and centred.fov > region().fov
    wide[:, 0] = False
    assert centred_region(region(), wide) is None


def test_what_fills_the_widest_region_has_no_better_view() -> None:
    widest = region(diameter=2.0)
    assert centred_region(widest, np.ones((SIZE, SIZE), bool)) is None


def test_regions_round_a_missing_object_show_all_directions_near_it() -> None:
    first = region(diameter=0.1)
    others = surrounding_regions(first, first.axes[2])
    rng = np.random.default_rng(2)
    for _ in range(200):
        turn, away = rng.uniform(0, 2 * math.pi), rng.uniform(0, math.radians(20))
        local = [math.sin(away) * math.cos(turn), math.sin(away) * math.sin(turn), math.cos(away)]
        place = np.array(local) @ first.axes
        shown = [one.project(place, SIZE) for one in (first, *others)]
        assert any((at > 0.1 * SIZE).all() and (at < 0.9 * SIZE).all() for at in shown)


def test_the_predicted_place_is_one_of_them_where_it_differs() -> None:
    first, predicted = region(), lonlat_to_vector(2.5, 0.3)
    others = surrounding_regions(first, predicted)
    assert angle_between(others[0].axes[2], predicted) < 1e-9
    assert len(others) == len(surrounding_regions(first, first.axes[2])) + 1


@pytest.mark.parametrize(("refines", "passes"), [(True, 1 + MOST_PASSES), (False, 1)])
def test_passes_over_a_frame_are_bounded(monkeypatch: pytest.MonkeyPatch, refines: bool, passes: int) -> None:
    config = ModelConfig(input_height=64, input_width=64, regions=True, refine_views=refines)
    tracker = PanoTracker(random_model(3, config=config).eval().requires_grad_(False))
    calls: list[int] = []
    real = view_pipeline.propagate

    def at_the_edge(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        calls.append(len(result.scores))
        result.scores.fill_(5.0)
        result.fine_logits.fill_(-5.0)
        result.fine_logits[..., -3:] = 5.0
        return result

    monkeypatch.setattr(view_pipeline, "propagate", at_the_edge)
    tracker.prompt(picture(), 0, [mask_prompt(60, 40), mask_prompt(100, 60)])
    tracker.step(picture(1), FRAME)
    assert len(calls) == passes and set(calls) == {2}


@pytest.mark.parametrize("name", ["jump-15-1", "jump-15-5", "jump-20-1"])
def test_the_shipped_network_holds_what_jumps_right_after_the_prompt(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert held(name) >= 10
    monkeypatch.setattr(view_pipeline, "MOST_PASSES", 0)
    assert held(name) <= 5


def held(name: str, frames: int = 12) -> int:
    """Track a staged scene; return the frames after the prompt in which the object is found."""
    sequence = open_staged(name)
    tracker, count = PanoTracker(build_model("panosam2_nano")), 0
    tracker.prompt(sequence.image(0), 0, [prompt_from_mask(sequence.prompt_mask(1), "box")])
    for t in range(1, frames + 1):
        frame, truth = tracker.step(sequence.image(t), t * FRAME), np.asarray(sequence.labels(t)) == 1
        found = frame.labels == 1
        seen = frame.tracks[0].state is TrackState.VISIBLE
        count += seen and (found & truth).sum() > 0.5 * (found | truth).sum()
    return count
