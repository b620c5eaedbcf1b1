"""Soak test, `make soak`: the node's tracker and worker over many frames while objects come and go.

It measures whether memory grows and whether frames take longer. Images and prompts go through the real
worker, without DDS; every object is prompted in an image that is some frames old, corrected, and removed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from panosam2_ros.evaluation.bench_nano import resident_mib
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.io.json_file import write_json
from panosam2_ros.model.build import EMBEDDED, build_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.ros.inference.frame_buffer import ReceivedImage
from panosam2_ros.ros.inference.worker import Callbacks, Worker
from panosam2_ros.ros.inference.worker_state import WorkerLimits
from panosam2_ros.tracking.track import TrackedFrame
from panosam2_ros.tracking.tracker import PanoTracker

WIDTH, HEIGHT = 512, 256
PERIOD = 50  # frames in which all objects come and go once; only whole periods are compared
ADDED_AT = (5, 12, 19, 26)  # frames of a period
CORRECTED_AT, EMPTIED_AT = 33, 45
LATE = 3  # frames since the image that an object is prompted in
FRAME_NS = 100_000_000
RADIUS = 0.25  # rad, of the balls
_PATIENCE = 120.0  # s for one frame

_GRID = Equirect(WIDTH, HEIGHT)
_RAYS = lonlat_to_vector(*np.meshgrid(_GRID.column_longitudes(), _GRID.row_latitudes()))
_COLOURS = np.array([(210, 40, 40), (40, 200, 60), (50, 80, 220), (220, 200, 40)], np.uint8)


def ball_mask(index: int, frame: int) -> NDArray[np.bool_]:
    """Return the mask [H, W] of ball ``index``; balls go round at several heights and speeds."""
    lon, lat = 0.9 * index + 0.01 * (index + 1) * frame, 0.5 * np.sin(0.02 * frame + index)
    return np.asarray(_RAYS @ lonlat_to_vector(lon, lat) > np.cos(RADIUS))


def render_image(frame: int, noise: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Render an image [H, W, 3] of balls in front of drifting noise."""
    image = np.roll(noise, 3 * frame, 1)
    for i, colour in enumerate(_COLOURS):
        image[ball_mask(i, frame)] = colour
    return image


@dataclass
class Soak:
    """A worker, and the results of every frame."""

    worker: Worker[NDArray[np.uint8]]
    processed: threading.Event = field(default_factory=threading.Event)
    latency_ms: list[float] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    errors: list[str] = field(default_factory=list)
    known: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, tracker: PanoTracker) -> Soak:
        """Start a worker, which runs until it is stopped."""

        def on_frame(_: Any, __: TrackedFrame) -> None:
            soak.processed.set()

        def on_error(_: Any, error: Exception) -> None:
            soak.errors.append(f"{type(error).__name__}: {error}")
            soak.processed.set()

        soak = cls(Worker(tracker, Callbacks(lambda image: image, on_frame, on_error), WorkerLimits()))
        soak.worker.start()
        return soak

    def process(self, index: int, image: NDArray[np.uint8]) -> None:
        """Send an image as the camera does, and the prompts and removals of a planner at this frame."""
        self.processed.clear()
        begin = time.monotonic()
        self.worker.offer(ReceivedImage(index * FRAME_NS, image, image.nbytes))
        if not self.processed.wait(_PATIENCE):
            raise RuntimeError(f"frame {index} was not processed within {_PATIENCE:g} s")
        self.latency_ms.append(1e3 * (time.monotonic() - begin))
        phase = index % PERIOD
        if phase in ADDED_AT:
            which = ADDED_AT.index(phase)
            prompt = Prompt(mask=ball_mask(which, index - LATE), label=f"ball {which}")
            self.known += self._prompt(prompt, index - LATE)
            self.added += 1
        elif phase == CORRECTED_AT and self.known:
            self._prompt(Prompt(obj_id=self.known[-1], mask=ball_mask(len(ADDED_AT) - 1, index)), index)
        elif phase == EMPTIED_AT:
            self.removed += len(self._run_job(lambda: self.worker.tracker.remove(self.known)))
            self.known = []

    def _prompt(self, prompt: Prompt, index: int) -> list[int]:
        """Prompt an object in frame ``index``; return its id, or nothing where the prompt is refused."""

        def job() -> Any:
            frame, image = self.worker.frame_at(index * FRAME_NS)
            return self.worker.tracker.prompt(image, frame.stamp, [prompt])

        (outcome,) = self._run_job(job)
        if outcome.track is None:
            self.errors.append(outcome.message)
            return []
        return [outcome.track.obj_id]

    def _run_job(self, job: Callable[[], Any]) -> Any:
        """Run a job on the worker's thread; return its result or raise its error."""
        answers: list[tuple[Any, Exception | None]] = []
        answered = threading.Event()

        def done(result: Any, error: Exception | None) -> None:
            answers.append((result, error))
            answered.set()

        self.worker.submit(job, done)
        if not answered.wait(_PATIENCE):
            raise RuntimeError(f"a job of the worker did not end within {_PATIENCE:g} s")
        result, error = answers[0]
        if error is not None:
            raise error
        return result


def run(frames: int, *, model: str = EMBEDDED) -> dict[str, Any]:
    """Run the soak test and return its results; ``frames`` are rounded up to whole periods, four at least."""
    periods = max(-(-frames // PERIOD), 4)
    tenth, warm_up = max(periods // 10, 1), max(periods // 5, 1)
    noise = np.random.default_rng(0).integers(60, 120, (HEIGHT, WIDTH, 3), np.uint8)
    soak, resident = Soak.start(PanoTracker(build_model(model))), []
    try:
        for period in tqdm(range(periods), desc="soak", unit="period", mininterval=5.0):
            for index in range(period * PERIOD, (period + 1) * PERIOD):
                soak.process(index, render_image(index, noise))
            resident.append(resident_mib())
    finally:
        soak.worker.stop(_PATIENCE)
    times = soak.latency_ms
    first = times[warm_up * PERIOD : (warm_up + tenth) * PERIOD]
    return {
        "frames": len(times),
        "rss_growth_mib": round(resident[-1] - resident[warm_up - 1], 2),
        "latency_ms_p50_first": round(float(np.median(first)), 2),
        "latency_ms_p50_last": round(float(np.median(times[-tenth * PERIOD :])), 2),
        "latency_ms_p95": round(float(np.quantile(times[warm_up * PERIOD :], 0.95)), 2),
        "warm_up_frames": warm_up * PERIOD,
        "rss_mib": [round(r, 1) for r in resident[:: max(periods // 20, 1)]],
        "objects_added": soak.added,
        "objects_removed": soak.removed,
        "errors": soak.errors[:20],
        "model": model,
        "image": f"{WIDTH}x{HEIGHT}",
        "load_average": os.getloadavg()[0],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 1 where a frame or a prompt failed."""
    parser = argparse.ArgumentParser("tools.soak", description=__doc__)
    add = parser.add_argument
    add("--frames", type=int, default=10_000, help=f"in whole periods of {PERIOD} (default: %(default)s)")
    add("--model", default=EMBEDDED, help="name or weights file (default: %(default)s)")
    add("--threads", type=int, default=0, help="of torch (default: its own choice)")
    add("--out", type=Path, default=Path("out/soak.json"), help="JSON file (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    given = sys.argv[1:] if arguments is None else arguments
    result = {
        "command": shlex.join(["python", "-m", "tools.soak", *given]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine("cpu", torch.get_num_threads()),
        "versions": versions(),
        **run(options.frames, model=options.model),
    }
    write_json(options.out, result)
    print("\n".join(f"{key}: {value}" for key, value in result.items()))
    if result["errors"]:
        sys.exit("soak: some frames or prompts failed, see errors")


if __name__ == "__main__":
    main()
