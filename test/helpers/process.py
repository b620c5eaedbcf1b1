"""Programs of ours in processes of their own, and waiting for what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A program of ours in a process of its own; ended when the block is left, whatever happens."""

    def __init__(self, module: str, *arguments: str, log: Path, **environment: str) -> None:
        self._log = log
        self.since = time.monotonic()
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", module, *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything it has written."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout: float = 60.0) -> int:
        """Until it ends by itself; its exit code. Raises subprocess.TimeoutExpired where it does not."""
        return self._process.wait(timeout)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Signal it and wait; its exit code. Raises subprocess.TimeoutExpired where it hangs."""
        self._process.send_signal(how)
        return self._process.wait(timeout)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if error is not None:
            print(f"--- output of the process:\n{self.output[-6000:]}")


def wait_for(condition: Callable[[], object], timeout: float = 10.0, what: str = "") -> None:
    """Poll until true; fails the test after ``timeout`` s."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout} s in vain: {what or condition}"
        time.sleep(0.02)


def written_at(file: Path) -> int:
    """When it was written last, ns since 1970; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
