"""Copies between host and device in a step: one to the host, two to the device, whatever is tracked."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from panosam2_ros.evaluation.bench_nano import render_frames, start_tracker
from panosam2_ros.evaluation.bench_official import StillPlanner, same_tracker
from panosam2_ros.evaluation.transfers import Transfers, count_transfers
from panosam2_ros.model.build import random_model
from panosam2_ros.model.checkpoints import official_config
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking import view_pipeline, view_planner
from panosam2_ros.tracking.competition import Settled
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.search_schedule import SEARCH_EVERY
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.tracking.view_planner import SEARCH_AFTER, RegionPlanner
from panosam2_ros.tracking.view_refinement import MOST_PASSES

SECOND = 10**9
REGIONS = TrackerConfig(view="regions")


@cache
def tracked(objects: int) -> tuple[PanoTracker, tuple[tuple[np.ndarray, int], ...]]:
    """A tracker of the shipped network, and the frames with which it goes on."""
    frames = render_frames(960, objects, 7)
    # islands that are removed from a mask would be uploaded: this network is shown its last mask
    tracker = start_tracker(frames[:4], config=TrackerConfig(min_island=0.0))
    return tracker, tuple((f.image, f.index * SECOND // 10) for f in frames[4:])


def counted(objects: int) -> list[Transfers]:
    tracker, frames = tracked(objects)
    return count_transfers(tracker, frames, partial(same_tracker, tracker))


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing overlaps, and nothing has to be looked at again."""
    monkeypatch.setattr(view_pipeline, "settled_masks", lambda claims: {})
    monkeypatch.setattr(RegionPlanner, "second_looks", lambda *_: [])


@pytest.mark.usefixtures("one_look")
def test_a_step_copies_once_to_the_host_and_computes_as_much_for_any_number_of_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view_planner, "SEARCH_AFTER", 100)  # an object of the scene is lost
    steps = [step for objects in (2, 3, 4) for step in counted(objects)]
    assert {len(step.to_host) for step in steps} == {1}
    assert {len(step.to_device) for step in steps} == {2}  # the image, and what is known of the objects
    assert len({step.operations for step in steps}) == 1 and steps[0].operations > 1000


def test_each_pass_over_a_frame_copies_once_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_pipeline, "settled_masks", lambda claims: {})
    monkeypatch.setattr(RegionPlanner, "second_looks", lambda self, item, view, *_: [view])
    assert {len(step.to_host) for step in counted(2)} == {1 + MOST_PASSES}


def test_official_weights_copy_as_little() -> None:
    model = random_model(0, config=official_config("sam2.1_hiera_tiny", 64, 64)).eval().requires_grad_(False)
    images = [np.random.default_rng(k).integers(0, 255, (128, 256, 3), np.uint8) for k in range(4)]
    tracker = PanoTracker(model, REGIONS, planner=StillPlanner(model))
    tracker.prompt(images[0], 0, [Prompt(box=(90, 40, 130, 80))] * 3)
    frames = [(image, k * SECOND) for k, image in enumerate(images) if k]
    steps = count_transfers(tracker, frames, partial(same_tracker, tracker))
    assert [(len(step.to_host), len(step.to_device)) for step in steps] == [(1, 2)] * 2


def test_masks_that_overlap_are_uploaded_and_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shipped network; SAM 2.1 does not remember what others leave of a mask."""

    def lost(claims: list[Any]) -> dict[int, Settled]:
        return {0: Settled(claims[0].logits, whole=True)} if claims[0] is not None else {}

    monkeypatch.setattr(view_pipeline, "settled_masks", lost)
    for step in counted(3):
        assert len(step.to_host) == 2 and len(step.to_device) > 2


@pytest.mark.usefixtures("one_look")
def test_a_search_for_lost_objects_copies_their_colours_to_the_host_and_nothing_else() -> None:
    tracker, frames = tracked(3)
    gone = [(np.full_like(frames[0][0], 128), (10 + k) * SECOND // 10) for k in range(SEARCH_AFTER + 4)]
    counts = [len(step.to_host) for step in count_transfers(tracker, gone, partial(same_tracker, tracker))]
    assert set(counts) == {1, 2} and counts[-4:].count(2) == 4 // SEARCH_EVERY


def careless_step(read: Any, monkeypatch: pytest.MonkeyPatch) -> list[Transfers]:
    """Steps that also read something of what was found."""
    real = view_pipeline.found_with

    def careless(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        read(result.scores)
        return result

    monkeypatch.setattr(view_pipeline, "found_with", careless)
    return counted(2)


@pytest.mark.usefixtures("one_look")
def test_another_copy_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {len(step.to_host) for step in careless_step(lambda x: x.cpu(), monkeypatch)} == {2}


@pytest.mark.usefixtures("one_look")
@pytest.mark.parametrize("read", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool(x.any())])
def test_what_needs_a_value_is_refused(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        careless_step(read, monkeypatch)
