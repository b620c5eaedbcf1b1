"""Steps of the default network against those of an older commit, interleaved in one run.

Each contender is a process of its own; an older commit comes from the project's own git history, into the
cache folder, and uses the packages of this environment.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from panosam2_ros.evaluation.bench_nano import render_frames
from panosam2_ros.model.build import EMBEDDED, load_model
from panosam2_ros.model.checkpoints import cache_directory

BASELINE = "532f220"
WORKING_TREE = "working tree"
# Where each contender has what is needed.
MODULES: Mapping[str, Mapping[str, str]] = {
    WORKING_TREE: {
        "build_model": "panosam2_ros.model.build",
        "use_threads": "panosam2_ros.tracking.threads",
        "PanoTracker": "panosam2_ros.tracking.tracker",
        "Prompt": "panosam2_ros.prompts.prompt",
    },
    BASELINE: {
        "build_model": "panosam2_ros.model.build",
        "PanoTracker": "panosam2_ros.tracker",
        "Prompt": "panosam2_ros.prompts",
    },
}
ROOT = Path(__file__).resolve().parents[2]
_WARM_UP = 10  # steps that are not timed


def checkout(commit: str, *, repository: Path = ROOT, cache: Path | None = None) -> Path | None:
    """Return a folder with the files of a commit; None where the repository's history does not have it."""
    folder = (cache or cache_directory() / "bench") / commit
    if folder.is_dir():
        return folder
    archive = subprocess.run(
        ["git", "-C", str(repository), "archive", commit], capture_output=True, check=False
    )
    if archive.returncode:
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent))
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(partial, filter="data")
    return partial.rename(folder)


class Contender:
    """A tracker in a process of its own."""

    def __init__(self, name: str, root: Path, frames: Path, device: str) -> None:
        """Start it on ``cpu`` or ``cuda``.

        ``frames``: a file with ``images`` [T, H, W, 3] and ``labels`` [H, W] of the first.
        """
        script = Path(__file__).with_name("bench_child.py")
        # as a user's program is started: what this process set for itself is not inherited
        environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
        command = [
            sys.executable,
            "-P",
            str(script),
            str(root),
            str(frames),
            json.dumps(MODULES[name]),
            device,
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
        )
        self.objects = int(self._answer())  # that were prompted

    def step(self) -> float:
        """Track one more frame; return its milliseconds."""
        if self.process.stdin is None:
            raise RuntimeError("a contender without standard input")
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        answer = self.process.stdout.readline() if self.process.stdout else ""
        if not answer:
            raise RuntimeError("a contender of the benchmark ended: its lines above say why")
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep processes busy that do nothing else."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def compare_with_baseline(
    steps: int, *, objects: int = 3, busy: Sequence[int] = (0, 1), device: str = "cpu"
) -> list[dict[str, Any]]:
    """Time steps of the default network, 1920x960 to a label image, alone and beside busy processes.

    Without the history's commit the baseline of the rows is None.
    """
    roots = {WORKING_TREE: ROOT, BASELINE: checkout(BASELINE)}
    video = render_frames(1920, objects, 40)
    config = load_model(EMBEDDED).config
    rows = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        frames = Path(folder) / "frames.npz"
        np.savez(frames, images=np.stack([frame.image for frame in video]), labels=video[0].labels)
        contenders = {name: Contender(name, root, frames, device) for name, root in roots.items() if root}
        for contender in contenders.values():
            running.callback(contender.close)
        for count in busy:
            with busy_processes(count):
                ms = interleaved(contenders, steps, f"beside {count} busy processes")
            rows.append({
                "model": config.name, "view": "regions", "region_size": config.input_width,
                "objects": contenders[WORKING_TREE].objects, "dtype": "float32", "device": device,
                "busy_processes": count, **compared(ms[WORKING_TREE], ms.get(BASELINE), BASELINE),
            })  # fmt: skip
    return rows


def interleaved(contenders: Mapping[str, Contender], steps: int, title: str) -> dict[str, list[float]]:
    """Return the milliseconds of each contender's steps, taken by turns in changing order."""
    ms: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for step in tqdm(range(_WARM_UP + steps), desc=title):
        for name in names[:: -1 if step % 2 else 1]:
            ms[name].append(contenders[name].step())
    return {name: each[_WARM_UP:] for name, each in ms.items()}


def compared(ms: Sequence[float], baseline: Sequence[float] | None, name: str) -> dict[str, Any]:
    """Return the part of a row that says how long steps took, and the baseline's; None: there is none."""
    other = None if baseline is None else float(np.median(baseline))
    p50, p95 = (float(x) for x in np.percentile(ms, (50, 95)))
    return {
        "ms_p50": p50,
        "ms_p95": p95,
        "baseline": None if other is None else name,
        "baseline_ms_p50": other,
        "ratio": None if other is None else other / p50,
    }
