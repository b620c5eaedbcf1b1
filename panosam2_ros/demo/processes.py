"""Start the processes of a demo and end all of them with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from panosam2_ros.io.package_files import package_file
from panosam2_ros.ros.dds import PROFILES_VARIABLE

# SIGTERM first: Python answers a SIGINT that comes before it has begun with a traceback
_STEPS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))  # s of patience
_DOMAINS = 100  # 1..100 leave the ports of Linux's ephemeral range alone


@dataclass(frozen=True)
class Child:
    """A running process; ``log`` is None where it writes to our own output."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None


class Processes:
    """A context that ends every process that was started in it, however it is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder  # for the logs
        self._children: list[Child] = []
        self._environment = process_environment(folder)

    def start(self, name: str, module: str, arguments: Sequence[str], *, quiet: bool = True) -> Child:
        """Run a module of this package; its output goes to a log file if ``quiet``."""
        log = self._folder / f"{name}.log" if quiet else None
        # it asks Linux to be ended with us; a preexec_fn would lose signals that come while it forks
        command = [sys.executable, "-m", "panosam2_ros.programs", str(os.getpid()), module, *arguments]
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("wb")) if log else None
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
            )
        self._children.append(Child(name, process, log))
        return self._children[-1]

    def ended(self) -> list[Child]:
        """Return the processes that have ended."""
        return [child for child in self._children if child.process.poll() is not None]

    def find(self, name: str) -> Child:
        """Return the process of that name."""
        return next(child for child in self._children if child.name == name)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for child in reversed(self._children):  # all at once: each may take seconds
            if child.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGTERM)
        for child in reversed(self._children):
            self._end(child.process)
        if any((child.process.returncode or 0) < 0 for child in self._children):
            clean_shared_memory()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        for number, patience in _STEPS:
            if process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def process_environment(log_folder: Path) -> dict[str, str]:
    """Return our environment, with settings that let images arrive, and a ROS domain of its own."""
    ours = {
        PROFILES_VARIABLE: str(package_file("config", "fastdds.xml")),
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
        "ROS_DOMAIN_ID": str(1 + os.getpid() % _DOMAINS),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(log_folder / "ros"),
        "PYTHONUNBUFFERED": "1",
    }
    return {**ours, **os.environ}


def clean_shared_memory(folder: Path = Path("/dev/shm")) -> int:
    """Remove the segments that killed processes left, 128 MiB each; return how many.

    A process keeps the lock file of its segment locked while it lives. (`fastdds shm clean` does
    the same but needs a package that ROS does not bring.)
    """
    removed = 0
    for lock in folder.glob("fast*_????????????????_el"):  # fastdds_, until Fast DDS 2 fastrtps_
        with contextlib.suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
            lock.unlink()
            removed += 1
    return removed


def tail(log: Path | None, lines: int = 25) -> str:
    """Return the last lines of a log."""
    if log is None or not log.is_file():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
