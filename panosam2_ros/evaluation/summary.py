"""Summary of sequences' results: means over all object-frames, confidence intervals, differences.

Confidence intervals are percentiles of a bootstrap over sequences, the unit in which a benchmark is
drawn: frames of one sequence are far from independent. The seed is fixed, so that the same results always
have the same interval. ``scipy.stats.bootstrap`` is no shorter here and draws other resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from panosam2_ros.evaluation.metrics import MEASURES
from panosam2_ros.evaluation.results import CONDITIONS, EVERY, ObjectResult, SequenceResult
from panosam2_ros.geometry.sphere import Floats

RESAMPLES, BOOTSTRAP_SEED = 2000, 0
_PERCENTILES = (2.5, 97.5)
COMBINED_MEASURES = {
    "JF": ("J", "F"),
    "JF_sphere": ("J_sphere", "F_sphere"),
    "JF_360vos": ("J_360vos", "F_360vos"),
}
ALL_MEASURES = (*MEASURES, *COMBINED_MEASURES)
Interval = tuple[float, float]


@dataclass(frozen=True)
class Group:
    """Scores of some sequences, or of those of their object-frames in which a condition holds."""

    sequences: int
    pairs: int  # object-frames
    scores: dict[str, float]  # 0..1 by ``ALL_MEASURES``; empty where there are no object-frames
    ci95: dict[str, Interval]  # empty where there are fewer than two sequences


@dataclass(frozen=True)
class Summary:
    """Summary of a set of results. None: there is nothing to compute the value from."""

    sequences: int
    objects: int
    frames: int
    every: Group
    by_attribute: dict[str, Group]  # of sequences that have it
    by_condition: dict[str, Group]  # of object-frames in which it holds
    J_davis: float | None  # as vos-benchmark: mean of each object, also of absent frames, then of objects
    F_davis: float | None
    false_positive_rate: float | None  # of the object-frames in which the object is not visible
    missed_rate: float | None  # of those in which it is
    visible_but_wrong_rate: float | None  # of those reported visible: object absent or elsewhere
    reported_while_absent: int
    reported_elsewhere: int
    id_switches: int
    frames_on_another: int
    bearing_error_deg_median: float | None  # where the object is visible and reported as visible
    bearing_error_deg_p95: float | None
    bearing_error_on_target_deg_median: float | None  # ... and the mask is on its object
    bearing_error_on_target_deg_p95: float | None
    covered_rate: float | None  # of 95 % ellipses, share that contains the true direction
    covered_on_target_rate: float | None  # ... where the mask is on its object

    def to_json(self) -> dict[str, Any]:
        """Return a flat value for json.dumps, with the groups beside."""
        data = asdict(self)
        every = data.pop("every")
        flat = {**every["scores"], **{f"{k}_ci95": list(v) for k, v in every["ci95"].items()}}
        groups = {**self.by_attribute, **self.by_condition}
        parts = {f"JF_sphere_{k}": g.scores.get("JF_sphere") for k, g in groups.items()}
        return {**flat, **parts, **data, "pairs": self.every.pairs}


@dataclass(frozen=True)
class Difference:
    """Difference of ``a`` and ``b`` on the same sequences, in one score."""

    score: str
    sequences: int
    difference: float  # a - b
    ci95: Interval
    better: float  # share of resamples in which a is better, 0..1


def summarise_results(
    results: Sequence[SequenceResult], *, seed: int = BOOTSTRAP_SEED, resamples: int = RESAMPLES
) -> Summary:
    """Summarise a set of results; raise ValueError where a sequence is there twice."""
    _check_unique(results)
    objects = [o for result in results for o in result.objects]
    attributes = sorted({a for result in results for a in result.attributes})
    having = {a: [r for r in results if a in r.attributes] for a in attributes}
    return Summary(
        sequences=len(results),
        objects=len(objects),
        frames=sum(result.frames for result in results),
        every=_group(results, EVERY, seed, resamples),
        by_attribute={a: _group(r, EVERY, seed, resamples) for a, r in having.items()},
        by_condition={c: _group(results, c, seed, resamples) for c in CONDITIONS},
        **_davis(objects),
        **_rates(objects),
        **_bearings(objects),
    )


def compare(
    a: Sequence[SequenceResult],
    b: Sequence[SequenceResult],
    *,
    score: str = "JF_sphere",
    condition: str = EVERY,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
) -> Difference:
    """Return the paired difference of two sets of results; the bootstrap resamples both alike.

    Raise ValueError for an unknown score and for sets of different sequences or ground truths.
    """
    _check_unique(a)
    _check_unique(b)
    if score not in ALL_MEASURES:
        raise ValueError(f"there is no score {score!r}; there are {', '.join(ALL_MEASURES)}")
    ours, theirs = ({r.name: r for r in results} for results in (a, b))
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())
        raise ValueError(f"a paired difference needs the same sequences; only one set has {odd}")
    names = [n for n in sorted(ours) if ours[n].tally(condition).pairs]
    sums_a, sums_b = (_sums([r[n] for n in names], condition) for r in (ours, theirs))
    if not np.array_equal(sums_a[:, 0], sums_b[:, 0]):
        raise ValueError("the two sets of results were scored on different ground truths or frames")
    if len(names) < 2:
        raise ValueError(f"a difference needs 2 sequences with such object-frames, got {len(names)}")
    column = 1 + ALL_MEASURES.index(score)
    counts = _resampled(len(names), seed, resamples)
    drawn = _means(counts, sums_a)[:, column - 1] - _means(counts, sums_b)[:, column - 1]
    whole = (sums_a - sums_b)[:, column].sum() / sums_a[:, 0].sum()
    low, high = np.percentile(drawn, _PERCENTILES)
    better = float(np.mean(drawn > 0))
    return Difference(score, len(names), float(whole), (float(low), float(high)), better)


def _sums(results: Sequence[SequenceResult], condition: str) -> Floats:
    """Return number of object-frames and sums of ``ALL_MEASURES`` of every sequence, [S, 1 + N]."""
    tallies = [result.tally(condition) for result in results]
    counts = np.array([[tally.pairs] for tally in tallies], float)
    sums = np.array([tally.sums for tally in tallies])
    both = [[MEASURES.index(name) for name in names] for names in COMBINED_MEASURES.values()]
    return np.concatenate([counts, sums, *[sums[:, two].mean(1, keepdims=True) for two in both]], 1)


def _means(counts: Floats, sums: Floats) -> Floats:
    """Return the means of ``ALL_MEASURES`` where every sequence is drawn ``counts`` [B, S] times, [B, N]."""
    drawn = counts @ sums
    return np.asarray(drawn[:, 1:] / drawn[:, :1])


def _resampled(sequences: int, seed: int, resamples: int) -> Floats:
    """Draw how often each sequence occurs in each resample, [B, S]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(sequences, np.full(sequences, 1 / sequences), resamples).astype(float)


def _group(results: Sequence[SequenceResult], condition: str, seed: int, resamples: int) -> Group:
    """Summarise the object-frames of a condition."""
    having = [result for result in results if result.tally(condition).pairs]
    if not having:
        return Group(0, 0, {}, {})
    sums = _sums(having, condition)
    means = _means(np.ones((1, len(having))), sums)[0]
    scores = {name: float(mean) for name, mean in zip(ALL_MEASURES, means, strict=True)}
    intervals: dict[str, Interval] = {}
    if len(having) > 1:
        drawn = _means(_resampled(len(having), seed, resamples), sums)
        bounds = np.percentile(drawn, _PERCENTILES, axis=0).T
        intervals = {n: (float(lo), float(hi)) for n, (lo, hi) in zip(ALL_MEASURES, bounds, strict=True)}
    return Group(len(having), int(sums[:, 0].sum()), scores, intervals)


def _davis(objects: Sequence[ObjectResult]) -> dict[str, Any]:
    """Return the means over objects as DAVIS has them."""
    means = [np.array(o.davis_sums) / o.davis_frames for o in objects if o.davis_frames]
    j, f = np.mean(means, 0) if means else (None, None)
    return {"J_davis": None if j is None else float(j), "F_davis": None if f is None else float(f)}


def _rates(objects: Sequence[ObjectResult]) -> dict[str, Any]:
    """Return rates and counts over all objects."""

    def total(name: str) -> int:
        return sum(getattr(o, name) for o in objects)

    wrong = total("reported_while_absent") + total("reported_elsewhere")
    return {
        "false_positive_rate": _ratio(total("false_positives"), total("absent")),
        "missed_rate": _ratio(total("missed"), total("visible_object_frames")),
        "visible_but_wrong_rate": _ratio(wrong, total("reported_visible")),
        "reported_while_absent": total("reported_while_absent"),
        "reported_elsewhere": total("reported_elsewhere"),
        "covered_rate": _ratio(total("covered"), total("ellipses")),
        "covered_on_target_rate": _ratio(total("covered_on_target"), total("ellipses_on_target")),
        "id_switches": total("id_switches"),
        "frames_on_another": total("frames_on_another"),
    }


def _bearings(objects: Sequence[ObjectResult]) -> dict[str, Any]:
    """Return percentiles of the bearing errors of all objects."""
    every = [e for o in objects for e in o.bearing_errors_deg]
    on_target = [e for o in objects for e in o.bearing_errors_on_target_deg]
    return {
        "bearing_error_deg_median": _percentile(every, 50),
        "bearing_error_deg_p95": _percentile(every, 95),
        "bearing_error_on_target_deg_median": _percentile(on_target, 50),
        "bearing_error_on_target_deg_p95": _percentile(on_target, 95),
    }


def _ratio(part: int, whole: int) -> float | None:
    """Return a ratio; None where the denominator is 0."""
    return part / whole if whole else None


def _percentile(values: Iterable[float], q: float) -> float | None:
    """Return a percentile; None without values."""
    found = list(values)
    return float(np.percentile(found, q)) if found else None


def _check_unique(results: Sequence[SequenceResult]) -> None:
    """Raise ValueError where two results have the same name."""
    names = [result.name for result in results]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"sequences are there twice: {twice}: merge them or leave some out")
