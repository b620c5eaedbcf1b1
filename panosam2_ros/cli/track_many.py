"""Tracking of many sources: one bar for all, one table at the end, and nothing done twice."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from panosam2_ros.cli.local_workers import track_locally
from panosam2_ros.cli.prompt_file import Entry
from panosam2_ros.cli.ray_tasks import track_on_ray
from panosam2_ros.cli.track_jobs import JobResult, SourceJob, done_before, make_jobs
from panosam2_ros.io.json_file import write_json
from panosam2_ros.io.printable import printable
from panosam2_ros.io.read_report import EXIT_STATUS

_TABLE = "sources.json"


def track_many(options: argparse.Namespace, entries: Sequence[Entry]) -> int:
    """Track all sources of the command line and print a table; return the exit status.

    1: a source failed; else 3: frames of a source could not be read; else 0. Raises ValueError and OSError.
    """
    jobs = make_jobs(options, entries)
    results = {job.index: kept for job in jobs if (kept := done_before(job)) is not None}
    waiting = [job for job in jobs if job.index not in results]
    with _ManyBar(jobs, results) as bar:
        for job, result in _run(waiting, options, bar):
            results[job.index] = result
            bar.finished(job, result)
    write_json(
        Path(options.out) / _TABLE,
        [{"source": job.options.source, "name": job.name, **asdict(results[job.index])} for job in jobs],
    )
    print(*table_lines(jobs, results), sep="\n")
    if any(result.error for result in results.values()):
        return 1
    return EXIT_STATUS if any(result.missing for result in results.values()) else 0


def _run(
    jobs: Sequence[SourceJob], options: argparse.Namespace, bar: _ManyBar
) -> Iterator[tuple[SourceJob, JobResult]]:
    """Run jobs where the command line says."""
    if not jobs:
        return iter(())
    if options.ray:
        return track_on_ray(
            jobs, options.ray, workers=options.workers, tries=options.tries, advanced=bar.advanced
        )
    return track_locally(jobs, workers=options.workers or 1, tries=options.tries, advanced=bar.advanced)


class _ManyBar:
    """One bar for the frames of all sources; those of sources that were not opened yet are estimated."""

    def __init__(self, jobs: Sequence[SourceJob], results: dict[int, JobResult]) -> None:
        self._count = len(jobs)
        self._totals = {index: result.frames for index, result in results.items()}
        self._done = dict(self._totals)
        self._ended = len(results)
        self._bar = tqdm(unit="frame", initial=sum(self._done.values()), smoothing=0.05)
        self._show()

    def __enter__(self) -> _ManyBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advanced(self, job: SourceJob, done: int, total: int) -> None:
        """Note how far a job is."""
        self._done[job.index], self._totals[job.index] = done, max(total, done)
        self._show()

    def finished(self, job: SourceJob, result: JobResult) -> None:
        """Note that a job has ended."""
        self._ended += 1
        self.advanced(job, result.frames, result.frames)
        if result.error:
            text = f"panosam2_track: {printable(job.name)} failed: {result.error}"
            self._bar.write(text, file=sys.stderr)

    def _show(self) -> None:
        known = sum(self._totals.values())
        mean = known / len(self._totals) if self._totals else 0
        self._bar.total = round(known + mean * (self._count - len(self._totals))) or None
        self._bar.set_description(f"{self._ended} of {self._count} sources", refresh=False)
        self._bar.update(sum(self._done.values()) - self._bar.n)


def table_lines(jobs: Sequence[SourceJob], results: dict[int, JobResult]) -> Iterator[str]:
    """Yield the lines of a table of all jobs, and of their number."""
    names = [printable(job.name, most=100) for job in jobs]
    width = max(len(name) for name in names)
    yield f"{'source':{width}}  {'frames':>8} {'missing':>8} {'tries':>5} {'minutes':>8}  result"
    for job, name in zip(jobs, names, strict=True):
        result = results[job.index]
        how = f"failed: {result.error}" if result.error else "done before" if result.kept else "done"
        more = "; ".join(filter(None, [how, result.text, f"see {name}/log.txt" if result.error else ""]))
        numbers = f"{result.frames:8} {result.missing:8} {result.tries:5} {result.seconds / 60:8.1f}"
        yield f"{name:{width}}  {numbers}  {more}"
    failed = sum(bool(result.error) for result in results.values())
    yield f"{len(jobs) - failed} of {len(jobs)} sources are tracked, {failed} failed"
