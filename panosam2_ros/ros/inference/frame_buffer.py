"""Keep the newest images for prompts that refer to them. Nothing here knows ROS."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")  # an image message
MIB = 1 << 20


class NoSuchFrameError(LookupError):
    """No image of that stamp is held; the message says which ones are."""


class NoImageError(NoSuchFrameError):
    """No image has been processed yet."""


@dataclass(frozen=True)
class ReceivedImage(Generic[M]):
    """An image as it was received."""

    stamp: int  # ns
    message: M
    size: int  # bytes


class FrameBuffer(Generic[M]):
    """The newest images, bounded in time and in bytes."""

    def __init__(self, seconds: float, mib: float) -> None:
        self.seconds, self.mib = seconds, mib
        self._frames: deque[ReceivedImage[M]] = deque()
        self._bytes = 0

    def add(self, frame: ReceivedImage[M]) -> None:
        """Add an image, and drop those that are too old or too many, and one of the same stamp.

        Of images with one stamp only the newest can be found.
        """
        if self._frames and self._frames[-1].stamp == frame.stamp:
            self._bytes -= self._frames.pop().size
        self._frames.append(frame)
        self._bytes += frame.size
        while self._frames and self._expired(frame.stamp):
            self._bytes -= self._frames.popleft().size

    def _expired(self, newest: int) -> bool:
        # Stamps that jump back (a bag that loops) leave nothing behind that belongs together.
        age = abs(newest - self._frames[0].stamp) * 1e-9
        return age > self.seconds or self._bytes > self.mib * MIB

    def clear(self) -> None:
        """Drop all images."""
        self._frames.clear()
        self._bytes = 0

    @property
    def held_mib(self) -> float:
        """Size of the images that are held, MiB."""
        return self._bytes / MIB

    def find(self, stamp: int) -> ReceivedImage[M] | None:
        """Return the image of exactly this stamp (ns), or None."""
        return next((f for f in reversed(self._frames) if f.stamp == stamp), None)

    def stamps(self) -> list[int]:
        """Return the stamps, ns, in the order in which the images were received."""
        return [frame.stamp for frame in self._frames]


def _seconds(stamp: int) -> str:
    return f"{stamp // 10**9}.{stamp % 10**9:09d}"


def not_held(stamp: int, stamps: list[int]) -> str:
    """Describe why there is no image of a stamp, and which stamps (ns) are held."""
    if not stamps:
        return f"no image of stamp {_seconds(stamp)} is held, nor any other: is the camera running?"
    oldest, newest = min(stamps), max(stamps)
    held = f"held are {len(stamps)} from {_seconds(oldest)} to {_seconds(newest)}"
    if stamp < oldest:
        return (
            f"the image of stamp {_seconds(stamp)} has expired; {held}. Ask sooner, or raise "
            "history_seconds and history_mib"
        )
    if stamp > newest:
        return f"the image of stamp {_seconds(stamp)} has not come yet; {held}"
    nearest = min(stamps, key=lambda s: abs(s - stamp))
    return (
        f"no image has exactly the stamp {_seconds(stamp)}: it never arrived, or the stamp was "
        f"rounded; {held}, the nearest is {_seconds(nearest)}"
    )
