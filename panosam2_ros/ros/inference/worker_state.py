"""What a worker may hold, what it holds, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerLimits:
    """How many jobs may wait, and how many images are kept."""

    history_seconds: float = 4.0  # of images, for prompts at their stamp
    history_mib: float = 512.0
    jobs: int = 16  # that wait
    replay_every: int = 3  # an object that was prompted late goes through every n-th kept image


@dataclass(frozen=True)
class WorkerCounts:
    """Counts since the start.

    received = processed + dropped + unreadable + failed + the one that waits or is being processed.
    """

    received: int = 0
    processed: int = 0
    dropped: int = 0  # replaced by a newer one before their turn
    failed: int = 0  # inference raised
    unreadable: int = 0  # ``decode`` raised
    refused: int = 0  # calls, because too many waited already


@dataclass(frozen=True)
class WorkerQueue:
    """The jobs and images that wait, and the images that are kept, now."""

    calls: int = 0
    images: int = 0  # 0 or 1: a newer one takes its place
    kept: int = 0  # images, for prompts at their stamp
    kept_mib: float = 0.0
