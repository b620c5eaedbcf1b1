"""The tracking of one of many sources: where its results lie, what prompts it, and whether it is done."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import Any

from panosam2_ros.cli.prompt_file import Entry, read_prompts
from panosam2_ros.io.json_file import write_json
from panosam2_ros.io.printable import printable

_DONE = "done.json"
_PROMPT_FILES = ("{}.prompts.yaml", "{}.prompts.json")
_NO_SETTINGS = ("workers", "ray", "tries", "out", "device", "prompts", "prompted", "label", "save_every")
_MOST_CHARACTERS = 300  # of a reason


@dataclass(frozen=True, eq=False)
class SourceJob:
    """One of many sources."""

    index: int
    name: str  # of its folder in that of the results
    options: argparse.Namespace  # as of a run of this source alone
    entries: Sequence[Entry]

    @property
    def log(self) -> Path:
        """The file with what its process has written."""
        return Path(self.options.out) / "log.txt"


@dataclass(frozen=True)
class JobResult:
    """How a job has ended."""

    frames: int = 0
    missing: int = 0  # frames that could not be read
    text: str = ""  # about them
    _: KW_ONLY
    error: str = ""  # why it failed; empty: it did not
    seconds: float = 0.0
    tries: int = 1
    kept: bool = False  # it was done before


def make_jobs(options: argparse.Namespace, entries: Sequence[Entry]) -> list[SourceJob]:
    """Make a job of every source; raise ValueError for sources that are given twice, and PromptListError.

    Results lie in a folder that is named as the source is below the folder that all have in common.
    """
    sources = [Path(source).expanduser().resolve() for source in options.source]
    if twice := sorted({str(source) for source in sources if sources.count(source) > 1}):
        raise ValueError(f"these sources are given more than once: {', '.join(twice[:5])}")
    if options.rerun and options.rerun.name != str(options.rerun):
        raise ValueError(
            f"of several sources --rerun takes a name, for a file in each one's folder of results, such as "
            f"run.rrd, got {options.rerun}"
        )
    common = os.path.commonpath([source.parent for source in sources])
    jobs = []
    for index, source in enumerate(sources):
        own = copy(options)
        own.source, name = str(source), os.path.relpath(source, common)
        own.out = Path(options.out).expanduser().resolve() / name
        if options.rerun:
            own.rerun = own.out / options.rerun
        jobs.append(SourceJob(index, name, own, _entries_beside(source) or entries))
    return jobs


def _entries_beside(source: Path) -> list[Entry]:
    """Read the prompts that lie beside a source; empty where there are none."""
    paths = (source.with_name(pattern.format(source.name)) for pattern in _PROMPT_FILES)
    return next((read_prompts(path) for path in paths if path.is_file()), [])


def run_job(job: SourceJob, progress: Callable[[int, int], None]) -> JobResult:
    """Track the source of a job, from its last checkpoint on.

    What no second try could change, for example a prompt that is refused, is the result's error; other
    exceptions pass.
    """
    from panosam2_ros.cli.track_run import track_source  # torch: not in the process that only waits

    print(f"process {os.getpid()} tracks {job.options.source}", flush=True)
    begun = time.monotonic()
    try:
        done = track_source(job.options, job.entries, progress)
    except ValueError as error:
        return JobResult(error=printable(str(error), most=_MOST_CHARACTERS))
    seconds = round(time.monotonic() - begun, 1)
    result = JobResult(done.frames, done.report.missing, done.report.text, seconds=seconds)
    write_json(Path(job.options.out) / _DONE, {"settings": _settings(job), **asdict(result)})
    return result


def done_before(job: SourceJob) -> JobResult | None:
    """Return the result of a job that was done before, with the same settings; None for others."""
    try:
        found = json.loads((Path(job.options.out) / _DONE).read_text())
        if found.pop("settings") == _settings(job):
            return replace(JobResult(**found), kept=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or one that is no result
        pass
    return None


def _settings(job: SourceJob) -> dict[str, Any]:
    """Return what a result depends on, as JSON has it."""
    options = {key: value for key, value in vars(job.options).items() if key not in _NO_SETTINGS}
    source = Path(job.options.source)
    changed = source.stat().st_mtime_ns if source.exists() else 0
    settings = {**options, "prompts": list(job.entries), "source_changed": changed}
    found: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return found
