"""Benchmark of the small network's tracker: time and memory of a step, and growth of memory."""

from __future__ import annotations

import itertools
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.model.build import build_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneFrame
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.tracker import PanoTracker

WARM_UP_FRAMES = 6  # frames before anything is timed
# Objects, columns of the image, columns of the label image (0: the image's).
CASES = ((3, 1920, 960), (3, 1920, 0), (4, 3840, 1024), (4, 3840, 0))


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """Return the median milliseconds of an action, after one run to warm up."""
    action()
    return float(np.median([milliseconds(action) for _ in range(repeats)]))


def milliseconds(action: Callable[[], object]) -> float:
    """Return the milliseconds of one run of an action."""
    began = time.perf_counter()
    action()
    return 1e3 * (time.perf_counter() - began)


def render_frames(width: int, objects: int, count: int) -> list[SceneFrame]:
    """Render a scene with its ground truth."""
    config = SceneConfig(width=width, height=width // 2, frames=count, objects=(objects, objects))
    rendered = Scene(config, AssetLibrary.shipped(Split.RESERVED, reserved=True), seed=1)
    return [rendered.render(t) for t in range(count)]


def start_tracker(
    frames: list[SceneFrame], *, config: TrackerConfig | None = None, device: str = "cpu"
) -> PanoTracker:
    """Return a tracker that got every object's mask in the first frame and has tracked all frames."""
    tracker = PanoTracker(build_model(device=device), config or TrackerConfig())
    first = frames[0]
    ids = np.unique(first.labels[first.labels > 0])
    tracker.prompt(first.image, 0, [Prompt(mask=first.labels == i) for i in ids])
    for frame in frames[1:]:
        tracker.step(frame.image, frame.index * 10**8)
    return tracker


def nano_steps(repeats: int) -> list[dict[str, Any]]:
    """Measure the milliseconds of steps, image to label image, and numpy's peak memory in a step."""
    rows = []
    for objects, width, mask_width in CASES:
        frames = render_frames(width, objects, WARM_UP_FRAMES + 1)
        config = TrackerConfig(mask_width=mask_width)
        tracker, image = start_tracker(frames[:-1], config=config), frames[-1].image
        step = partial(_step, tracker, image, itertools.count(WARM_UP_FRAMES))
        ms = median_ms(step, repeats)
        tracemalloc.start()
        step()
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        rows.append({
            "objects": len(tracker.tracks()),
            "image": f"{width}x{width // 2}",
            "mask_width": mask_width or width,
            "ms": ms,
            "numpy_peak_mib": peak,
        })  # fmt: skip
    return rows


def _step(tracker: PanoTracker, image: np.ndarray, indices: Iterator[int]) -> None:
    """Track an image as the next frame, at 10 Hz."""
    tracker.step(image, next(indices) * 10**8)


def resident_mib() -> float:
    """Return the resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_growth(
    tracker: PanoTracker, images: Sequence[ImageArray], steps: int, *, tracked: int = 0
) -> dict[str, float]:
    """Measure resident memory, MiB, after 200 and after all steps of a video played back and forth.

    ``tracked``: frames, at 10 Hz, that the tracker has seen, the last of ``images`` being the newest.
    """
    back_and_forth = itertools.cycle([*images[::-1], *images[1:-1]])
    early = 0.0
    for t in tqdm(range(1, steps + 1), desc="growth"):
        tracker.step(next(back_and_forth), (tracked + t) * 10**8)
        if t == min(200, steps):
            early = resident_mib()
    end = resident_mib()
    return {"frames": steps, "after_200_frames": early, "at_the_end": end, "growth": end - early}
