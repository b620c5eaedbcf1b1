"""The content of one diagnostic message, and the limits beyond which something is wrong."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from panosam2_ros.io.video_stream import StreamStatus
from panosam2_ros.ros.diagnostics.findings import ERROR, OK, WARN, Finding, above, below
from panosam2_ros.ros.diagnostics.statistics import Statistics
from panosam2_ros.ros.inference.latest_only_thread import LatestCounts
from panosam2_ros.ros.inference.progress import WorkerProgress
from panosam2_ros.ros.inference.worker_state import WorkerCounts, WorkerQueue
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.tracker import PanoTracker

_SOME_FRAMES, _MORE_FRAMES = 5, 10  # times the usual duration of an image before results are missed
_OTHER_CLOCK = 3600.0  # s of latency that no queue explains


@dataclass(frozen=True)
class TrackerStatus:
    """What a tracker knew when its thread last updated this."""

    by_state: dict[TrackState, int] = field(default_factory=dict)
    memory_mib: float = 0.0
    at_once: int = 0  # objects that go through the network; 0: all
    out_of_memory: int = 0  # times
    shortage: str = ""  # what was reduced since memory ran out

    @classmethod
    def of(cls, tracker: PanoTracker) -> TrackerStatus:
        """Read a tracker's status; called on its thread."""
        states = Counter(track.state for track in tracker.tracks())
        batcher = tracker.batcher
        return cls(
            dict(states),
            tracker.memory_bytes / 2**20,
            batcher.batch_size,
            batcher.out_of_memory,
            batcher.warning(),
        )

    @property
    def objects(self) -> int:
        """Number of known objects."""
        return sum(self.by_state.values())


@dataclass(frozen=True)
class ModelInfo:
    """The network and its device; empty while unconfigured."""

    device: str = ""
    model: str = ""
    weights_sha256: str = ""


@dataclass(frozen=True)
class DetectionCounts:
    """What became of the messages of `~/detections_in`, and of their boxes, since the start."""

    received: int = 0  # messages
    dropped: int = 0  # replaced by a newer one before their turn, or while objects were replayed
    refused: int = 0  # could not be used: without a stamp, or too large
    expired: int = 0  # about an image that is not held
    boxes_refused: int = 0  # not finite, outside the image, ...
    objects: int = 0  # made


@dataclass(frozen=True)
class NodeStatus:
    """The content of one diagnostic message."""

    state: str  # of the lifecycle
    counts: WorkerCounts = field(default_factory=WorkerCounts)
    queue: WorkerQueue = field(default_factory=WorkerQueue)
    lost: int = 0  # images that were published and did not arrive
    tracked: TrackerStatus = TrackerStatus()
    model: ModelInfo = ModelInfo()
    views: LatestCounts = field(default_factory=LatestCounts)
    dds: str = ""
    progress: WorkerProgress = field(default_factory=WorkerProgress)
    restarts: int = 0  # times that inference was started anew
    not_taken: int = 0  # messages for which there was no memory
    detections: DetectionCounts = DetectionCounts()
    stream: StreamStatus = field(default_factory=StreamStatus)  # of a video stream
    stream_dropped: int = 0  # packets that were left out since decoding was too slow

    def values(self, statistics: Statistics) -> dict[str, str]:
        """Return keys and values of the message; docs/diagnostics.md explains each."""
        counts, queue, tracked = self.counts, self.queue, self.tracked
        states = {state: tracked.by_state.get(state, 0) for state in TrackState}
        each = tracked.memory_mib / tracked.objects if tracked.objects else 0.0
        return {
            "state": self.state,
            "rate_hz": f"{statistics.rate():.2f}",
            "latency_p50_ms": f"{1e3 * statistics.latency(0.5):.1f}",
            "latency_p95_ms": f"{1e3 * statistics.latency(0.95):.1f}",
            "result_age_s": f"{self.progress.result_age:.1f}",
            "frames_received": str(counts.received),
            "frames_processed": str(counts.processed),
            "frames_dropped": str(counts.dropped),
            "frames_unreadable": str(counts.unreadable),
            "frames_failed": str(counts.failed),
            "frames_lost": str(self.lost),
            "video_codec": self.stream.codec,
            "video_packets": str(self.stream.packets),
            "video_damaged": str(self.stream.damaged),
            "video_skipped": str(self.stream.skipped + self.stream_dropped),
            "frames_waiting": str(queue.images),
            "frames_kept": str(queue.kept),
            "frames_kept_mib": f"{queue.kept_mib:.1f}",
            "views_drawn": str(self.views.done),
            "views_dropped": str(self.views.dropped),
            "calls_waiting": str(queue.calls),
            "calls_refused": str(counts.refused),
            **{f"detections_{name}": str(count) for name, count in vars(self.detections).items()},
            "restarts": str(self.restarts),
            "objects": str(tracked.objects),
            **{f"objects_{state.name.lower()}": str(count) for state, count in states.items()},
            "objects_at_once": str(tracked.at_once),
            "memory_mib": f"{tracked.memory_mib:.2f}",
            "memory_per_object_mib": f"{each:.3f}",
            "out_of_memory": str(tracked.out_of_memory),
            "messages_not_taken": str(self.not_taken),
            "device": self.model.device,
            "model": self.model.model,
            "weights_sha256": self.model.weights_sha256,
            "last_error": statistics.last_error,
            "dds": self.dds,
        }


def findings(status: NodeStatus, statistics: Statistics, limits: Parameters) -> dict[str, Finding]:
    """Return what is wrong, except with the arrival of images, by kind."""
    found: dict[str, Finding] = {}
    if statistics.error_age < limits.error_stays:
        found["error"] = Finding(ERROR, statistics.last_error)
    if status.state != "active":
        found["state"] = Finding(WARN, f"the node is {status.state}")
    if (stalled := _stalled(status.progress, limits)) is not None:
        found["results"] = stalled
    if status.tracked.shortage:
        found["shortage"] = Finding(WARN, status.tracked.shortage)
    if status.state == "active" and status.counts.processed:
        found |= _speed(statistics, limits)
    return found


def _stalled(progress: WorkerProgress, limits: Parameters) -> Finding | None:
    """Return a finding where results have not come for several times as long as usual."""
    warning = max(limits.result_timeout, _SOME_FRAMES * progress.usual)
    error = max(limits.result_timeout_error, _MORE_FRAMES * progress.usual)
    level = above(progress.stalled, warning, error if limits.result_timeout_error else 0.0)
    if progress.ended is not None or level == OK:
        return None
    age = progress.result_age
    last = f"the last one came {age:.1f} s ago" if math.isfinite(age) else "there has been none"
    return Finding(
        level,
        f"an image or call has waited {progress.stalled:.1f} s for a result, and {last}: inference hangs "
        "or is too slow for this device; see restart_after, or use a smaller model",
    )


def _speed(statistics: Statistics, limits: Parameters) -> dict[str, Finding]:
    found: dict[str, Finding] = {}
    latency, rate = statistics.latency(0.95), statistics.rate()
    if abs(latency) > _OTHER_CLOCK:
        text = f"images are stamped {latency:.0f} s ago by this node's clock: set use_sim_time for bags"
        if limits.latency_warning or limits.latency_error:
            found["clock"] = Finding(WARN, text)
    elif (level := above(latency, limits.latency_warning, limits.latency_error)) != OK:
        text = f"results come {latency:.2f} s after their images (p95): use a smaller model or fewer objects"
        found["latency"] = Finding(level, text)
    if (level := below(rate, limits.rate_warning, limits.rate_error)) != OK:
        found["rate"] = Finding(level, f"{rate:.1f} images per second are processed, fewer than the limit")
    return found
