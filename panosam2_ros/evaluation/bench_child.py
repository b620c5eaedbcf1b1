"""One contender of a benchmark in its own process: ``python bench_child.py ROOT FRAMES MODULES DEVICE``.

Tracks the objects of a stored video, with the package of the checkout ROOT and in its defaults, one frame
for each line on standard input; answers with the milliseconds. MODULES: see ``bench_contenders.py``. Run by
its path, since the package that it measures may be an older one.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main(root: str, frames: str, modules: str, device: str) -> None:
    """Load the network, track some frames, then answer."""
    sys.path.insert(0, root)
    found: dict[str, Any] = {
        name: getattr(importlib.import_module(module), name) for name, module in json.loads(modules).items()
    }
    package = importlib.import_module("panosam2_ros").__file__ or ""
    if not Path(package).is_relative_to(root):
        raise RuntimeError(f"the package of {root} was asked for and {package} was imported")
    model = found["build_model"](device=device)
    if "use_threads" in found:  # as programs of that checkout do
        found["use_threads"](0, model)
    tracker = found["PanoTracker"](model)
    stored = np.load(frames)
    images, labels = stored["images"], stored["labels"]
    prompts = [found["Prompt"](mask=labels == i) for i in np.unique(labels[labels > 0])]
    order = [*range(1, len(images)), *range(len(images) - 2, -1, -1)]  # forward and back
    answers = tracker.prompt(images[0].copy(), 0, prompts)
    print(sum(answer.success for answer in answers), flush=True)
    for step, _ in enumerate(sys.stdin):
        image = images[order[step % len(order)]].copy()
        began = time.perf_counter()
        tracker.step(image, (step + 1) * 10**8)
        print(1e3 * (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
