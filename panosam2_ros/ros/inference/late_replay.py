"""Bring objects that were prompted in older images to the newest one. Nothing here knows ROS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.ros.inference.frame_buffer import M, ReceivedImage

if TYPE_CHECKING:
    from panosam2_ros.tracking.tracker import PanoTracker


class LateReplay(Generic[M]):
    """Tracks objects of older images through some of the kept images that follow; on the tracker's thread."""

    def __init__(
        self,
        tracker: PanoTracker,
        every: int,  # n: through every n-th kept image, or fewer
        frame_at: Callable[[int], tuple[ReceivedImage[M], ImageArray]],  # stamp, ns -> message and RGB image
        on_error: Callable[[ReceivedImage[M], Exception], None],
    ) -> None:
        self._tracker, self._every = tracker, every
        self._frame_at, self._on_error = frame_at, on_error
        self._received: int | None = None  # images received until the last step

    def reset(self) -> None:
        """Note that no object is behind."""
        self._received = None

    def step(self, kept: list[int], received: int) -> None:
        """Track through one image; raise what merging raises.

        ``kept``: stamps of the kept images up to the newest processed one, ns; ``received``: images so far.
        """
        behind = self._tracker.replay_stamp
        stamps = [stamp for stamp in kept if behind is not None and behind < stamp]
        arrived = received - (received if self._received is None else self._received)
        self._received = received
        if not stamps:
            self._tracker.merge_replayed(everything=True)
            return
        # twice as fast as images come, or the replay would never reach the newest
        every = max(self._every, 2 * arrived * self._tracker.replaying)
        stamp = stamps[min(every, len(stamps)) - 1]
        try:
            frame, image = self._frame_at(stamp)
        except Exception:  # it has been dropped meanwhile, or cannot be read: later images will do
            self._tracker.skip_replay(stamp)
            return
        replayed = True
        try:
            self._tracker.replay(image, stamp)
        except Exception as error:
            replayed = False
            self._on_error(frame, error)
        if not replayed:  # only now: the error's traceback held images alive
            self._tracker.merge_replayed(everything=True)
