"""What the tests share: a ROS domain of their own, processes that always end, no leftovers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SHARED_MEMORY = Path("/dev/shm")

# Before anything imports rclpy. Tests of several processes, or of several users of one machine,
# must not hear each other; domains above 101 can collide with ephemeral ports.
DOMAIN = 1 + os.getpid() % 101
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
with contextlib.suppress(ImportError):  # the core's tests need no ROS
    from panosam2_ros.ros.dds import PROFILES_VARIABLE  # imports no rclpy

    os.environ.setdefault(PROFILES_VARIABLE, str(ROOT / "config" / "fastdds.xml"))

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a shell's background; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Process:
    """A program of ours in a process of its own; ended when the block is left, whatever happens."""

    def __init__(self, module: str, *arguments: str, log: Path, **environment: str) -> None:
        self._log = log
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


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """No test leaves another number of threads: the last digits depend on it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def no_leftovers_in_shared_memory() -> Iterator[None]:
    """Fast DDS segments of processes that were killed stay for ever: take ours away."""
    yield
    for port in range(7400 + 250 * DOMAIN, 7400 + 250 * (DOMAIN + 1)):
        for name in ("fastdds_port{}", "fastdds_port{}_el", "sem.fastdds_port{}_mutex"):
            _remove_unlocked(SHARED_MEMORY / name.format(port))
    for lock in SHARED_MEMORY.glob("fastdds_" + 16 * "[0-9a-f]" + "_el"):
        if _remove_unlocked(lock):
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)


def _remove_unlocked(path: Path) -> bool:
    """Remove a file that no living process holds locked."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:
        return False
    return True
