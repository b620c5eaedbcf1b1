"""What the tests share: a ROS domain of their own, processes that always end, no leftovers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.process import ROOT

SHARED_MEMORY = Path("/dev/shm")

# Before anything imports rclpy. Tests of several processes, or of several users of one machine, must not hear
# each other; domains above 101 can collide with ephemeral ports. Workers that run test files side by side
# have neighbouring domains.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
DOMAIN = 1 + (zlib.crc32(RUN.encode()) + WORKER) % 101
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
with contextlib.suppress(ImportError):  # the core's tests need no ROS
    from panosam2_ros.ros.dds import PROFILES_VARIABLE  # imports no rclpy

    os.environ.setdefault(PROFILES_VARIABLE, str(ROOT / "config" / "fastdds.xml"))

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a shell's background; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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
