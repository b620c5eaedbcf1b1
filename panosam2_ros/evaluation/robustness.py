"""Robustness curves: ``python -m panosam2_ros.evaluation.robustness --dataset ... --out DIR``.

For every kind of disturbance and every amount of it: mean J on the sphere of the frames that are disturbed,
and its ratio to that of the same frames as they are. Prints JSON with the machine and the versions; stored
runs are used again, as by ``evaluate``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from panosam2_ros.datasets.disturbed import DISTURBANCES, Disturbance
from panosam2_ros.datasets.ground_truth_prompts import PROMPT_KINDS
from panosam2_ros.datasets.registry import DatasetSpec
from panosam2_ros.evaluation.jobs import METHODS, Job, dataset_of, run_all
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.evaluation.runner import SequenceRun, mean_J_sphere
from panosam2_ros.model.build import EMBEDDED

AMOUNTS = {
    "light": (0.3, 0.5, 0.7, 1.4, 1.8, 3.0),
    "blur": (1.0, 2.0, 4.0, 8.0),
    "jpeg": (60, 30, 15, 5),
    "every": (2, 4, 8),
}


def curves(job: Job, names: Sequence[str], kinds: Sequence[str], processes: int) -> dict[str, Any]:
    """Return J and its ratio to the undisturbed J, by kind and amount."""
    plain = _runs(job, names, processes)
    found: dict[str, Any] = {"undisturbed": {"J_sphere": _rounded(_mean(plain, None))}}
    for kind in kinds:
        found[kind] = {}
        for amount in AMOUNTS[kind]:
            disturbance = Disturbance(kind, amount)
            spec = replace(job.dataset, disturbance=f"{kind}:{amount:g}")
            own = replace(job, dataset=spec, out=job.out / f"{kind}-{amount:g}")
            disturbed, before = _mean(_runs(own, names, processes), disturbance), _mean(plain, disturbance)
            ratio = disturbed / before if disturbed is not None and before else None
            found[kind][f"{amount:g}"] = {"J_sphere": _rounded(disturbed), "ratio": _rounded(ratio)}
    return found


def _runs(job: Job, names: Sequence[str], processes: int) -> list[SequenceRun]:
    """Run a job, or read its stored results."""
    return [SequenceRun.from_json(result["score"]) for result in run_all(job, list(names), processes)]


def _mean(runs: Sequence[SequenceRun], disturbance: Disturbance | None) -> float | None:
    """Return the mean J of all object-frames from the first frame on that a disturbance changes."""
    parts = []
    for run in runs:
        frames = max(run.J_sphere, default=0) + 1
        first = 0 if disturbance is None else disturbance.changes_from(frames)
        parts.append(replace(run, J_sphere={i: own for i, own in run.J_sphere.items() if i >= first}))
    return mean_J_sphere(parts, range(max((max(r.J_sphere, default=0) for r in parts), default=0) + 1))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--dataset", required=True, help="as of evaluate, with ground truth")
    add("--weights", default=EMBEDDED, help="name or .safetensors file (default: %(default)s)")
    add("--method", choices=METHODS, default="tracker", help="default: %(default)s")
    add("--prompt", choices=PROMPT_KINDS, default="mask", help="default: %(default)s")
    add("--kind", nargs="+", choices=tuple(DISTURBANCES), default=tuple(DISTURBANCES), help="default: all")
    add("--background", default="", help="as of evaluate")
    add("--sequences", type=int, default=0, help="only the first so many (default: all)")
    add("--processes", type=int, default=1, help="sequences that run side by side (default: %(default)s)")
    add("--threads", type=int, default=1, help="of each process (default: %(default)s)")
    add("--out", type=Path, default=Path("out/robustness"), help="folder of results (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; raise ValueError for a data set without ground truth."""
    options = _parser().parse_args(arguments)
    spec = DatasetSpec(options.dataset, background=options.background)
    dataset = dataset_of(spec)
    if not dataset.has_ground_truth:
        raise ValueError(f"{dataset.name} has no ground truth, which the curves need")
    job = Job(
        dataset=spec, method=options.method, prompt=options.prompt, mode="accuracy", weights=options.weights,
        rate=0.0, threads=options.threads, out=options.out,
    )  # fmt: skip
    names = dataset.names[: options.sequences or None]
    found = curves(job, names, options.kind, options.processes)
    about = {"method": options.method, "weights": options.weights, "prompt": options.prompt,
             "dataset": dataset.name, "split": dataset.split, "sequences": len(names)}  # fmt: skip
    where = {"machine": machine(job.device, options.threads), "versions": versions()}
    print(json.dumps({**about, **where, "curves": found}, indent=1))


if __name__ == "__main__":
    main()
