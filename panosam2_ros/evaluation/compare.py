"""Comparison of two trackers: paired differences on the same sequences, with confidence intervals.

``python -m panosam2_ros.evaluation.compare --a RUN [RUN ...] --b RUN [RUN ...]``: folders that ``evaluate``
wrote, one for every seed of a training (``OUT/synthpano/tracker-box-accuracy``, say). Results of all seeds of
one side are merged; the bootstrap resamples sequences and not frames, as everywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from panosam2_ros.evaluation.results import CONDITIONS, EVERY, SequenceResult
from panosam2_ros.evaluation.runner import SequenceRun
from panosam2_ros.evaluation.summary import Difference, compare
from panosam2_ros.io.json_file import write_json

SUMMARY = "summary.json"  # the one file in such a folder that belongs to no sequence


def read_results(folder: Path) -> list[SequenceResult]:
    """Read the results of a folder's sequences; raise ValueError where there are none that can be read."""
    files = sorted(path for path in folder.glob("*.json") if path.name != SUMMARY)
    stored = [json.loads(path.read_text()) for path in files]
    if not stored or any("score" not in entry for entry in stored):
        raise ValueError(
            f"{folder} holds no results of sequences: give a folder that evaluate wrote in accuracy mode, "
            "OUT/DATASET/METHOD-PROMPT-MODE"
        )
    try:
        return [SequenceRun.from_json(entry["score"]).result for entry in stored]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder} was written by another version ({error}): evaluate again") from error


def merge_seeds(runs: Sequence[Sequence[SequenceResult]]) -> list[SequenceResult]:
    """Merge several runs over the same sequences: each sequence gets the objects of all runs.

    Raise ValueError where the sequences differ.
    """
    first, *others = ({result.name: result for result in run} for run in runs)
    for other in others:
        if odd := first.keys() ^ other.keys():
            raise ValueError(f"runs of one side need the same sequences; only one has {sorted(odd)}")
    return [
        replace(result, objects=sum((other[name].objects for other in others), result.objects))
        for name, result in first.items()
    ]


def differences(
    a: Sequence[SequenceResult], b: Sequence[SequenceResult], *, score: str = "JF_sphere"
) -> dict[str, Difference]:
    """Compare all sequences, the sequences with each attribute, and the object-frames of each condition.

    Attributes and conditions of fewer than two sequences are left out.
    """
    found = {EVERY: compare(a, b, score=score)}
    for attribute in sorted({name for result in a for name in result.attributes}):
        ours, theirs = ([r for r in side if attribute in r.attributes] for side in (a, b))
        if _has_several_sequences(ours, EVERY):
            found[attribute] = compare(ours, theirs, score=score)
    for condition in CONDITIONS:
        if _has_several_sequences(a, condition):
            found[condition] = compare(a, b, score=score, condition=condition)
    return found


def _has_several_sequences(results: Sequence[SequenceResult], condition: str) -> bool:
    """Return whether at least two sequences have such object-frames, as a bootstrap needs."""
    return sum(result.tally(condition).pairs > 0 for result in results) > 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser("panosam2_ros.evaluation.compare", description=__doc__)
    parser.add_argument("--a", type=Path, nargs="+", required=True, help="folders of results, one a seed")
    parser.add_argument("--b", type=Path, nargs="+", required=True, help="the same of the other side")
    parser.add_argument("--score", default="JF_sphere", help="to compare (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the differences to this JSON file")
    options = parser.parse_args(arguments)
    try:
        if len(options.a) != len(options.b):
            raise ValueError(
                f"--a has {len(options.a)} runs and --b {len(options.b)}: give as many seeds of both"
            )
        a, b = (merge_seeds([read_results(folder) for folder in side]) for side in (options.a, options.b))
        found = differences(a, b, score=options.score)
    except ValueError as error:
        parser.exit(2, f"compare: {error}\n")
    print(f"| {options.score}, a - b | sequences | difference | 95 % | a better in |")
    print("|---|---:|---:|---:|---:|")
    for name, d in found.items():
        interval = f"{d.ci95[0]:+.3f} to {d.ci95[1]:+.3f}"
        print(f"| {name} | {d.sequences} | {d.difference:+.3f} | {interval} | {d.better:.0%} |")
    if options.out:
        write_json(options.out, {name: d.__dict__ for name, d in found.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
