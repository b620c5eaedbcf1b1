"""What goes on in the node, counted and told on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from panosam2_ros.ros.transport import rate
from panosam2_ros.ros.worker import WorkerCounts

_WINDOW = 200  # images over which rate and latency are taken
_ERROR_STAYS = 5.0  # s for which an error shows in the level
_MOST_TEXTS = 100


class Throttle:
    """Lets each text through once per period; forgets the oldest of too many."""

    def __init__(self, period: float = 10.0) -> None:
        self._period = period  # s
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def due(self, text: str) -> bool:
        """Whether to say this text now."""
        now = time.monotonic()
        with self._lock:
            last = self._last.get(text)
            if last is not None and now - last < self._period:
                return False
            self._last.pop(text, None)
            self._last[text] = now
            if len(self._last) > _MOST_TEXTS:
                del self._last[next(iter(self._last))]
            return True


class Statistics:
    """Times and errors; written by the executor's and by the worker's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: deque[float] = deque(maxlen=_WINDOW)  # s, monotonic
        self._latencies: deque[float] = deque(maxlen=_WINDOW)  # s
        self._error, self._error_at = "", -_ERROR_STAYS

    def processed(self, latency: float) -> None:
        """An image's results were published ``latency`` s after its stamp."""
        with self._lock:
            self._done.append(time.monotonic())
            self._latencies.append(latency)

    def failed(self, error: str) -> None:
        """Something went wrong."""
        with self._lock:
            self._error, self._error_at = error, time.monotonic()

    def rate(self) -> float:
        """Hz, over the last images; falls towards 0 when they stop."""
        with self._lock:
            times = [t for t in self._done if t > time.monotonic() - 10.0]
        return rate([*times, time.monotonic()][-max(len(times), 2) :]) if len(times) > 1 else 0.0

    def latency(self, quantile: float) -> float:
        """s, from the image's stamp to its results; NaN before the first."""
        with self._lock:
            return float(np.quantile(self._latencies, quantile)) if self._latencies else np.nan

    @property
    def last_error(self) -> str:
        return self._error

    @property
    def error_is_fresh(self) -> bool:
        return time.monotonic() - self._error_at < _ERROR_STAYS


@dataclass(frozen=True)
class Health:
    """What one diagnostic message says."""

    state: str  # of the lifecycle
    warnings: tuple[str, ...]
    counts: WorkerCounts
    lost: int
    objects: int
    memory_mib: float
    device: str
    dds: str
    more: Mapping[str, str] = field(default_factory=dict)  # further values by key


def diagnostics_msg(stamp: object, name: str, health: Health, stats: Statistics) -> DiagnosticArray:
    """One status; ``stamp`` is the time of the report, a builtin_interfaces Time."""
    level, message = DiagnosticStatus.OK, health.state
    if health.warnings:
        level, message = DiagnosticStatus.WARN, "; ".join(health.warnings)
    if stats.error_is_fresh:
        level, message = DiagnosticStatus.ERROR, stats.last_error
    values = {
        "state": health.state,
        "rate_hz": f"{stats.rate():.2f}",
        "latency_p50_ms": f"{1e3 * stats.latency(0.5):.1f}",
        "latency_p95_ms": f"{1e3 * stats.latency(0.95):.1f}",
        "frames_received": str(health.counts.received),
        "frames_processed": str(health.counts.processed),
        "frames_dropped": str(health.counts.dropped),
        "frames_failed": str(health.counts.failed),
        "frames_lost": str(health.lost),
        "objects": str(health.objects),
        "memory_mib": f"{health.memory_mib:.2f}",
        "device": health.device,
        "last_error": stats.last_error,
        "dds": health.dds,
        **health.more,
    }
    status = DiagnosticStatus(
        level=level,
        name=f"{name}: tracking",
        message=message,
        hardware_id=health.device,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array
