"""Scores of sequences: which object-frames count, and for what."""

from __future__ import annotations

import math

import numpy as np
import pytest
from vos_benchmark.evaluator import Evaluator

from helpers.scored_sequences import HERE, SMALL, THERE, labels
from panosam2_ros.evaluation.metrics import MEASURES, MaskScores
from panosam2_ros.evaluation.results import EVERY, SequenceResult
from panosam2_ros.evaluation.sequence_score import BearingReport, ScoredFrame, SequenceScore, relabel
from panosam2_ros.evaluation.summary import summarise_results
from panosam2_ros.geometry.sphere import rotation_matrix

FORWARD = np.array([0.0, 0.0, 1.0])


NOTHING = labels()


def one_object(*frames: ScoredFrame, **options: object) -> SequenceResult:
    """Score a sequence in which object 1 is prompted in the first of its frames."""
    score = SequenceScore("s", SMALL, {1: 0}, **options)
    for index, frame in enumerate(frames):
        score.add(index, frame)
    return score.result()


def test_sequence_means_equal_vos_benchmark() -> None:
    """Means per object, absent frames included, without the first and the last frame."""
    rng = np.random.default_rng(3)
    evaluator, score = Evaluator(), SequenceScore("s", SMALL, {1: 0, 2: 0})
    for index in range(12):
        truth, predicted = np.zeros((2, 16, 32), np.uint16)
        for image in (truth, predicted):
            for obj_id in (1, 2):
                v, u = rng.integers(0, 10, 2)
                if rng.random() < 0.7 and (obj_id == 1 or index > 3):
                    image[v : v + 6, u : u + 9] = obj_id
        score.add(index, ScoredFrame(truth, predicted))
        if 0 < index < 11:
            evaluator.feed_frame(predicted.astype(np.uint8), truth.astype(np.uint8))
    iou, boundary_f = evaluator.conclude()
    summary = summarise_results([score.result()])
    assert summary.J_davis == pytest.approx(np.mean(list(iou.values())) / 100, abs=1e-9)
    assert summary.F_davis == pytest.approx(np.mean(list(boundary_f.values())) / 100, abs=1e-9)


def test_prompted_frame_is_left_out_and_missing_masks_count_zero() -> None:
    score = SequenceScore("s", SMALL, {1: 0, 2: 1})
    both = labels(o1=(6, 4), o2=(6, 20))
    assert score.add(0, ScoredFrame(both, NOTHING)) == {}
    assert score.add(1, ScoredFrame(both, both))[1] == MaskScores(*[1.0] * len(MEASURES))
    assert set(score.add(2, ScoredFrame(both, None))) == {1, 2}
    first, second = score.result().objects
    assert (first.visible_object_frames, second.visible_object_frames) == (2, 1)
    assert first.tallies[EVERY].sums == (1.0,) * len(MEASURES)
    assert second.tallies[EVERY].sums == (0.0,) * len(MEASURES)
    assert (first.missed, second.missed) == (1, 1)


def test_false_positives_are_counted_apart() -> None:
    absent = [ScoredFrame(NOTHING, HERE), ScoredFrame(NOTHING, NOTHING), ScoredFrame(NOTHING, None)]
    result = one_object(ScoredFrame(HERE, HERE), ScoredFrame(HERE, HERE), *absent)
    summary = summarise_results([result])
    assert summary.every.scores["J"] == 1
    assert summary.false_positive_rate == pytest.approx(1 / 3)
    assert summary.reported_while_absent == 1
    assert summary.visible_but_wrong_rate == 1 / 2
    assert result.objects[0].absent == 3


def test_frames_keep_their_order() -> None:
    score = SequenceScore("s", SMALL, {1: 0})
    score.add(3, ScoredFrame(HERE, HERE))
    with pytest.raises(ValueError, match="frame 3 of s came after 3"):
        score.add(3, ScoredFrame(HERE, HERE))


def test_bearing_error_is_the_angle_between_report_and_ground_truth() -> None:
    turned = rotation_matrix(np.array([0, math.radians(10), 0])) @ FORWARD
    truth = {1: FORWARD}
    wide = math.radians(10) ** 2 * np.eye(2)  # 10 degrees are one standard deviation
    frames = [
        ScoredFrame(HERE, HERE, truth, {1: BearingReport(True, turned)}),  # prompted
        ScoredFrame(HERE, HERE, truth, {1: BearingReport(True, turned, wide)}),  # 10 degrees
        ScoredFrame(HERE, THERE, truth, {1: BearingReport(True, -FORWARD, wide)}),  # visible, but elsewhere
        ScoredFrame(HERE, HERE, truth, {1: BearingReport(False, FORWARD)}),  # not reported
        ScoredFrame(HERE, HERE, truth, {}),  # not known
        ScoredFrame(NOTHING, NOTHING, {}, {1: BearingReport(True, FORWARD)}),  # absent
    ]
    result = one_object(*frames)
    found = result.objects[0]
    assert found.bearing_errors_deg == pytest.approx((10, 180))
    assert found.bearing_errors_on_target_deg == pytest.approx((10,))
    assert found.reported_visible == 3
    assert (found.reported_elsewhere, found.reported_while_absent) == (1, 1)
    summary = summarise_results([result])
    assert summary.visible_but_wrong_rate == pytest.approx(2 / 3)
    assert summary.bearing_error_deg_median == pytest.approx(95)
    assert summary.bearing_error_on_target_deg_p95 == pytest.approx(10)
    assert (summary.covered_rate, summary.covered_on_target_rate) == (1 / 2, 1)


def test_bearings_come_from_masks_where_nothing_else_is_given() -> None:
    result = one_object(
        ScoredFrame(HERE, HERE), ScoredFrame(HERE, np.roll(HERE, 2, 1)), ScoredFrame(HERE, HERE)
    )
    moved, same = result.objects[0].bearing_errors_deg
    assert moved == pytest.approx(2 * 360 / 32, rel=0.02)
    assert same == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"object 1 .* no true direction"):
        one_object(ScoredFrame(HERE, HERE), ScoredFrame(HERE, HERE, directions={}))


def test_id_switches_are_moves_onto_another_object_or_distractor() -> None:
    truth = labels(o1=(6, 4), o2=(6, 20))
    twin = labels(o9=(0, 12))
    own, other, distractor = truth, labels(o1=(6, 20)), labels(o1=(0, 12))
    large = other.copy()
    large[10:14] = 1  # on the other, but most of it on nothing: no switch
    both = labels()
    both[6:10, [4, 5, 20, 21]] = 1  # as much on its own object as on the other: no switch
    answers = [own, own, other, other, own, distractor, large, both, other]
    score = SequenceScore("s", SMALL, {1: 0, 2: 0})
    for index, answer in enumerate(answers):
        score.add(index, ScoredFrame(truth, answer, distractors=twin))
    first, second = score.result().objects
    assert (first.id_switches, first.frames_on_another) == (3, 4)
    assert (second.id_switches, second.frames_on_another) == (0, 0)
    # without distractors only the tracked object counts, also while the own one is hidden
    hidden = ScoredFrame(labels(o2=(6, 20)), other)
    assert one_object(ScoredFrame(truth, own), hidden).objects[0].id_switches == 1
    assert one_object(ScoredFrame(truth, own), ScoredFrame(truth, distractor)).objects[0].id_switches == 0


@pytest.mark.parametrize(("hidden", "expected"), [(9, 0), (10, 20), (13, 20)])
def test_reappearance_is_the_20_frames_after_10_hidden_ones(hidden: int, expected: int) -> None:
    seen, gone = ScoredFrame(HERE, HERE), ScoredFrame(NOTHING, NOTHING)
    result = one_object(*[seen] * 5, *[gone] * hidden, *[seen] * 30)
    assert result.tally("reappearance").pairs == expected
    assert result.tally().pairs == 34


def test_reappearance_scores_only_frames_in_which_it_is_seen() -> None:
    seen, gone, missed = ScoredFrame(HERE, HERE), ScoredFrame(NOTHING, NOTHING), ScoredFrame(HERE, NOTHING)
    result = one_object(seen, *[gone] * 10, *[missed] * 5, *[gone] * 3, *[seen] * 40)
    found = result.tally("reappearance")
    assert found.pairs == 17
    assert found.sums[0] == 12


def test_conditions_are_those_of_the_frame() -> None:
    seam, pole = labels(o1=(6, 28)), NOTHING.copy()
    pole[:2] = 1
    result = one_object(
        *(ScoredFrame(HERE, HERE) for _ in range(2)),
        ScoredFrame(seam, seam),
        ScoredFrame(np.roll(seam, 2, 1), seam),
        ScoredFrame(pole, NOTHING),
        ScoredFrame(pole[::-1], NOTHING),
    )
    assert result.tally("on_seam").pairs == 3  # one object, two polar caps
    assert result.tally("near_pole").pairs == 2
    assert result.tally("near_pole").sums[0] == 0


def test_relabelled_maps_ids_and_drops_strangers() -> None:
    image = np.array([[0, 1, 2, 300]], np.uint16)
    assert relabel(image, {300: 1, 2: 7}).tolist() == [[0, 0, 7, 1]]
    assert relabel(image, {}).tolist() == [[0, 0, 0, 0]]
