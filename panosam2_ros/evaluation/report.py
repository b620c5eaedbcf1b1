"""Reports of an evaluation: rows in a list of results, and a Markdown table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from panosam2_ros.evaluation.summary import Summary
from panosam2_ros.io.json_file import write_json

Row = dict[str, Any]
_SAME = ("name", "prompt", "split", "config_sha256")  # fields that identify a row
_GROUPS = {  # field -> attribute of sequences, or condition on object-frames
    "JF_sphere_crossing_border": "crossing_border",
    "JF_sphere_reappearance": "reappearance",
    "JF_sphere_high_latitude": "high_latitude",
}
_COLUMNS = {  # heading -> field
    "J": "J",
    "F": "F",
    "J sphere": "J_sphere",
    "F sphere": "F_sphere",
    "JF sphere": "JF_sphere",
    "95 %": "JF_sphere_ci95",
    "crossing": "JF_sphere_crossing_border",
    "reappearing": "JF_sphere_reappearance",
    "high latitude": "JF_sphere_high_latitude",
    "false pos.": "false_positive_rate",
    "id sw.": "id_switches",
    "roll": "roll_equivariance",
    "bearing °": "bearing_error_deg_median",
    "p95 °": "bearing_error_deg_p95",
    "covered": "covered_on_target_rate",
    "fps": "fps",
}


@dataclass(frozen=True)
class ResultSubject:
    """Method, benchmark and device of a result."""

    name: str
    seed: int | None
    prompt: str
    split: str
    config_sha256: str
    input: str  # the network's, WxH pixels; empty for methods without one
    threads: int
    device: str
    weights_sha256: str | None


def result_row(
    subject: ResultSubject,
    summary: Summary | None,  # None: of a mode that needs no ground truth
    *,
    fps: float | None = None,  # steps per second of tracking, while other processes may run side by side
    roll_equivariance: float | None = None,  # mean IoU over rolls by arbitrary columns, 0..1
) -> Row:
    """Return a row of ``models/results.json``; fields that were not measured are None."""
    scores: dict[str, float] = {} if summary is None else summary.every.scores
    return {
        "name": subject.name,
        "seed": subject.seed,
        "prompt": subject.prompt,
        "split": subject.split,
        "config_sha256": subject.config_sha256,
        "sequences": None if summary is None else summary.sequences,
        "frames": None if summary is None else summary.frames,
        **{key: scores.get(key) for key in ("J", "F", "J_sphere", "F_sphere", "JF_sphere")},
        "JF_sphere_ci95": _interval(summary),
        **{field: _group(summary, group) for field, group in _GROUPS.items()},
        "false_positive_rate": None if summary is None else summary.false_positive_rate,
        "id_switches": None if summary is None else summary.id_switches,
        "roll_equivariance": roll_equivariance,
        "bearing_error_deg_median": None if summary is None else summary.bearing_error_deg_median,
        "bearing_error_deg_p95": None if summary is None else summary.bearing_error_deg_p95,
        "fps": fps,
        "input": subject.input,
        "machine": machine(subject.device, subject.threads),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "weights_sha256": subject.weights_sha256,
        "versions": versions(),
        "covered_rate": None if summary is None else summary.covered_rate,
        "covered_on_target_rate": None if summary is None else summary.covered_on_target_rate,
    }


def record(path: Path, rows: Sequence[Row]) -> None:
    """Write rows into the list in a file, in place of those of the same subject and benchmark.

    Modes measure different fields: fields that a new row does not have are kept from the row that it
    replaces, if that has the same weights.
    """
    kept: list[Row] = json.loads(path.read_text()) if path.exists() else []
    for row in rows:
        key = [row[field] for field in _SAME]
        place = next((i for i, r in enumerate(kept) if [r.get(f) for f in _SAME] == key), None)
        if place is None:
            kept.append(row)
        elif kept[place].get("weights_sha256") == row["weights_sha256"]:
            kept[place] = {**kept[place], **{k: v for k, v in row.items() if v is not None}}
        else:
            kept[place] = row
    write_json(path, kept)


def table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table, without columns in which nothing was measured."""
    measured = {h: f for h, f in _COLUMNS.items() if any(row.get(f) is not None for row in rows)}
    lines = [["", "prompt", *measured]]
    lines += [["---", "---", *["---:"] * len(measured)]]
    lines += [[r["name"], r["prompt"], *[cell(r.get(f), f) for f in measured.values()]] for r in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any, field: str = "") -> str:
    """Format the value of a field for a table; empty for None."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return "–".join(cell(v) for v in value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if field == "fps" or "deg" in field else f"{value:.3f}"


def machine(device: str, threads: int) -> str:
    """Describe the processor, its cores, the number of threads and the device."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        name = found[0].partition(":")[2].strip() if found else name
    return f"{name}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}, {device}"


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect results."""
    found = {"python": platform.python_version()}
    for package in ("panosam2_ros", "torch", "numpy", "opencv-python-headless"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # built by colcon, or another OpenCV
            continue
    return found


def _interval(summary: Summary | None) -> list[float] | None:
    """Return the confidence interval of JF_sphere; None where there is none."""
    ci95: Mapping[str, tuple[float, float]] = {} if summary is None else summary.every.ci95
    return list(ci95["JF_sphere"]) if "JF_sphere" in ci95 else None


def _group(summary: Summary | None, name: str) -> float | None:
    """Return JF_sphere of an attribute or a condition; None where it was not measured."""
    if summary is None:
        return None
    group = {**summary.by_attribute, **summary.by_condition}.get(name)
    return None if group is None else group.scores.get("JF_sphere")
