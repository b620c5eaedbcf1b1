"""Summaries of results: means, confidence intervals, paired differences."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from helpers.scored_sequences import sequence
from panosam2_ros.evaluation.results import SequenceResult
from panosam2_ros.evaluation.summary import compare, summarise_results


def test_scores_are_means_over_all_object_frames() -> None:
    """A long sequence counts for as much as it has object-frames; sequences are not averaged first."""
    results = [sequence("a", [0, 0, 0], ("crossing_border",)), sequence("b", [8])]
    summary = summarise_results(results)
    assert summary.every.scores["J"] == pytest.approx(3 / 4)
    assert summary.every.pairs == 4
    assert summary.frames == 6
    assert summary.by_attribute["crossing_border"].scores["JF_sphere"] == 1
    data = summary.to_json()
    assert data["JF_sphere_crossing_border"] == 1
    assert data["JF_sphere_reappearance"] is None
    assert data["JF_sphere"] == pytest.approx((data["J_sphere"] + data["F_sphere"]) / 2)
    json.dumps(data, allow_nan=False)


def test_results_survive_json() -> None:
    result = sequence("a", [0, 1, 8], ("x",))
    assert SequenceResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_bootstrap_is_seeded_and_has_the_right_width() -> None:
    rng = np.random.default_rng(0)
    results = [sequence(f"s{i}", rng.integers(0, 5, 3).tolist()) for i in range(12)]
    group = summarise_results(results).every
    assert group == summarise_results(results).every
    assert group.ci95 != summarise_results(results, seed=1).every.ci95
    means = np.array([r.tally().sums[0] / r.tally().pairs for r in results])
    low, high = group.ci95["J"]
    assert low < group.scores["J"] < high
    # of a mean: 1.96 standard errors on either side, give or take
    assert high - low == pytest.approx(2 * 1.96 * means.std(ddof=1) / math.sqrt(12), rel=0.2)
    assert summarise_results(results[:1]).every.ci95 == {}
    assert summarise_results([]).every.scores == {}


def test_difference_is_paired() -> None:
    """A small constant difference is significant, although sequences differ much more."""
    easy_and_hard = [[0, 0], [1, 1], [2, 2], [3, 3], [0, 3]]
    a = [sequence(f"s{i}", shifts) for i, shifts in enumerate(easy_and_hard)]
    b = [sequence(f"s{i}", [s + 1 for s in shifts]) for i, shifts in enumerate(easy_and_hard)]
    found = compare(a, b, score="J_sphere")
    assert 0 < found.ci95[0] < found.difference < found.ci95[1]
    assert found.better == 1
    expected = summarise_results(a).every.scores["J_sphere"] - summarise_results(b).every.scores["J_sphere"]
    assert found.difference == pytest.approx(expected)
    assert summarise_results(b).every.ci95["J_sphere"][1] > summarise_results(a).every.ci95["J_sphere"][0]
    same = compare(a, a[::-1])
    assert (same.difference, same.ci95, same.better) == (0, (0, 0), 0)


def test_differences_of_different_sets_are_refused() -> None:
    a = [sequence("a", [0]), sequence("b", [1])]
    with pytest.raises(ValueError, match=r"same sequences; only one set has \['b'\]"):
        compare(a, a[:1])
    with pytest.raises(ValueError, match="different ground truths"):
        compare(a, [sequence("a", [0]), sequence("b", [1, 1])])
    with pytest.raises(ValueError, match="no score 'IoU'"):
        compare(a, a, score="IoU")
    with pytest.raises(ValueError, match=r"there twice: \['a'\]"):
        summarise_results([a[0], a[0]])
