"""Benchmark of speed and memory: ``python -m panosam2_ros.evaluation.bench --out out/bench.json``.

``step``: the default network against an older commit (``bench_contenders.py``), SAM 2.1 tiny against
upstream (``bench_official.py``), on 1920x960 frames. Run it with nothing else running. Its numbers are
reported and not checked.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from panosam2_ros.evaluation.bench_contenders import compare_with_baseline
from panosam2_ros.evaluation.bench_gpu import VARIANTS, gpu_rows
from panosam2_ros.evaluation.bench_nano import (
    median_ms,
    memory_growth,
    nano_steps,
    render_frames,
    start_tracker,
)
from panosam2_ros.evaluation.bench_official import (
    DTYPES,
    IMAGE_WIDTH,
    compare_with_upstream,
    noise_frames,
    same_tracker,
    steps_of,
    tracker_with_full_memory,
    with_copies,
)
from panosam2_ros.evaluation.bench_upstream import UPSTREAM_WARM_UP_FRAMES
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.evaluation.transfers import count_transfers
from panosam2_ros.geometry.circular import fit_image
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.json_file import write_json
from panosam2_ros.model.build import build_model, compile_trunk
from panosam2_ros.model.checkpoints import OFFICIAL_SIZE, load_official, official_config
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.propagation import empty_bank
from panosam2_ros.tracking.tracker import PanoTracker

GROWTH_SIZE = 128  # of the search regions in which official networks are run for long
INPUTS = (OFFICIAL_SIZE, (448, 896))  # H, W of regions, of panoramas
TINY = "sam2.1_hiera_tiny"


def matrix_rate(dtype: torch.dtype, *, size: int = 2048) -> float:
    """Return the speed of a square matrix product on this machine, GFLOP/s."""
    a = torch.randn(size, size).to(dtype)
    return 2 * size**3 / (1e6 * median_ms(lambda: a @ a, 10))


@torch.inference_mode()
def parts(model: PanoSAM2, objects: int, video: Sequence[ImageArray], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each part of a step."""
    bank = with_copies(tracker_with_full_memory(model, video), objects).snapshot().bank
    pixels = fit_image(video[0], *model.input_size)
    with model.precision():
        features = model.encode_image(pixels)
        read = bank.read()
        logits, present = bank.mask_logits, torch.ones(objects, dtype=torch.bool)
        timed = {
            "resize": lambda: fit_image(video[0], *model.input_size),
            "encode_image": lambda: model.encode_image(pixels),
            "memory_attention": lambda: model.condition(features, read),
            "encode_memory": lambda: model.encode_memory(features, logits, present, prompted=False),
        }
        if model.refinement is not None:
            refinement = model.refinement
            timed["refinement"] = lambda: refinement(logits, features.high_res_s4)
        if model.long_short is not None:
            long_short = model.long_short
            maps = read.maskmem_features.float()
            timed["long_short_memory"] = lambda: long_short(maps, read.long_ptr, read.long_valid)
        return {name: median_ms(action, repeats) for name, action in timed.items()}


@torch.inference_mode()
def encoder_gemm_share(model: PanoSAM2, rate: float, ms: float) -> float:
    """Return the image encoder's FLOP/s as a share of ``rate``, GFLOP/s; ``ms``: of an image."""
    with FlopCounterMode(display=False) as counter:
        model.encode_image(torch.zeros(1, 3, *model.input_size))
    return counter.get_total_flops() / (1e6 * ms) / rate


def memory_mib() -> dict[str, float]:
    """Return the MiB of one object's memory bank, by network and input."""
    found = {}
    models = [build_model(), *(PanoSAM2(official_config(TINY, *size)) for size in INPUTS)]
    for model in models:
        height, width = model.input_size
        found[f"{model.config.name} {width}x{height}"] = empty_bank(model, 1).nbytes / 2**20
    return found


def compared_ms(actions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median milliseconds of each action, timed interleaved so that disturbances affect all."""
    times = [[median_ms(action, 1) for action in actions] for _ in range(repeats)]
    return [float(ms) for ms in np.median(times, 0)]


def adapters(
    weights: Path, video: Sequence[ImageArray], repeats: int
) -> tuple[int, dict[str, dict[str, float]]]:
    """Return the number of parameters of PanoSAM2's learned parts, and the time that they add to a step."""
    models = [load_official(weights, INPUTS[-1]).eval().requires_grad_(False) for _ in range(2)]
    own = [p for part in (models[0].refinement, models[0].long_short) if part for p in part.parameters()]
    models[1].refinement = models[1].long_short = None
    full, costs = [steps_of(model, video, (1, 8)) for model in models], {}
    for count in (1, 8):
        ms, without = compared_ms([steps[count] for steps in full], repeats + 3)
        costs[str(count)] = {"ms": ms - without, "percent": 100 * (ms / without - 1)}
    return sum(p.numel() for p in own), costs


@torch.inference_mode()
def compiled(weights: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Return the encoder's milliseconds, plain and compiled, by type; empty where it cannot be compiled."""
    found = {}
    for dtype in DTYPES:
        models = [load_official(weights, INPUTS[-1]).eval().requires_grad_(False) for _ in range(2)]
        for model in models:
            model.compute_in(dtype)
        try:
            compile_trunk(models[1])
        except RuntimeError as error:
            print(error)
            return {}
        pixels = torch.zeros(1, 3, *INPUTS[-1])
        plain, fused = compared_ms([partial(_encode, model, pixels) for model in models], repeats + 3)
        found[str(dtype).removeprefix("torch.")] = {"ms": plain, "compiled_ms": fused}
    return found


def transfers(tracker: PanoTracker, images: Sequence[ImageArray]) -> dict[str, dict[str, int]]:
    """Return the median and the most copies and operations of steps on a device; see ``transfers.py``."""
    later = max(track.last_seen for track in tracker.tracks()) + 10**8
    frames = [(image, later + k * 10**8) for k, image in enumerate(images)]
    steps = count_transfers(tracker, frames, partial(same_tracker, tracker))
    counts = {
        "to_host": [len(step.to_host) for step in steps],
        "to_device": [len(step.to_device) for step in steps],
        "operations": [step.operations for step in steps],
    }
    return {name: {"median": int(np.median(each)), "most": max(each)} for name, each in counts.items()}


def _encode(model: PanoSAM2, pixels: torch.Tensor) -> None:
    """Encode an image in the model's precision."""
    with model.precision():
        model.encode_image(pixels)


def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Run all benchmarks and return their results."""
    rows = compare_with_baseline(options.steps)
    video = noise_frames(UPSTREAM_WARM_UP_FRAMES + 2 + options.repeats)
    rates = {str(d).removeprefix("torch."): matrix_rate(d) for d in DTYPES}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "tiny.pt"
        rows += compare_with_upstream(weights, video, options.objects, options.repeats)
        model = load_official(weights, INPUTS[-1]).eval().requires_grad_(False)
        by_part = {str(n): parts(model, n, video, options.repeats) for n in (1, 8)}
        count, costs = adapters(weights, video, options.repeats)
        compiling = compiled(weights, options.repeats)
        small = load_official(weights, (GROWTH_SIZE, GROWTH_SIZE)).eval().requires_grad_(False)
        official = tracker_with_full_memory(small, video)
        official_transfers = transfers(official, video)
        official_rss = memory_growth(official, video, options.growth_frames)
    nano = build_model(device="cpu")
    scene = render_frames(IMAGE_WIDTH, 3, 16)
    tracker, images = start_tracker(scene), [frame.image for frame in scene]
    small_transfers = transfers(tracker, images[::-1])
    rss = memory_growth(tracker, images, options.growth_frames, tracked=len(images))
    steps = nano_steps(options.repeats + 3)
    share = encoder_gemm_share(model, rates["float32"], by_part["1"]["encode_image"])
    return {
        "step": rows,
        "machine": machine("cpu", torch.get_num_threads()),
        "versions": versions(),
        "load_average": os.getloadavg()[0],
        "matrix_gflops": rates,
        "parts_ms": by_part,
        "nano_parts_ms": {str(n): parts(nano, n, video, 10) for n in (1, 8)},
        "nano_steps": steps,
        "encoder_gemm_share": share,
        "adapter_params": count,
        "adapter_cost": costs,
        "compiled_encoder": compiling,
        "memory_mib_per_object": memory_mib(),
        "rss_mib": rss,
        "rss_growth_mib": rss["growth"],
        "official_rss_mib": {"region_size": GROWTH_SIZE, **official_rss},
        "transfers_per_step": {nano.config.name: small_transfers, small.config.name: official_transfers},
    }


def gpu_bench(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmarks of steps on a GPU and return their results."""
    rows = gpu_rows(VARIANTS, options.objects, options.steps)
    return {"step": rows, "machine": machine(torch.cuda.get_device_name(), 1), "versions": versions()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("panosam2_ros.evaluation.bench", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("out/bench.json"), help="JSON file (default: %(default)s)")
    add("--device", choices=("cpu", "cuda"), default="cpu",
        help="what steps are measured on; cuda: nothing else is measured (default: %(default)s)")  # fmt: skip
    add("--objects", type=int, nargs="+", default=[1, 8],
        help="numbers of objects of official networks (default: %(default)s)")  # fmt: skip
    add(
        "--repeats",
        type=int,
        default=3,
        help="frames of official networks that are timed (default: %(default)s)",
    )
    add("--steps", type=int, default=60,
        help="frames of the default network that are timed (default: %(default)s)")  # fmt: skip
    add("--growth-frames", type=int, default=2000,
        help="frames of the measurement of memory growth (default: %(default)s)")  # fmt: skip
    options = parser.parse_args(arguments)
    result = gpu_bench(options) if options.device == "cuda" else bench(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
