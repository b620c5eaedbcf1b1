"""Set up Fast DDS and the C library so that large images arrive; imports no rclpy."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shlex
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from panosam2_ros.io.package_files import package_file

SHARED_MEMORY = Path("/dev/shm")
_MIB = 1 << 20
SEGMENT_MIB = 128  # segment_size of config/fastdds.xml
_SEGMENT = re.compile(r"fast(dds|rtps)_[0-9a-f]{16}")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def _rclpy_version() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version("rclpy")
    return "9"  # built by hand, without metadata: rather new


def profiles_variable(rclpy_version: str) -> str:
    """Return the environment variable that names Fast DDS's profile.

    ROS 2 has Fast DDS 2 until Jazzy (rclpy 7), and Fast DDS 3 since Kilted (rclpy 9).
    """
    fast_dds_2 = int(rclpy_version.split(".")[0]) < 9
    return f"{'FASTRTPS' if fast_dds_2 else 'FASTDDS'}_DEFAULT_PROFILES_FILE"


PROFILES_VARIABLE = profiles_variable(_rclpy_version())


def keep_buffers() -> bool:
    """Stop glibc from giving image buffers back to the kernel after each message.

    Every message would page-fault them again: tens of milliseconds for a large image. Return
    False where the C library has no ``mallopt``.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    held = mallopt(_M_MMAP_THRESHOLD, 1 << 30), mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    return all(held)


def profile_line() -> str:
    """Return the line to run where the camera driver is started."""
    return f"export {PROFILES_VARIABLE}={shlex.quote(str(package_file('config', 'fastdds.xml')))}"


def remove_dead_segments(folder: Path = SHARED_MEMORY, *, min_age: float = 5.0) -> int:
    """Remove the shared memory that Fast DDS processes left when they were killed; return its bytes.

    A living process holds the lock of each of its segments. Files of other users, and those younger than
    ``min_age`` s, which may be about to be locked, are left alone.
    """
    removed = 0
    for lock in folder.glob("fast*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        try:
            if not _SEGMENT.fullmatch(segment.name) or time.time() - lock.stat().st_mtime < min_age:
                continue
            with open(lock, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = segment.stat().st_size if segment.exists() else 0
                segment.unlink(missing_ok=True)
                lock.unlink()
                removed += size
        except OSError:  # it is in use, somebody else's, or was removed meanwhile
            continue
    return removed


def shared_memory_problem(folder: Path = SHARED_MEMORY) -> str:
    """Describe why the shared memory of this machine or container cannot hold images; empty where it can."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return f"there is no shared memory ({error}): mount a tmpfs at {folder}"
    total, free = found.f_blocks * found.f_frsize // _MIB, found.f_bavail * found.f_frsize // _MIB
    if total < 2 * SEGMENT_MIB:  # of the camera and of this node
        return (
            f"{folder} holds {total} MiB, and Fast DDS needs {SEGMENT_MIB} MiB of it for each process: start "
            "the container with --ipc=host or --shm-size=1g, with the camera's driver in the same one"
        )
    if free < SEGMENT_MIB // 4:
        return (
            f"{folder} is full ({free} of {total} MiB are free): processes that were killed may have left "
            f"their segments; end all nodes and run rm -f {folder}/fast*_*"
        )
    return ""


def other_users_problem(middleware: str, folder: Path = SHARED_MEMORY) -> str:
    """Describe whose images cannot reach this process, because Fast DDS's shared memory is another user's.

    Empty where there is none, and for root, who may read everything. Fast DDS itself says nothing: the
    publisher is listed, and nothing arrives.
    """
    own = os.geteuid()
    if "fastrtps" not in middleware or own == 0:
        return ""
    owners = {_owner_of_living(lock) for lock in folder.glob("fast*_el")} - {own, None}
    if not owners:
        return ""
    users = ", ".join(sorted(map(str, owners)))
    return (
        f"this node runs as user {own}, and in {folder} is shared memory of processes of user {users}, whose "
        f"images cannot reach it: run the camera's driver and the node as one user (containers: --user {own})"
    )


def _owner_of_living(lock: Path) -> int | None:
    """Return the user of the segment whose lock a living process holds, or None."""
    if not _SEGMENT.fullmatch(lock.name.removesuffix("_el")):
        return None
    try:
        owner = lock.stat().st_uid
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # it is in use, or not even to be read
        return owner
    except OSError:  # it was removed meanwhile
        return None
    return None


def loss_remedy(middleware: str) -> str:
    """Return what to do about lost images with the RMW implementation in use."""
    if "fastrtps" not in middleware:
        return f"{middleware}: raise its receive buffers (sysctl net.core.rmem_max)"
    if problem := shared_memory_problem():
        return problem
    here = "this node has it" if os.environ.get(PROFILES_VARIABLE) else "this node lacks it too"
    return f"run this where the camera driver is started ({here}): {profile_line()}"
