"""Counts of the attributes of sequences, compared with the quotas, and the table of 360VOS."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panosam2_ros.datasets.synthpano.attributes import camera_steps, measure_attributes
from panosam2_ros.datasets.synthpano.config import BenchmarkConfig
from panosam2_ros.datasets.synthpano.ground_truth import FILE, SequenceGroundTruth
from panosam2_ros.datasets.synthpano.object_history import hidden_runs
from panosam2_ros.datasets.synthpano.writer import content_sha256
from panosam2_ros.datasets.vos360 import ATTRIBUTES, INFO
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.io.label_png import read_labels

FILE_NAME = "summary.json"
# Columns of the table beyond those of 360VOS; its loader makes the names lower case.
EXTRA_COLUMNS = ("HIDDEN_AND_BACK", "LOOK_ALIKE", "SIZE_CHANGE")
_HEADER = ("Target", "360VOS ID", "Split", "length")


def load_all(folder: Path) -> list[SequenceGroundTruth]:
    """Read the ground truth of all written sequences of a split, in order."""
    return [SequenceGroundTruth.load(file.parent) for file in sorted(folder.glob(f"*/{FILE}"))]


def summarise_split(sequences: Sequence[SequenceGroundTruth], config: BenchmarkConfig) -> dict[str, Any]:
    """Summarise what was measured in the sequences of a split: the contents of ``summary.json``."""
    held = [set(sequence.attributes) for sequence in sequences]
    names = sorted({*ATTRIBUTES.values(), *(name.lower() for name in EXTRA_COLUMNS), *config.events})
    return {
        "benchmark": config.name,
        "config_sha256": config.sha256,
        "split": sequences[0].origin.split,
        "complete": len(sequences) == config.sequences,
        "sequences": len(sequences),
        "frames": sum(map(len, sequences)),
        "objects": sum(len(sequence.objects) for sequence in sequences),
        "sequences_with": {name: sum(name in has for has in held) for name in names},
        "objects_with": {
            name: sum(name in track.attributes for sequence in sequences for track in sequence.objects)
            for name in names
        },
        "quotas": quotas(held, config),
        "measured": _ranges(sequences),
        "content_sha256": {sequence.origin.name: sequence.origin.content_sha256 for sequence in sequences},
    }


def quotas(held: Sequence[set[str]], config: BenchmarkConfig) -> dict[str, dict[str, Any]]:
    """Return for each quota the needed share, the measured share, and whether it is met."""
    found = {}
    for names, needed in config.quotas.items():
        share = sum(bool(has & set(names.split("|"))) for has in held) / max(len(held), 1)
        found[names] = {"needed": needed, "share": round(share, 4), "met": share >= needed}
    return found


def unmet_quotas(summary: dict[str, Any]) -> list[str]:
    """Return one line per quota that a complete split does not meet; none for an incomplete split."""
    if not summary["complete"]:
        return []
    return [
        f"{names}: {quota['share']:.0%} of the sequences have it, {quota['needed']:.0%} are needed"
        for names, quota in summary["quotas"].items()
        if not quota["met"]
    ]


def _ranges(sequences: Sequence[SequenceGroundTruth]) -> dict[str, Any]:
    """Return the ranges of what was measured of objects and cameras."""
    tracks = [(sequence, track) for sequence in sequences for track in sequence.objects]
    sizes = np.concatenate([track.angular_diameter for _, track in tracks])
    speeds = [_speed(sequence, i) for sequence in sequences for i in range(len(sequence.objects))]
    hidden = [b - a + 1 for _, track in tracks for a, b in hidden_runs(track.visible)]
    seen = [float(track.visible.mean()) for _, track in tracks]
    turns = [float(camera_steps(sequence).max(initial=0.0)) for sequence in sequences]
    return {
        "objects_per_sequence": [f([len(t.objects) for t in sequences]) for f in (min, max)],
        "size_deg": [round(math.degrees(f(sizes)), 2) for f in (min, max)],
        "largest_camera_step_deg": round(math.degrees(max(turns)), 3),
        "largest_object_step_deg": round(math.degrees(max(speeds)), 3),
        "hidden_frames": sorted(hidden),
        "least_visible_share_of_frames": round(min(seen), 3),
        "least_visible_fraction_in_frame_0": round(
            min(float(track.visible_fraction[0]) for _, track in tracks), 3
        ),
    }


def _speed(ground_truth: SequenceGroundTruth, number: int) -> float:
    """Return the largest step, rad per frame, of an object's centre in the world."""
    world = np.einsum("tij,ti->tj", ground_truth.camera, ground_truth.objects[number].centre)
    return float(angle_between(world[1:], world[:-1]).max(initial=0.0))


def verify(folder: Path, ground_truth: SequenceGroundTruth, events: Collection[str] = ()) -> list[str]:
    """Compare a sequence's files with its ground truth; return one line per difference.

    ``events``: as in ``measure_attributes``.
    """
    found = []
    if content_sha256(folder) != ground_truth.origin.content_sha256:
        found.append("files changed after they were written")
    masks = [read_labels(path) for path in sorted((folder / "mask").glob("*.png"))]
    if len(masks) != len(ground_truth):
        return [f"{folder.name}: has {len(masks)} masks, {len(ground_truth)} are needed"]
    for track in ground_truth.objects:
        shown = np.array([bool((mask == track.obj_id).any()) for mask in masks])
        if (shown != track.visible).any():
            found.append(f"object {track.obj_id}: masks and visibility differ")
        if not shown[0]:
            found.append(f"object {track.obj_id}: not in the first frame")
    measured = measure_attributes(ground_truth, masks, events=events)
    if _attributes(measured) != _attributes(ground_truth):
        found.append("masks show other attributes")
    return [f"{folder.name}: {line}" for line in found]


def _attributes(ground_truth: SequenceGroundTruth) -> tuple[tuple[str, ...], ...]:
    """Return the attributes of the sequence and of each object."""
    return (ground_truth.attributes, *(track.attributes for track in ground_truth.objects))


def write_summary(root: Path, sequences: Sequence[SequenceGroundTruth], summary: dict[str, Any]) -> None:
    """Write ``summary.json`` of a split and its rows of the table; rows of other splits are kept."""
    split = summary["split"]
    (root / split / FILE_NAME).write_text(json.dumps(summary, indent=1) + "\n")
    known = {*ATTRIBUTES.values(), *(column.lower() for column in EXTRA_COLUMNS)}
    events = [name.upper() for name in summary["sequences_with"] if name not in known]
    columns = {**ATTRIBUTES, **{c: c.lower() for c in (*EXTRA_COLUMNS, *events)}}
    header = [*_HEADER, *(f"{code}({name.replace('_', ' ')})" for code, name in columns.items())]
    rows = [row for row in _rows(root / INFO) if row[2] != split]
    for ground_truth in sequences:
        marks = ["1" if name in ground_truth.attributes else "" for name in columns.values()]
        target = "; ".join(track.name for track in ground_truth.objects)
        rows.append([target, ground_truth.origin.name, split, str(len(ground_truth)), *marks])
    with (root / INFO).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *sorted(rows, key=lambda row: (row[2], row[1]))])


def _rows(table: Path) -> list[list[str]]:
    """Read the rows of a table, without its header; none where there is no file."""
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]
