"""Errors that say that memory ran out: the host's or a GPU's, and what to do about each."""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Iterator
from pathlib import Path

from panosam2_ros.io.printable import printable

_MIB = 1 << 20
_HOST = (
    "DefaultCPUAllocator",  # torch on a CPU raises a plain RuntimeError
    "Insufficient memory",  # OpenCV
    "Failed to allocate",  # OpenCV's reason alone
    "Cannot allocate memory",  # the C library
    "std::bad_alloc",
    "failed to map segment",  # of a library that is imported
    "start new thread",  # its stack needs memory
    "Resource temporarily unavailable",  # nor can a thread in C++
)
_DEVICE = (
    "ALLOC_FAILED",  # cuBLAS and cuDNN
    "CUDA out of memory",
    "CUDA error: out of memory",
)
_NO_RESOURCE = (errno.ENOMEM, errno.EAGAIN)  # the latter where a thread cannot be started
_CGROUPS = tuple(Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory/memory.limit_in_bytes"))
_LONGEST = 200  # characters of an error that are quoted


class LackOfMemoryError(MemoryError):
    """Memory ran out; the message says whose, and what to do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, the host's or the device's."""
    return any(
        isinstance(each, MemoryError)
        or (isinstance(each, OSError) and each.errno in _NO_RESOURCE)
        or type(each).__name__ == "OutOfMemoryError"  # of torch, which is not imported for this
        or any(text in str(each) for text in (*_HOST, *_DEVICE))
        for each in _causes(error)
    )


def is_device_memory(error: BaseException) -> bool:
    """Return whether the memory that ran out is a GPU's."""
    return any(
        type(each).__name__ == "OutOfMemoryError" or any(text in str(each) for text in _DEVICE)
        for each in _causes(error)
    )


def memory_problem(error: BaseException) -> str:
    """Describe an error that says that memory ran out, and what to do."""
    if isinstance(error, LackOfMemoryError):
        return str(error)
    reason = printable(" ".join(str(error).split()), most=_LONGEST) or type(error).__name__
    if is_device_memory(error):
        return f"the GPU's memory ran out ({reason}): {device_remedy()}"
    return f"memory ran out ({reason}): {host_remedy()}"


def device_remedy() -> str:
    """Return what to do about a lack of a GPU's memory."""
    return (
        "end other programs that use the GPU (nvidia-smi lists them), track fewer objects, or use a smaller "
        "model or the device cpu"
    )


def host_remedy() -> str:
    """Return what to do about a lack of the host's memory, by the limit that applies."""
    return f"{_limit()}; or use smaller images, fewer objects or a smaller model"


def raise_lack_of_memory(error: BaseException) -> None:
    """Raise LackOfMemoryError where an error says that memory ran out.

    For places that take any other error for damage in a file or a message.
    """
    if is_out_of_memory(error):
        raise LackOfMemoryError(memory_problem(error)) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__


def _limit() -> str:
    """Name the limit of this process's memory, and how to raise it."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        return f"this process may have {allowed // _MIB} MiB of addresses: raise ulimit -v"
    memory = _meminfo()
    for path in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # no such limit; "max"
            limit = int(path.read_text()) // _MIB
            if limit < memory.get("MemTotal", 0):
                return f"this container may have {limit} MiB: raise its limit, as by docker run --memory"
    return f"{memory.get('MemAvailable', 0)} MiB of this machine are available: end other programs"


def _meminfo() -> dict[str, int]:
    """Return sizes in /proc/meminfo, MiB; empty where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        return {words[0].rstrip(":"): int(words[1]) // 1024 for words in lines}
    return {}
