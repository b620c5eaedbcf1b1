"""Images without meaning, and masks given in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from panosam2_ros import PanoTracker, Prompt
from panosam2_ros.tracking.object_group import ObjectBatch
from panosam2_ros.tracking.view_planner import ViewPlanner

Image = NDArray[np.uint8]


def picture(seed: int = 0, width: int = 256, height: int = 128) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def mask_prompt(u: int, v: int, **options: int | str | bool) -> Prompt:
    mask = np.zeros((128, 256), bool)
    mask[v : v + 24, np.arange(u, u + 32) % 256] = True
    return Prompt(mask=mask, **options)  # type: ignore[arg-type]


def live_batch(tracker: PanoTracker) -> ObjectBatch:
    """Return the objects that are tracked, which are all seen in views of one kind, and their memory."""
    filled = [batch for batch in tracker._live.batches.values() if batch.objects]
    assert len(filled) <= 1
    return filled[0] if filled else next(iter(tracker._live.batches.values()))


def planner_of(tracker: PanoTracker) -> ViewPlanner:
    """Return the planner of the tracker's first kind of view."""
    return next(iter(tracker._pipelines.values())).planner
