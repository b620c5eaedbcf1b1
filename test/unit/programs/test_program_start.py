"""Programs end quietly where nobody reads on, and with one line where something is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.process import ROOT
from panosam2_ros.cli import track

pytestmark = pytest.mark.faults
RUN = "from panosam2_ros.programs.start import run_program; run_program('program')"


def run(folder: Path, source: str, reader: str = "cat") -> subprocess.CompletedProcess[str]:
    """Run a program with this source, whose output a shell command reads; the status is the program's."""
    (folder / "program.py").write_text(source)
    path = os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")])
    command = f'{sys.executable} -c "{RUN}" | {reader}; exit ${{PIPESTATUS[0]}}'
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("count", [1, 100_000])
def test_a_reader_that_closes_the_pipe_ends_any_program_quietly(count: int, tmp_path: Path) -> None:
    """The first line may wait in Python's buffer until the end."""
    source = f"import time\ndef main():\n    time.sleep(0.5)\n    for _ in range({count}): print('a line')"
    done = run(tmp_path, source, "true")
    assert (done.returncode, done.stderr) == (0, "")


def test_another_closed_pipe_is_no_quiet_end(tmp_path: Path) -> None:
    done = run(tmp_path, "def main(): raise BrokenPipeError('of a worker')")
    assert done.returncode == 1 and "of a worker" in done.stderr


def test_what_is_not_installed_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "import a_package_of_nobody")
    assert done.returncode == 1 and done.stderr == "-c: No module named 'a_package_of_nobody'\n"


def test_the_tracking_of_files_leaves_a_closed_pipe_to_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(track, "_run", broken)
    with pytest.raises(BrokenPipeError):
        track.main(["x", "--out", "y"])
