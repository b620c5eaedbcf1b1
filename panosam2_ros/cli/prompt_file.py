"""Prompts of a file or of a command line, by frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.prompts.prompt import Prompt

KEYS = ("frame", "label", "object_id", "box", "points", "point_labels", "direction")
Entry = Mapping[str, Any]


class PromptListError(ValueError):
    """An invalid list of prompts; the message says what was needed and what came."""


def read_prompts(path: Path) -> list[Entry]:
    """Read the entries of a YAML or JSON file, a list of mappings with some of ``KEYS``.

    Raises PromptListError for a file that cannot be read.
    """
    try:
        entries = yaml.safe_load(path.expanduser().read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise PromptListError(f"prompts cannot be read from {path}: {reason}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PromptListError(f"{path}: needed is a list of prompts, each with some of {', '.join(KEYS)}")
    return entries


def prompts_by_frame(entries: Sequence[Entry], grid: Equirect) -> dict[int, list[Prompt]]:
    """Convert entries to prompts by frame index; raise PromptListError for an invalid entry and for none."""
    found: dict[int, list[Prompt]] = {}
    for number, entry in enumerate(entries, 1):
        try:
            frame, prompt = _prompt(entry, grid)
        except (TypeError, ValueError) as error:
            raise PromptListError(f"prompt {number}, {dict(entry)}: {error}") from error
        found.setdefault(frame, []).append(prompt)
    if not found:
        raise PromptListError("nothing to track: give --prompts FILE, --box, --click or --direction")
    return found


def _prompt(entry: Entry, grid: Equirect) -> tuple[int, Prompt]:
    """Convert an entry to a frame index and a prompt; raise TypeError or ValueError for an invalid one."""
    if unknown := set(entry) - set(KEYS):
        raise ValueError(f"{sorted(unknown)} are unknown; known are {', '.join(KEYS)}")
    frame = int(entry.get("frame", 0))
    if frame < 0:
        raise ValueError("frames count from 0")
    points = [_numbers(point, 2, "a point is u, v") for point in entry.get("points", [])]
    labels = list(entry.get("point_labels", [1] * len(points)))
    if "direction" in entry:
        points.append(_pixel(_numbers(entry["direction"], 2, "a direction is azimuth, elevation"), grid))
        labels.append(1)
    box = _numbers(entry["box"], 4, "a box is u_min, v_min, u_max, v_max") if "box" in entry else None
    return frame, Prompt(
        obj_id=int(entry.get("object_id", 0)),
        label=str(entry.get("label", "")),
        points=np.array(points, float).reshape(-1, 2),
        point_labels=np.array(labels, np.int64),
        box=(box[0], box[1], box[2], box[3]) if box else None,
    )


def _numbers(values: Any, count: int, what: str) -> list[float]:
    """Check for a list of ``count`` numbers; raise ValueError that says ``what`` they are."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ValueError(f"{what}: {count} numbers, got {values!r}")
    return [float(value) for value in values]


def _pixel(degrees: Sequence[float], grid: Equirect) -> list[float]:
    """Return the pixel of an azimuth (left positive) and an elevation, degrees, seen from the camera.

    Raises ValueError for a direction above or below the image.
    """
    u, v = grid.lonlat_to_pixel(-math.radians(degrees[0]), math.radians(degrees[1]))
    if abs(degrees[1]) > math.degrees(grid.vertical_fov) / 2 + 1e-6:
        raise ValueError(
            f"the direction {degrees} is above or below the image, whose elevations are within "
            f"{math.degrees(grid.vertical_fov) / 2:.0f} degrees"
        )
    return [float(u), min(max(float(v), 0.0), grid.height - 1.0)]
