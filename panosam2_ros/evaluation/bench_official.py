"""Steps of official SAM 2.1 in search regions against upstream's predictor, interleaved in one run.

Both have the same random weights. Upstream sees the whole image at its input size, once for all objects; we
see a region round each object. Every memory bank is full.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from panosam2_ros.evaluation.bench_contenders import compared
from panosam2_ros.evaluation.bench_nano import milliseconds
from panosam2_ros.evaluation.bench_upstream import UPSTREAM_WARM_UP_FRAMES, UpstreamRun, upstream_predictor
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.model.checkpoints import OFFICIAL_SIZE, load_official
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.object_group import ObjectBatch
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.tracking.view import InputView
from panosam2_ros.tracking.view_planner import RegionPlanner, ViewPlan

IMAGE_WIDTH, HEIGHT = 1920, 960
UPSTREAM_SIZES = (1024, 512)
DTYPES = (torch.float32, torch.bfloat16)
BOX = Prompt(box=(300, 300, 600, 700))


def noise_frames(count: int, *, seed: int = 0) -> list[ImageArray]:
    """Return panoramas of coarse noise that differ from each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (count, HEIGHT // 32, IMAGE_WIDTH // 32, 3), np.uint8)
    return [np.asarray(c.repeat(32, 0).repeat(32, 1)) for c in coarse]


class StillPlanner(RegionPlanner):
    """Looks once a frame where the prompt was: random weights would lose the object and look everywhere."""

    def plan(self, group: ObjectBatch, frame: Frame) -> ViewPlan:
        """Return the regions of the prompts."""
        return ViewPlan([item.view for item in group.objects])

    def second_looks(
        self, item: TrackedObject, view: InputView, logits: object, stamp: int
    ) -> list[InputView]:
        """Return none."""
        return []

    def next_view(self, view: InputView, logits: object, *, prompted: bool) -> InputView:
        """Return the same region."""
        return view


def tracker_with_full_memory(model: PanoSAM2, video: Sequence[ImageArray]) -> PanoTracker:
    """Return a tracker of one object whose memory bank is full."""
    view = "regions" if model.config.regions else "panorama"
    planner = StillPlanner(model) if model.config.regions else None
    tracker = PanoTracker(model, TrackerConfig(view=view), planner=planner)
    if not tracker.prompt(video[0], 0, [BOX])[0].success:
        raise RuntimeError("a network with random weights found nothing in a box: choose another seed")
    for t in range(1, UPSTREAM_WARM_UP_FRAMES + 1):
        tracker.step(video[t % len(video)], t)
    return tracker


def same_tracker(tracker: PanoTracker, model: PanoSAM2) -> PanoTracker:
    """Return an empty tracker that looks where another one does, with its network or a copy of it."""
    still = StillPlanner(model) if isinstance(tracker.planner, StillPlanner) else None
    return PanoTracker(model, tracker.config, planner=still)


def with_copies(tracker: PanoTracker, objects: int) -> PanoTracker:
    """Return a tracker of ``objects`` objects, all with the history of the one object of ``tracker``."""
    snapshot = tracker.snapshot()
    (item,) = snapshot.objects
    several = same_tracker(tracker, tracker.model)
    several.restore(
        replace(
            snapshot,
            banks={
                kind: bank.select(torch.zeros(objects * len(bank), dtype=torch.int64))
                for kind, bank in snapshot.banks.items()
            },
            objects=tuple(replace(item, obj_id=i + 1) for i in range(objects)),
            next_id=objects + 1,
        )
    )
    return several


def steps_of(
    model: PanoSAM2, video: Sequence[ImageArray], objects: Sequence[int]
) -> dict[int, Callable[[], object]]:
    """Return by number of objects what tracks them through another image, to a label image."""
    full, stamps = tracker_with_full_memory(model, video), itertools.count(UPSTREAM_WARM_UP_FRAMES + 1)
    return {count: partial(_step, with_copies(full, count), video[0], stamps) for count in objects}


def _step(tracker: PanoTracker, image: ImageArray, stamps: Iterator[int]) -> None:
    """Track an image at the next stamp."""
    tracker.step(image, next(stamps))


def compare_with_upstream(
    weights: Path,
    video: Sequence[ImageArray],
    objects: Sequence[int],
    repeats: int,
    *,
    variant: str = "tiny",
    sizes: Sequence[int] = UPSTREAM_SIZES,
    dtypes: Sequence[torch.dtype] = DTYPES,
    region_size: int = OFFICIAL_SIZE[0],
    device: str = "cpu",
    compiled: bool = False,
) -> list[dict[str, Any]]:
    """Time both for every number of objects and type; write the random weights to ``weights``.

    ``compiled``: upstream's predictor for video, with all its parts compiled.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        predictors = {
            size: upstream_predictor(size, variant, device=device, compiled=compiled) for size in sizes
        }
        runs = {size: UpstreamRun(each, video, Path(folder)) for size, each in predictors.items()}
        state = {name: x.cpu() for name, x in predictors[sizes[0]].state_dict().items()}
        torch.save({"model": state}, weights)
        for dtype in dtypes:
            model = load_official(weights, (region_size, region_size)).eval().requires_grad_(False)
            model.to(device)
            model.compute_in(dtype)
            ours = steps_of(model, video, objects)
            theirs = {size: run.steps(objects, dtype) for size, run in runs.items()}
            for count in tqdm(objects, desc=str(dtype)):
                actions = {0: ours[count], **{size: steps[count] for size, steps in theirs.items()}}
                ms = interleaved_ms(actions, repeats)
                rows += [
                    {
                        "model": model.config.name, "view": "regions", "region_size": region_size,
                        "objects": count, "dtype": str(dtype).removeprefix("torch."), "device": device,
                        "busy_processes": 0, **compared(ms[0], ms[size], "upstream"),
                        "baseline_input": f"{size}x{size}", "baseline_compiled": compiled,
                    }
                    for size in sizes
                ]  # fmt: skip
    return rows


def interleaved_ms(actions: Mapping[int, Callable[[], object]], repeats: int) -> dict[int, list[float]]:
    """Return the milliseconds of actions, taken by turns; the first of each warms up and is not counted."""
    ms: dict[int, list[float]] = {name: [] for name in actions}
    for _ in range(repeats + 1):
        for name, action in actions.items():
            ms[name].append(milliseconds(action))
    return {name: each[1:] for name, each in ms.items()}
