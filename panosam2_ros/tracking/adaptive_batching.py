"""Out of memory is not the end: the same work in smaller pieces, and what can be spared is let go."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_RAN_OUT = (
    "DefaultCPUAllocator",  # torch on a CPU raises a plain RuntimeError
    "ALLOC_FAILED",  # cuBLAS and cuDNN
    "Insufficient memory",  # OpenCV
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, the host's or the device's."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return any(text in str(error) for text in _RAN_OUT)


class AdaptiveBatcher:
    """How many objects go through the network at once: all, until memory runs out.

    ``patience``: s without running out, after which twice as many are tried again.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.at_once = 0  # objects; 0: all
        self.times = 0  # that memory ran out
        self.spare: Callable[[], bool] = lambda: False  # lets go of what can be done without: was there any?
        self._patience, self._since = patience, 0.0
        self._too_many = 0  # objects, that were tried when all were

    def pieces(self, work: Callable[[slice], T], count: int) -> list[T]:
        """``work`` on the rows 0..count, all at once or in pieces, each of them once.

        Raises what ``work`` raised where memory runs out though nothing is left to spare.
        """
        self._recover()
        done: list[T] = []
        start, alone = 0, -1
        while start < count:
            rows = slice(start, min(start + (self.at_once or count), count))
            try:
                done.append(work(rows))
                start = rows.stop
                continue
            except Exception as error:
                tried = rows.stop - rows.start
                # one object is tried twice: images that come meanwhile can be spared again and again
                if not is_out_of_memory(error) or not self._less(tried) or alone == start:
                    raise
                alone = start if tried == 1 else alone
            _release()  # only now: the error held on to what it was raised among
        return done

    def warning(self) -> str:
        """What to say of it; empty while memory suffices."""
        if not self.times or not (self.at_once or self._is_recent()):
            return ""
        how = f"{self.at_once} at a time" if self.at_once else "all at once"
        return (
            f"memory ran out {self.times} times: kept images were dropped, objects are tracked {how}; spare "
            "some with history_mib, max_objects, mask_width or a smaller model"
        )

    def _less(self, tried: int) -> bool:
        """Whether something could be reduced after that many objects were too many."""
        self.times += 1
        self._since = time.monotonic()
        spared = self.spare()
        if not self.at_once:
            self._too_many = tried
        if tried > 1:
            self.at_once = (tried + 1) // 2
        return spared or tried > 1

    def _is_recent(self) -> bool:
        return time.monotonic() - self._since < self._patience

    def _recover(self) -> None:
        if self.at_once and not self._is_recent():
            self._since = time.monotonic()
            more = 2 * self.at_once
            self.at_once = more if more < self._too_many else 0


def _release() -> None:
    """Give back to the device what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
