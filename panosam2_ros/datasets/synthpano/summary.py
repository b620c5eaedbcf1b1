"""Counts what sequences really show, holds it against the quotas, and writes the table of 360VOS."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panosam2_ros.datasets.synthpano.attributes import camera_steps, hidden_runs, measured
from panosam2_ros.datasets.synthpano.config import BenchmarkConfig
from panosam2_ros.datasets.synthpano.ground_truth import FILE, SequenceGroundTruth
from panosam2_ros.datasets.synthpano.writer import content_sha256
from panosam2_ros.datasets.vos360 import ATTRIBUTES, INFO
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.io.label_png import read_labels

FILE_NAME = "summary.json"
# Columns of the table beyond those of 360VOS; its loader makes the names lower case.
OWN = ("HIDDEN_AND_BACK", "LOOK_ALIKE", "SIZE_CHANGE")
_HEADER = ("Target", "360VOS ID", "Split", "length")


def load_all(folder: Path) -> list[SequenceGroundTruth]:
    """All complete sequences of a split, in order."""
    return [SequenceGroundTruth.load(file.parent) for file in sorted(folder.glob(f"*/{FILE}"))]


def summarise_split(truths: Sequence[SequenceGroundTruth], config: BenchmarkConfig) -> dict[str, Any]:
    """What was measured in the sequences of a split."""
    held = [set(truth.attributes) for truth in truths]
    names = sorted({*ATTRIBUTES.values(), *(name.lower() for name in OWN)})
    return {
        "benchmark": config.name,
        "config_sha256": config.sha256,
        "split": truths[0].origin.split,
        "complete": len(truths) == config.sequences,
        "sequences": len(truths),
        "frames": sum(map(len, truths)),
        "objects": sum(len(truth.objects) for truth in truths),
        "sequences_with": {name: sum(name in has for has in held) for name in names},
        "objects_with": {
            name: sum(name in track.attributes for truth in truths for track in truth.objects)
            for name in names
        },
        "quotas": quotas(held, config),
        "measured": _ranges(truths),
        "content_sha256": {truth.origin.name: truth.origin.content_sha256 for truth in truths},
    }


def quotas(held: Sequence[set[str]], config: BenchmarkConfig) -> dict[str, dict[str, Any]]:
    """Per quota: the share that is needed, the share that is there, and whether it is enough."""
    found = {}
    for names, needed in config.quotas.items():
        share = sum(bool(has & set(names.split("|"))) for has in held) / max(len(held), 1)
        found[names] = {"needed": needed, "share": round(share, 4), "met": share >= needed}
    return found


def complaints(summary: dict[str, Any]) -> list[str]:
    """One line per quota that a whole split does not meet."""
    if not summary["complete"]:
        return []
    return [
        f"{names}: {quota['share']:.0%} of the sequences, {quota['needed']:.0%} are needed"
        for names, quota in summary["quotas"].items()
        if not quota["met"]
    ]


def _ranges(truths: Sequence[SequenceGroundTruth]) -> dict[str, Any]:
    tracks = [(truth, track) for truth in truths for track in truth.objects]
    sizes = np.concatenate([track.angular_diameter for _, track in tracks])
    speeds = [_speed(truth, i) for truth in truths for i in range(len(truth.objects))]
    hidden = [b - a + 1 for _, track in tracks for a, b in hidden_runs(track.visible)]
    seen = [float(track.visible.mean()) for _, track in tracks]
    turns = [float(camera_steps(truth).max(initial=0.0)) for truth in truths]
    return {
        "objects_per_sequence": [f([len(t.objects) for t in truths]) for f in (min, max)],
        "size_deg": [round(math.degrees(f(sizes)), 2) for f in (min, max)],
        "largest_camera_step_deg": round(math.degrees(max(turns)), 3),
        "largest_object_step_deg": round(math.degrees(max(speeds)), 3),
        "hidden_frames": sorted(hidden),
        "least_visible_share_of_frames": round(min(seen), 3),
        "least_visible_fraction_in_frame_0": round(
            min(float(track.visible_fraction[0]) for _, track in tracks), 3
        ),
    }


def _speed(truth: SequenceGroundTruth, number: int) -> float:
    """Largest step, rad per frame, of an object's centre in the world."""
    world = np.einsum("tij,ti->tj", truth.camera, truth.objects[number].centre)
    return float(angle_between(world[1:], world[:-1]).max(initial=0.0))


def verify(folder: Path, truth: SequenceGroundTruth) -> list[str]:
    """One line per way in which a sequence's files are not what its truth says."""
    found = []
    if content_sha256(folder) != truth.origin.content_sha256:
        found.append("files changed after they were written")
    masks = [read_labels(path) for path in sorted((folder / "mask").glob("*.png"))]
    if len(masks) != len(truth):
        return [f"{folder.name}: {len(masks)} masks, {len(truth)} are needed"]
    for track in truth.objects:
        shown = np.array([bool((mask == track.obj_id).any()) for mask in masks])
        if (shown != track.visible).any():
            found.append(f"object {track.obj_id}: masks and visibility differ")
        if not shown[0]:
            found.append(f"object {track.obj_id}: not in the first frame")
    if _attributes(measured(truth, masks)) != _attributes(truth):
        found.append("masks show other attributes")
    return [f"{folder.name}: {line}" for line in found]


def _attributes(truth: SequenceGroundTruth) -> tuple[tuple[str, ...], ...]:
    return (truth.attributes, *(track.attributes for track in truth.objects))


def write_summary(root: Path, truths: Sequence[SequenceGroundTruth], summary: dict[str, Any]) -> None:
    """``summary.json`` of a split, and its rows of the table; other splits' rows are kept."""
    split = summary["split"]
    (root / split / FILE_NAME).write_text(json.dumps(summary, indent=1) + "\n")
    columns = {**{c: ATTRIBUTES[c] for c in ATTRIBUTES}, **{c: c.lower() for c in OWN}}
    header = [*_HEADER, *(f"{code}({name.replace('_', ' ')})" for code, name in columns.items())]
    rows = [row for row in _rows(root / INFO) if row[2] != split]
    for truth in truths:
        marks = ["1" if name in truth.attributes else "" for name in columns.values()]
        target = "; ".join(track.name for track in truth.objects)
        rows.append([target, truth.origin.name, split, str(len(truth)), *marks])
    with (root / INFO).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *sorted(rows, key=lambda row: (row[2], row[1]))])


def _rows(table: Path) -> list[list[str]]:
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]
