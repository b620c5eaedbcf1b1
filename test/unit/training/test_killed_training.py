"""Worker processes end with a training that is killed."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from helpers.process import Process, wait_for

TESTS = Path(__file__).parents[2]


def runs(pid: int) -> bool:
    """Return whether a process runs; one that has ended may stay in the table until somebody asks for it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.mark.faults
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """Without a watch they wait for ever: for a reader of their queue, or for work."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with Process("helpers.worker_parent", str(tmp_path), log=tmp_path / "log", PYTHONPATH=path) as parent:
        wait_for(lambda: "workers:" in parent.output and parent.output.endswith("\n"), 90, "workers")
        (line,) = re.findall(r"workers:(.*)", parent.output)
        workers = [int(pid) for pid in line.split()]
        assert len(workers) == 3 and all(map(runs, workers))
        parent.stop(signal.SIGKILL)
        try:
            wait_for(lambda: not any(map(runs, workers)), 30, "the workers to end")
        finally:
            for pid in filter(runs, workers):
                os.kill(pid, signal.SIGKILL)
