"""Retry a batch of objects in smaller batches when memory runs out, and release caches."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from panosam2_ros.io.out_of_memory import device_remedy, host_remedy, is_device_memory, is_out_of_memory

T = TypeVar("T")


class AdaptiveBatcher:
    """Runs work on all objects at once, until memory runs out; then on batches of them.

    ``patience``: s without running out of memory, after which batches twice as large are tried again.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.batch_size = 0  # objects; 0: all
        self.out_of_memory = 0  # times
        self._on_device = False  # whether it was the GPU's memory the last time
        # Releases what can be done without, and returns whether there was any.
        self.release_caches: Callable[[], bool] = lambda: False
        self._patience, self._since = patience, 0.0
        self._too_many = 0  # objects, that were tried when all were

    def run(self, work: Callable[[slice], T], count: int) -> list[T]:
        """Run ``work`` on the rows 0..count, all at once or in batches, each row once.

        Raises what ``work`` raised where memory runs out though nothing is left to release.
        """
        self._recover()
        done: list[T] = []
        start, alone = 0, -1
        while start < count:
            rows = slice(start, min(start + (self.batch_size or count), count))
            try:
                done.append(work(rows))
                start = rows.stop
                continue
            except Exception as error:
                tried = rows.stop - rows.start
                self._on_device = is_device_memory(error)
                # one object is tried twice: images that come meanwhile can be released again and again
                if not is_out_of_memory(error) or not self._reduce(tried) or alone == start:
                    raise
                alone = start if tried == 1 else alone
            _release()  # only now: the error held on to what it was raised among
        return done

    def warning(self) -> str:
        """Return what to tell users; empty while memory suffices."""
        if not self.out_of_memory or not (self.batch_size or self._is_recent()):
            return ""
        how = f"{self.batch_size} at a time" if self.batch_size else "all at once"
        if self._on_device:
            whose, remedy = "the GPU's memory", f"lower max_objects or mask_width; {device_remedy()}"
        else:
            whose, remedy = "memory", f"lower history_mib, max_objects or mask_width; {host_remedy()}"
        return (
            f"{whose} ran out {self.out_of_memory} times: kept images were dropped, objects are tracked "
            f"{how}; {remedy}"
        )

    def _reduce(self, tried: int) -> bool:
        """Release caches and halve the batch; return whether there was anything to reduce."""
        self.out_of_memory += 1
        self._since = time.monotonic()
        released = self.release_caches()
        if not self.batch_size:
            self._too_many = tried
        if tried > 1:
            self.batch_size = (tried + 1) // 2
        return released or tried > 1

    def _is_recent(self) -> bool:
        return time.monotonic() - self._since < self._patience

    def _recover(self) -> None:
        if self.batch_size and not self._is_recent():
            self._since = time.monotonic()
            more = 2 * self.batch_size
            self.batch_size = more if more < self._too_many else 0


def _release() -> None:
    """Give memory that nobody holds any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
