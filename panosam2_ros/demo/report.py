"""Compute the numbers of a demo run from what the planner recorded; imports no ROS."""

from __future__ import annotations

import datetime
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.demo.recording import Bearings, Recording
from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.geometry.sphere import angle_between

PACKAGES = ("panosam2_ros", "torch", "numpy", "opencv-python-headless", "rclpy", "ros-kilted-rclpy")


@dataclass
class Pairs:
    """The frames in which one object's ground truth is visible: the lists have one entry for each."""

    stamps: list[int] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    iou_sphere: list[float] = field(default_factory=list)  # pixels weighted by their solid angle
    error: list[float] = field(default_factory=list)  # deg, of the bearing; NaN where there is none
    on_seam: list[bool] = field(default_factory=list)
    seen: list[bool] = field(default_factory=list)  # the node reports STATE_VISIBLE
    absent: int = 0  # frames in which the ground truth is hidden
    false_alarms: int = 0  # of those, with STATE_VISIBLE reported

    def extend(self, other: Pairs) -> None:
        """Append another object's."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def summary(self) -> dict[str, Any]:
        """Return means over all object-frames; None where there are none."""
        on_seam = [iou for iou, there in zip(self.iou, self.on_seam, strict=True) if there]
        return {
            "pairs": len(self.iou),
            "mean_iou": _mean(self.iou),
            "mean_iou_sphere": _mean(self.iou_sphere),
            "pairs_on_seam": len(on_seam),
            "mean_iou_on_seam": _mean(on_seam),
            "bearing_error_deg_median": _quantile(self.error, 0.5),
            "bearing_error_deg_p95": _quantile(self.error, 0.95),
            "seen_share": _mean(self.seen),
            "frames_hidden": self.absent,
            "false_alarms_while_hidden": self.false_alarms,
        }


class DemoRun:
    """A recording, and the numbers that follow from it."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.stamps = recording.stamps("bearings")  # of processed frames

    @property
    def prompts(self) -> list[dict[str, Any]]:
        """The prompts and their answers."""
        return list(self.recording.summary["prompts"])

    @property
    def vertical_fov(self) -> float:
        """Of the images, rad."""
        return float(self.recording.summary.get("vertical_fov", math.pi))

    @property
    def rate(self) -> float:
        """Rate of processed frames, Hz, by their stamps; 10 where there are too few."""
        return _rate(self.stamps) or 10.0

    def bearings(self, stamp: int, kind: str = "bearings") -> Bearings | None:
        """Return what the node (or the camera: "true_bearings") reported of a frame."""
        found: Bearings | None = self.recording.get(kind, stamp)
        return found

    def labels(self, stamp: int, kind: str = "masks") -> NDArray[np.uint16] | None:
        """Return the label image [H, W] of the node (or the camera: "true_masks")."""
        runs = self.recording.get(kind, stamp)
        return None if runs is None else np.asarray(runs.decode(), np.uint16)

    def first_stamp(self, prompt: dict[str, Any]) -> int | None:
        """Return the stamp, ns, of the first frame that counts: from it on the node knows the object.

        A refused prompt's object counts from the frame it was meant for.
        """
        if not prompt["success"]:
            return int(prompt["stamp"])
        known = (s for s in self.stamps if _lists(self.bearings(s), prompt["obj_id"]))
        return next(known, None)

    @cached_property
    def pairs(self) -> list[Pairs]:
        """The object-frames of each prompt."""
        found = [Pairs() for _ in self.prompts]
        starts = [self.first_stamp(prompt) for prompt in self.prompts]
        for stamp in self.stamps:
            truth, known = self.labels(stamp, "true_masks"), self.labels(stamp)
            if truth is None:
                continue
            for prompt, start, pairs in zip(self.prompts, starts, found, strict=True):
                if start is not None and stamp >= start:
                    self._add(pairs, stamp, prompt, truth, known)
        return found

    def _add(self, pairs: Pairs, stamp: int, prompt: dict[str, Any], truth: Any, known: Any) -> None:
        asked = prompt["obj_id"]
        true, told = self.bearings(stamp, "true_bearings"), self.bearings(stamp)
        there = true.find(prompt["truth_id"]) if true else None
        answer = told.find(asked) if told and asked else None
        seen = bool(answer and answer.visible)
        if there is None or not there.visible:
            pairs.absent += 1
            pairs.false_alarms += seen
            return
        expected = truth == prompt["truth_id"]
        empty = np.zeros_like(expected)
        found = known == asked if known is not None and asked else empty
        flat, sphere = overlap(found, expected, self.vertical_fov)
        box = mask_box(expected)
        pairs.stamps.append(stamp)
        pairs.iou.append(flat)
        pairs.iou_sphere.append(sphere)
        pairs.error.append(_degrees(answer.direction, there.direction) if answer else math.nan)
        pairs.on_seam.append(box is not None and box[0] > box[2])
        pairs.seen.append(seen)

    def report(self) -> dict[str, Any]:
        """Return the content of demo.json, without the settings."""
        total = Pairs()
        for pairs in self.pairs:
            total.extend(pairs)
        objects = [
            _object(self, prompt, pairs) for prompt, pairs in zip(self.prompts, self.pairs, strict=True)
        ]
        return {**self._traffic(), **total.summary(), "objects": objects, **machine_summary()}

    def _traffic(self) -> dict[str, Any]:
        summary = self.recording.summary
        node = summary["node"]
        latencies = [
            (bearings.received - stamp) * 1e-6
            for stamp in self.stamps
            if (bearings := self.bearings(stamp)) is not None
        ]
        published = int(summary["camera"].get("frames_published", 0))
        received = int(node.get("frames_received", 0))
        images = self.recording.stamps("image")
        return {
            "frames_published": published,
            "frames_received": received,
            "frames_processed": len(self.stamps),
            "frames_dropped": max(received - len(self.stamps), 0),
            "frames_lost": max(published - received, 0),
            "received_share": received / published if published else None,
            "hz": _rate(self.stamps),
            "hz_camera": _rate(images),
            "latency_ms_p50": _quantile(latencies, 0.5),
            "latency_ms_p95": _quantile(latencies, 0.95),
        }


def overlap(a: MaskArray, b: MaskArray, vertical_fov: float = math.pi) -> tuple[float, float]:
    """Return the IoU of two masks [H, W] of a panorama of that height, rad, by pixels and by solid angle."""
    areas = Equirect(a.shape[1], a.shape[0], vertical_fov).pixel_solid_angles()
    both, either = (a & b).sum(1), (a | b).sum(1)
    if not either.any():
        return 1.0, 1.0
    return float(both.sum() / either.sum()), float(both @ areas / (either @ areas))


def machine_summary() -> dict[str, Any]:
    """Return machine, versions and date."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions,
        "date": now.isoformat(timespec="seconds"),
    }


def _object(run: DemoRun, prompt: dict[str, Any], pairs: Pairs) -> dict[str, Any]:
    first = run.first_stamp(prompt)
    where = {kind: prompt[kind] for kind in ("box", "click", "direction") if prompt[kind]}
    box = prompt["box"]
    return {
        "prompt": prompt["kind"],
        "prompt_crosses_seam": bool(box) and box[0] > box[2],
        "label": prompt["label"],
        "object_id": prompt["obj_id"],
        "success": prompt["success"],
        "message": prompt["message"],
        **where,
        "answer_ms": round(prompt["answer_ms"], 1),
        "frames_until_tracked": None if first is None else _between(run, prompt["stamp"], first),
        **pairs.summary(),
    }


def _between(run: DemoRun, prompted: int, first: int) -> int:
    return sum(prompted <= stamp < first for stamp in run.recording.stamps("image"))


def _lists(bearings: Bearings | None, obj_id: int) -> bool:
    return bearings is not None and bearings.find(obj_id) is not None


def _degrees(a: Sequence[float], b: Sequence[float]) -> float:
    return math.degrees(float(angle_between(a, b)))


def _rate(stamps: Sequence[int]) -> float | None:
    return (len(stamps) - 1) * 1e9 / (stamps[-1] - stamps[0]) if len(stamps) > 1 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _quantile(values: Sequence[float], quantile: float) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return float(np.quantile(known, quantile)) if known else None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
