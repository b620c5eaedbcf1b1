"""Video streams in ROS bags, packet by packet, as pictures with stamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from panosam2_ros.io.image_files import MOST_PIXELS
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.video import StampedFrame
from panosam2_ros.io.video_stream import StreamDecoder, StreamPicture, VideoPacket

_REMEDY = (
    "record the topic reliably (ros2 bag record --qos-profile-overrides-path), and let the encoder send key "
    "frames more often"
)


@dataclass(frozen=True)
class BagOrigin:
    """Where a picture of a bag comes from."""

    recorded: int  # ns
    frame_id: str


class BagStream:
    """The stream of one topic of a bag, decoded in the order of recording."""

    def __init__(self, report: ReadReport) -> None:
        """Begin; pictures that are missing are counted in ``report``."""
        self._decoder = StreamDecoder(max_pixels=MOST_PIXELS, missed=self._miss)
        self._report, self._lost = report, 0

    def _miss(self, reason: str, count: int) -> None:
        self._report.remedy = self._report.remedy or _REMEDY
        self._report.miss(reason, count=count)

    def lose(self) -> None:
        """Note that a message could not be read: the pictures after it are smeared."""
        self._lost += 1

    def frames(self, codec: str, data: Any, stamp: int, origin: BagOrigin) -> Iterator[StampedFrame]:
        """Yield the pictures that are complete with this packet."""
        lost, self._lost = self._lost, 0
        packet = VideoPacket(codec, bytes(data), stamp, tag=origin, lost=lost)
        yield from map(_stamped, self._decoder.decode(packet))

    def end(self) -> Iterator[StampedFrame]:
        """Yield the pictures that were held back."""
        yield from map(_stamped, self._decoder.finish())


def _stamped(found: StreamPicture) -> StampedFrame:
    origin: BagOrigin = found.tag
    return StampedFrame(found.rgb(), found.stamp, recorded=origin.recorded, frame_id=origin.frame_id)
