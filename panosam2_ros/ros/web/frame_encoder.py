"""Encode panoramas for browsers on a thread of its own, the newest first, at a bounded rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import Image

from panosam2_ros.io.printable import printable
from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.ros.inference.latest_only_thread import LatestOnlyThread
from panosam2_ros.ros.panorama_snapshot import snapshot_of
from panosam2_ros.ros.web.browser_frame import encode_frame
from panosam2_ros.ros.web.web_parameters import WebParameters

_EARLY = 0.2  # of the period by which a panorama may come too early: cameras are not exact
_PATIENCE = 2.0  # s for the picture that is being encoded at the end


@dataclass(frozen=True, eq=False)
class _Messages:
    """A panorama of the node and what belongs to it."""

    panorama: Image
    masks: Image | None
    bearings: ObjectBearingArray | None


class FrameEncoder:
    """Encodes what it is offered, and hands the newest frame over; ``offer`` never waits."""

    def __init__(
        self, settings: WebParameters, encoded: Callable[[bytes], None], failed: Callable[[str], None]
    ) -> None:
        self._settings, self._encoded, self._failed = settings, encoded, failed
        self._lock = threading.Lock()
        self._tracker: dict[str, Any] | None = None  # SNAPSHOT_PARAMETERS of the node
        self._last = 0.0
        self._thread = LatestOnlyThread(self._encode, "encode")

    @property
    def tracker_parameters(self) -> dict[str, Any] | None:
        """The node's parameters that say how its panorama is to be read; None until they are known."""
        with self._lock:
            return self._tracker

    @tracker_parameters.setter
    def tracker_parameters(self, values: dict[str, Any] | None) -> None:
        with self._lock:
            self._tracker = values

    def offer(self, panorama: Image, masks: Image | None, bearings: ObjectBearingArray | None) -> None:
        """Take a panorama, unless one was taken just before it."""
        now = time.monotonic()
        if self.tracker_parameters is None or now - self._last < (1 - _EARLY) / self._settings.max_rate:
            return
        self._last = now
        self._thread.offer(_Messages(panorama, masks, bearings))

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop(_PATIENCE)

    def _encode(self, messages: _Messages) -> None:
        known = self.tracker_parameters
        if known is None:
            return
        settings = self._settings
        try:
            snapshot = snapshot_of(messages.panorama, messages.masks, messages.bearings, known)
            frame = encode_frame(
                snapshot, most_columns=settings.image_width, jpeg_quality=settings.jpeg_quality
            )
        except Exception as error:  # of a message that cannot be read, or for want of memory
            self._failed(printable(f"{type(error).__name__}: {error}"))
            return
        self._encoded(frame)
