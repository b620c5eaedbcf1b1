"""Set up Fast DDS and the C library so that large images arrive; imports no rclpy."""

from __future__ import annotations

import contextlib
import ctypes
import os
from importlib.metadata import PackageNotFoundError, version

from panosam2_ros.io.package_files import package_file

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
    return f"export {PROFILES_VARIABLE}={package_file('config', 'fastdds.xml')}"


def loss_remedy(middleware: str) -> str:
    """Return what to do about lost images with the RMW implementation in use."""
    if "fastrtps" not in middleware:
        return f"{middleware}: raise its receive buffers (sysctl net.core.rmem_max)"
    here = "this node has it" if os.environ.get(PROFILES_VARIABLE) else "this node lacks it too"
    return f"run this where the camera driver is started ({here}): {profile_line()}"
