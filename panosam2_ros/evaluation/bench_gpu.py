"""Steps on a GPU, from an image in the host's memory to a label image there, as rows of the benchmark.

The default network against an older commit on the same GPU, official SAM 2.1 in search regions against
upstream's predictor for video with all its parts compiled. Every memory bank is full.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from panosam2_ros.evaluation.bench_contenders import compare_with_baseline
from panosam2_ros.evaluation.bench_official import compare_with_upstream, noise_frames
from panosam2_ros.evaluation.bench_upstream import UPSTREAM_WARM_UP_FRAMES

VARIANTS = ("tiny", "base_plus")


def gpu_rows(
    variants: Sequence[str],
    objects: Sequence[int],
    repeats: int,
    *,
    device: str = "cuda",
    upstream_size: int = 1024,
    region_size: int = 448,
    compiled: bool = True,
) -> list[dict[str, Any]]:
    """Measure all rows; ``compiled``: upstream's parts, which takes minutes."""
    rows: list[dict[str, Any]] = []
    for count in objects:
        rows += compare_with_baseline(repeats, objects=count, busy=(0,), device=device)
    video = noise_frames(UPSTREAM_WARM_UP_FRAMES + 2 + repeats)
    for variant in variants:
        with tempfile.TemporaryDirectory() as folder:
            rows += compare_with_upstream(
                Path(folder) / f"{variant}.pt",
                video,
                objects,
                repeats,
                variant=variant,
                sizes=(upstream_size,),
                dtypes=(torch.bfloat16,),
                region_size=region_size,
                device=device,
                compiled=compiled,
            )
    return rows
