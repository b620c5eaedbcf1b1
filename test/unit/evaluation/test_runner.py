"""Known methods get known scores, with every frame and in real time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers.fake_videos import FakeVideo, Oracle, moving, score_video, ticking
from panosam2_ros.evaluation.baselines import KeepFirst
from panosam2_ros.evaluation.runner import (
    RealTime,
    SequenceRun,
    mean_J_sphere,
)
from panosam2_ros.evaluation.summary import summarise_results


def test_ground_truth_scores_one_and_no_masks_score_zero() -> None:
    video = FakeVideo(moving(12, 3), {1: 0})
    perfect, nothing = score_video(video, Oracle(video)), score_video(video, Oracle(video, lose=range(12)))
    assert summarise_results([perfect.result]).every.scores["JF_sphere"] == 1
    assert summarise_results([perfect.result]).bearing_error_deg_p95 == pytest.approx(0, abs=1e-9)
    assert summarise_results([nothing.result]).every.scores["JF_sphere"] == 0
    assert summarise_results([nothing.result]).every.pairs == 11  # the prompted frame is not scored
    again = SequenceRun.from_json(json.loads(json.dumps(perfect.to_json())))
    assert again.to_json() == perfect.to_json() and again.result == perfect.result


def test_a_kept_mask_overlaps_as_far_as_the_object_did_not_move() -> None:
    result = score_video(FakeVideo(moving(5, 4), {1: 0}), KeepFirst())
    overlaps = [(16 - 4 * t) / (16 + 4 * t) for t in range(1, 4)] + [0]
    assert [total for _, total in list(result.J_sphere.values())[1:]] == pytest.approx(overlaps)
    assert mean_J_sphere([result], range(2, 4)) == pytest.approx(np.mean(overlaps[1:3]))
    assert mean_J_sphere([result], range(50, 60)) is None


def test_objects_are_prompted_in_their_own_first_frame_after_it_was_stepped() -> None:
    labels = moving(8, 2)
    labels[3:, 2:12, 60:80] = 2
    video = FakeVideo(labels, {1: 0, 2: 3})
    method = Oracle(video)
    scored = score_video(video, method)
    assert method.starts == [(0, [1]), (3, [2])] and method.steps == list(range(8))
    assert [o.visible_object_frames for o in scored.result.objects] == [7, 4]


def test_real_time_drops_frames_and_counts_the_last_prediction_for_them() -> None:
    video = FakeVideo(moving(11, 4, u=20), {1: 0})
    method = Oracle(video)
    # a step takes 0.25 s, as does prompting: frames 0 (free at 0.5), 5 (0.75), 7 (1.0), 10
    result = score_video(video, method, RealTime(10.0), ticking(0.25))
    assert method.steps == [0, 5, 7, 10]
    assert (result.timing.steps, result.timing.dropped) == (4, 7)
    assert result.timing.step_seconds == pytest.approx(1.0)
    stale = {t: t - max(s for s in method.steps if s <= t) for t in range(11)}
    expected = [max(16 - 4 * old, 0) / (16 + 4 * min(old, 4)) for old in stale.values()][1:]
    assert [total for _, total in list(result.J_sphere.values())[1:]] == pytest.approx(expected)


def test_a_fast_method_drops_nothing_and_a_prompted_frame_is_never_dropped() -> None:
    labels = moving(11, 0)
    labels[3:, 2:12, 60:80] = 2
    video = FakeVideo(labels, {1: 0, 2: 3})
    quick, slow = Oracle(video), Oracle(video)
    assert score_video(video, quick, RealTime(10.0), ticking(0.03)).timing.dropped == 0
    score_video(video, slow, RealTime(10.0), ticking(0.25))
    assert slow.starts == [(0, [1]), (3, [2])] and slow.steps[:2] == [0, 3]
