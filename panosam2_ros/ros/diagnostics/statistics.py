"""Rate, latency and errors of the node, and the message that reports them."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from panosam2_ros.ros.diagnostics.findings import OK, Finding
from panosam2_ros.ros.diagnostics.image_loss import rate
from panosam2_ros.ros.diagnostics.throttle import line

_WINDOW = 200  # images over which rate and latency are taken


class Statistics:
    """Times and errors; used by the executor's and by the worker's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: deque[float] = deque(maxlen=_WINDOW)  # s, monotonic
        self._latencies: deque[float] = deque(maxlen=_WINDOW)  # s
        self._error, self._error_at = "", -math.inf

    def processed(self, latency: float) -> None:
        """Note that an image's results were published ``latency`` s after its stamp."""
        with self._lock:
            self._done.append(time.monotonic())
            self._latencies.append(latency)

    def failed(self, error: str) -> None:
        """Note an error."""
        with self._lock:
            self._error, self._error_at = error, time.monotonic()

    def rate(self) -> float:
        """Return the rate over the last images, Hz; it falls towards 0 when they stop."""
        with self._lock:
            times = [t for t in self._done if t > time.monotonic() - 10.0]
        return rate([*times, time.monotonic()][-max(len(times), 2) :]) if len(times) > 1 else 0.0

    def latency(self, quantile: float) -> float:
        """Return a quantile of the time from image stamp to results, s; NaN before the first."""
        with self._lock:
            return float(np.quantile(self._latencies, quantile)) if self._latencies else np.nan

    @property
    def last_error(self) -> str:
        """Text of the last error; empty before the first."""
        return self._error

    @property
    def error_age(self) -> float:
        """Time since the last error, s; infinite before the first."""
        return time.monotonic() - self._error_at


def diagnostics_msg(
    stamp: object,  # builtin_interfaces Time of the report
    name: str,
    findings: Collection[Finding],
    values: Mapping[str, str],
    *,
    task: str = "tracking",
) -> DiagnosticArray:
    """Make one status, of the level of the worst finding, which comes first in its message."""
    ordered = sorted(findings, key=lambda finding: finding.level, reverse=True)
    status = DiagnosticStatus(
        level=ordered[0].level if ordered else OK,
        name=f"{name}: {task}",
        message="; ".join(line(finding.text) for finding in ordered) or values["state"],
        hardware_id=values["device"],
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array
