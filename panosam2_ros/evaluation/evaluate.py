"""Evaluation: ``python -m panosam2_ros.evaluation.evaluate --dataset ... --weights ...``.

Runs the tracker of the node, and the floors and ceilings to compare it with. Results are stored in ``--out``,
one file per sequence, and are used again while data set, weights and code stay the same. Frame numbers are
0-based.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from panosam2_ros.datasets import acceptance
from panosam2_ros.datasets.disturbed import DISTURBANCES
from panosam2_ros.datasets.ground_truth_prompts import PROMPT_KINDS
from panosam2_ros.datasets.registry import KINDS, Corners, DatasetSpec
from panosam2_ros.evaluation.equivariance import CycleRun, RollRun, roll_equivariance
from panosam2_ros.evaluation.jobs import METHODS, MODES, Job, dataset_of, run_all
from panosam2_ros.evaluation.report import ResultSubject, Row, cell, record, result_row, table
from panosam2_ros.evaluation.runner import SequenceRun, mean_J_sphere
from panosam2_ros.evaluation.summary import summarise_results
from panosam2_ros.io.json_file import write_json
from panosam2_ros.model.build import EMBEDDED
from panosam2_ros.tracking.config import VIEW_CHOICES

log = logging.getLogger(__name__)
_BASELINES = ("crops", "nearest", "keep-first", "flow", "ceiling")
LATE_SCORE_KEY = "J_sphere_frames_50_60"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _complete_options(options)
        _evaluate(options)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(2, f"evaluate: {error}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser("panosam2_ros.evaluation.evaluate", description=__doc__)
    add = parser.add_argument
    add("--dataset", required=True, help=KINDS)
    add("--weights", default=EMBEDDED, help="name or .safetensors file (default: %(default)s)")
    add("--view", choices=VIEW_CHOICES, default="auto", help="what the network sees, as the node's "
        "parameter view (default: %(default)s)")  # fmt: skip
    add("--region-size", type=int, default=0, help="side of search regions, pixels (default: the network's)")
    add("--prompt", choices=PROMPT_KINDS, default="mask", help="prompts of the tracker; floors start from "
        "the true mask of the first frame (default: %(default)s)")  # fmt: skip
    add("--method", nargs="+", choices=METHODS, help="default: tracker; for acceptance keep-first, too")
    add("--mode", choices=MODES, default="accuracy", help="accuracy: every frame; real-time: frames that "
        "arrive while the tracker is busy are dropped, and the last prediction counts for them; roll, "
        "cycle: measures without ground truth (default: %(default)s)")  # fmt: skip
    add("--rate", type=float, default=0.0, help="Hz at which frames arrive in real-time mode")
    add("--sequences", type=int, default=0, help="only the first so many (default: all)")
    add("--processes", type=int, default=1, help="sequences that run side by side, each slower, which lowers "
        "fps (default: %(default)s)")  # fmt: skip
    add("--threads", type=int, default=0, help="of each process (default: cores / processes)")
    add("--out", type=Path, default=Path("out/evaluate"), help="folder of results (default: %(default)s)")
    add("--record", type=Path, help="list of results to write rows into, e.g. models/results.json")
    add("--submission", type=Path, help="folder for label PNGs in the format of the data sets' servers")
    add("--reserved", action="store_true", help="allow material that is reserved for final acceptance")
    add("--sources", default="", help="folder of the npm packages, in place of the shipped material")
    add("--background", default="", help="panorama behind the clips of --dataset sphere:DIR (default: a grey "
        "texture)")  # fmt: skip
    add("--disturb", default="", metavar="KIND:AMOUNT", help="disturb all sequences: " + "; ".join(
        f"{kind} ({what})" for kind, (_, _, what) in DISTURBANCES.items()))  # fmt: skip
    add("--frames", type=int, default=0, help="of a video, at most (default: all)")
    add("--box", type=_numbers(4), action="append", default=[], help="U_MIN,V_MIN,U_MAX,V_MAX in a video's "
        "first frame; U_MIN > U_MAX: across the seam")  # fmt: skip
    add("--click", type=_numbers(2), action="append", default=[], help="U,V in a video's first frame")
    return parser


def _numbers(count: int) -> Callable[[str], Corners]:
    """Return a parser of ``count`` numbers with commas between them."""

    def numbers(text: str) -> Corners:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{count} numbers with commas between are needed, got {text!r}")
        return values

    return numbers


def _complete_options(options: argparse.Namespace) -> None:
    """Fill in method and threads; raise ValueError for options that do not go together."""
    if (options.mode == "real-time") != (options.rate > 0):
        raise ValueError("--mode real-time needs --rate HZ, and other modes have no --rate")
    if options.method is None:
        both = options.dataset == "acceptance" and options.mode == "accuracy"
        options.method = ["tracker", "keep-first"] if both else ["tracker"]
    if options.mode in ("roll", "cycle") and "ceiling" in options.method:
        raise ValueError("--method ceiling needs ground truth: use --mode accuracy or real-time")
    if options.record and options.mode == "cycle":
        raise ValueError("the list of results has no field for cycle consistency: leave out --record")
    if options.record and options.sequences and options.mode != "roll":
        raise ValueError("--record needs all sequences of a benchmark: leave out --record or --sequences")
    if options.submission and (len(options.method) > 1 or options.mode != "accuracy"):
        raise ValueError("--submission takes the labels of one method in accuracy mode")
    options.threads = options.threads or max(1, (os.cpu_count() or 1) // max(options.processes, 1))


def _evaluate(options: argparse.Namespace) -> None:
    """Run all methods, write their results and print the table."""
    began = time.monotonic()
    spec = DatasetSpec(
        options.dataset,
        sources=options.sources,
        reserved=options.reserved,
        frames=options.frames,
        boxes=tuple(options.box),
        clicks=tuple(options.click),
        background=options.background,
        disturbance=options.disturb,
    )
    dataset = dataset_of(spec)
    if not dataset.has_ground_truth and options.mode not in ("roll", "cycle"):
        raise ValueError(f"{dataset.name} has no ground truth: use --mode roll or --mode cycle")
    names = list(dataset.names[: options.sequences or None])
    rows, texts = [], []
    for method in options.method:
        job = _job(options, spec, method)
        row, detail = _summary(job, list(run_all(job, names, options.processes)))
        write_json(options.out / job.label / "summary.json", detail)
        rows.append(row)
        texts.append(detail.get("table", ""))
    if dataset.name == "acceptance" and options.mode == "accuracy":
        _compare_with_floor(options.method, rows, complete=len(names) == len(dataset.names))
    text = "\n\n".join(texts) if options.mode == "cycle" else table(rows)
    _publish(options, rows, text)
    log.info("%.1f minutes; results in %s", (time.monotonic() - began) / 60, options.out)


def _job(options: argparse.Namespace, spec: DatasetSpec, method: str) -> Job:
    """Return the job of a method; baselines get mask prompts."""
    prompt = "mask" if method in _BASELINES else options.prompt
    return Job(
        dataset=spec,
        method=method,
        prompt=prompt if dataset_of(spec).has_ground_truth else "given",
        mode=options.mode,
        weights=options.weights,
        view=options.view,
        region_size=options.region_size,
        rate=options.rate,
        threads=options.threads,
        out=options.out,
        submission=options.submission,
    )


def _summary(job: Job, results: list[dict[str, Any]]) -> tuple[Row, dict[str, Any]]:
    """Return the row of a method, and everything else that was measured."""
    subject = _subject(job)
    if job.mode == "cycle":
        cycles = [CycleRun.from_json(r["cycle"]) for r in results]
        return result_row(subject, None), _cycle_details(job.label, cycles)
    if job.mode == "roll":
        rolls = [RollRun.from_json(r["roll"]) for r in results]
        arbitrary, whole = roll_equivariance(rolls)
        parts = {
            "whole_strides": whole,
            "arbitrary_columns": arbitrary,
            "found_by_neither": sum(run.nothing for run in rolls),
            "runs": [run.to_json() for run in rolls],
        }
        return result_row(subject, None, roll_equivariance=arbitrary), parts
    runs = [SequenceRun.from_json(r["score"]) for r in results]
    summary = summarise_results([run.result for run in runs])
    seconds, steps = (sum(getattr(r.timing, f) for r in runs) for f in ("step_seconds", "steps"))
    timed = job.method in ("tracker", "flow") and seconds > 0
    row = result_row(subject, summary, fps=steps / seconds if timed else None)
    if dataset_of(job.dataset).name == "acceptance":
        row[LATE_SCORE_KEY] = mean_J_sphere(runs, acceptance.LATE_FRAMES)
    dropped, refused = sum(r.timing.dropped for r in runs), sum(len(r.timing.refused) for r in runs)
    return row, {**summary.to_json(), "dropped": dropped, "refused_prompts": refused}


def _subject(job: Job) -> ResultSubject:
    """Describe what a job evaluates."""
    dataset = dataset_of(job.dataset)
    name = Path(job.weights).stem if job.method == "tracker" else job.method
    if job.mode == "real-time":
        name += f" at {job.rate:g} Hz"
    size = job.input_size
    return ResultSubject(
        name=name,
        seed=dataset.seed,
        prompt=job.prompt,
        split=dataset.split,
        config_sha256=dataset.config_sha256,
        input="" if size is None else f"{size[1]}x{size[0]}",
        threads=job.threads,
        device=job.device,
        weights_sha256=job.weights_sha256,
    )


def _cycle_details(label: str, runs: list[CycleRun]) -> dict[str, Any]:
    """Return the mean cycle consistency, in which refused prompts count 0, with runs and table."""
    objects = [o for run in runs for o in run.objects]
    refused = sum(len(run.refused) for run in runs)
    every = [o.iou for o in objects] + [0.0] * refused
    return {
        "cycle_consistency": sum(every) / len(every) if every else None,
        "objects": len(every),
        "runs": [run.to_json() for run in runs],
        "table": _cycle_table(label, runs),
    }


def _compare_with_floor(methods: Sequence[str], rows: Sequence[Row], *, complete: bool) -> None:
    """Write the floor's score into the tracker's row, and log whether the acceptance criterion is met."""
    late = {method: row[LATE_SCORE_KEY] for method, row in zip(methods, rows, strict=True)}
    if not {"tracker", "keep-first"} <= late.keys() or None in late.values():
        return
    rows[methods.index("tracker")][f"keep_first_{LATE_SCORE_KEY}"] = late["keep-first"]
    wanted = max(acceptance.WANTED, late["keep-first"] + acceptance.WANTED_ABOVE_KEEP_FIRST)
    verdict = "passed" if late["tracker"] >= wanted else "not passed"
    log.info(
        "mean J_sphere over frames 50..59: tracker %.3f, keep-first %.3f, wanted %.3f: %s",
        late["tracker"], late["keep-first"], wanted,
        verdict if complete else "only some of the scenes",
    )  # fmt: skip


def _publish(options: argparse.Namespace, rows: list[Row], text: str) -> None:
    """Write rows and table into their files, and print the table."""
    if options.mode != "cycle":
        record(options.out / "results.json", rows)
        if options.record:
            record(options.record, rows)
    (options.out / f"table-{options.mode}.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")


def _cycle_table(label: str, runs: list[CycleRun]) -> str:
    """Format the cycle consistency of every object as a Markdown table."""
    lines = [
        f"| {label} | object | frames | IoU with the start mask | found in |",
        "|---|---:|---:|---:|---:|",
    ]
    for run in runs:
        where = f"| {run.name}"
        for o in run.objects:
            lines.append(f"{where} | {o.obj_id} | {run.frames} | {cell(o.iou)} | {o.found:.0%} |")
        for obj_id, why in run.refused.items():
            lines.append(f"{where} | {obj_id} | {run.frames} | refused: {why} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
