"""What the page says of the tracking node: whether images come, and what /diagnostics says is wrong."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

_SILENT = 5.0  # s without diagnostics after which the node seems to have ended
_LOADING = 15.0  # s for a node that is started together with this one to be heard
_LEVELS = {DiagnosticStatus.OK: "ok", DiagnosticStatus.WARN: "warn", DiagnosticStatus.ERROR: "error"}
_SHOWN = ("state", "rate_hz", "latency_p50_ms", "model", "device")  # values of the node's diagnostics


@dataclass(frozen=True)
class _Said:
    """The newest diagnostics of the node."""

    at: float  # s, monotonic
    level: str
    message: str
    values: dict[str, str]


class TrackerHealth:
    """Keeps the newest diagnostics of the tracking node; used by several threads."""

    def __init__(self, name: str, input_timeout: float) -> None:
        self._status_name = f"{name}: tracking"
        self._timeout = input_timeout
        self._lock = threading.Lock()
        self._said: _Said | None = None
        self._started = self._begun = time.monotonic()
        self._image_at: float | None = None
        self.problem = ""  # why a panorama that came cannot be shown

    def take(self, message: DiagnosticArray) -> None:
        """Take a message of /diagnostics."""
        for status in message.status:
            if status.name == self._status_name:
                values = {item.key: item.value for item in status.values if item.key in _SHOWN}
                level = _LEVELS.get(status.level, "error")
                with self._lock:
                    self._said = _Said(time.monotonic(), level, status.message, values)

    def image_came(self) -> None:
        """Note that a panorama of the node has come."""
        self._image_at, self.problem = time.monotonic(), ""

    def looking(self) -> None:
        """Note that panoramas are subscribed to from now on: none can have come earlier."""
        self._begun, self._image_at = time.monotonic(), None

    def values(self) -> dict[str, Any]:
        """Return what the page shows, for JSON: a level, a short text, and the remedy that the node gives."""
        now = time.monotonic()
        with self._lock:
            said = self._said
        quiet = now - (self._image_at or self._begun)
        silent = said is None or now - said.at > _SILENT
        if said is None or silent:
            level, summary, remedy = "error", *self._absent(said)
        else:
            level, summary, remedy = said.level, "", said.message if said.level != "ok" else ""
            if self.problem:
                level, summary, remedy = "error", "The panorama cannot be shown", self.problem
            elif quiet > self._timeout:
                level, summary = "error", f"No image for {quiet:.0f} s"
                remedy = remedy or "is the node active, and does its camera send images?"
        if silent and self._image_at is not None and quiet < self._timeout:
            level, summary, remedy = "ok", "", ""  # images come: only its diagnostics are late
        return {
            "level": level,
            "summary": summary,
            "remedy": remedy,
            "images": self._image_at is not None and quiet < self._timeout,
            **({"tracker": said.values} if said is not None and not silent else {}),
        }

    def _absent(self, said: _Said | None) -> tuple[str, str]:
        """Describe that nothing is heard of the node."""
        name = self._status_name.removesuffix(": tracking")
        if said is not None:
            return f"{name} has ended or hangs", "see its log, and start it again"
        if time.monotonic() - self._started < _LOADING:
            return f"Waiting for {name}", "it may still load its model"
        return (
            f"No node {name} is heard on /diagnostics",
            "start it (ros2 run panosam2_ros panosam2_node), with the same ROS_DOMAIN_ID; for another name "
            "or namespace set the parameter tracker",
        )
