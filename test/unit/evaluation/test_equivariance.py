"""Roll equivariance and cycle consistency of known methods, and of the tracker."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from helpers.fake_videos import FakeVideo, Oracle, Red, moving
from panosam2_ros.datasets.ground_truth_prompts import ground_truth_prompts, prompt_from_mask
from panosam2_ros.evaluation.equivariance import (
    CycleRun,
    RollRun,
    cycle_sequence,
    roll_equivariance,
    roll_sequence,
    rolls,
)
from panosam2_ros.evaluation.method import TrackerMethod


def test_roll_equivariance_of_known_methods() -> None:
    video = FakeVideo(moving(6, 2), {1: 0})
    prompts, columns = ground_truth_prompts(video, "box"), ((32,), (45,))
    perfect = roll_sequence(video, Red, prompts, columns)
    assert roll_equivariance([perfect]) == (1, 1) and perfect.nothing == 0
    # the block stays left of column 64 until it is rolled by 45: then it is found in part or not at all
    broken = roll_sequence(video, lambda: Red(slice(0, 64)), prompts, columns)
    expected = [max(64 - (20 + 2 * t + 45), 0) / 16 for t in range(1, 6)]
    assert roll_equivariance([broken])[0] == pytest.approx(np.mean(expected))
    blind = roll_sequence(video, lambda: Red(slice(0, 0)), prompts, columns)
    assert roll_equivariance([blind]) == (None, None) and blind.nothing == 10
    assert RollRun.from_json(json.loads(json.dumps(broken.to_json()))) == broken


def test_rolls_are_whole_strides_of_the_trunk_or_arbitrary() -> None:
    assert rolls(960, 512)[0] == (120, 360, 480)
    for width, network in ((960, 512), (640, 512), (1000, 512), (1024, 512), (128, 128)):
        whole, arbitrary = rolls(width, network)
        assert whole and arbitrary and not set(whole) & set(arbitrary)
        assert all(k * network % (32 * width) == 0 and 0 < k < width for k in whole)
        assert all(k * network % (32 * width) for k in arbitrary)


def test_the_tracker_follows_rolls_by_whole_strides(model) -> None:
    video = FakeVideo(moving(3, 2), {1: 0})
    runs = roll_sequence(
        video, lambda: TrackerMethod(model, 10.0), ground_truth_prompts(video, "mask"), ((32, 64), ())
    )
    assert sum(pairs for pairs, _ in runs.by_columns.values()) + runs.nothing == 4
    for pairs, total in runs.by_columns.values():
        assert total == pytest.approx(pairs, abs=0.01)


def test_cycle_consistency_of_known_methods() -> None:
    video = FakeVideo(moving(5, 4), {1: 0})
    assert cycle_sequence(video, Red(), ground_truth_prompts(video, "box")).objects[0].iou == 1
    given = cycle_sequence(video, Oracle(video, lose=[9]), ground_truth_prompts(video, "mask"))
    assert given.frames == 5 and (given.objects[0].iou, given.objects[0].found) == (0, 7 / 8)
    assert CycleRun.from_json(json.loads(json.dumps(given.to_json()))) == given


def test_a_refused_prompt_is_reported_and_counts_as_missing(model) -> None:
    video = FakeVideo(moving(3, 0), {1: 0})
    with_nan = {0: {1: dataclasses.replace(prompt_from_mask(video.prompt_mask(1), "box"), box=(5, 9, 9, 5))}}
    refused = cycle_sequence(video, TrackerMethod(model, 10.0), with_nan)
    assert refused.objects == () and "no area" in refused.refused[1]
