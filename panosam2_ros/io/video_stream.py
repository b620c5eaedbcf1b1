"""Decoding of video that comes packet by packet, in messages, with a stamp for each packet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.picture_order import PictureOrder
from panosam2_ros.io.printable import printable
from panosam2_ros.io.video_packets import INSPECTED, STREAM_CODECS, PacketContent, PacketInspector

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

MAX_PACKET = 32 << 20  # bytes; a picture of the highest level of H.264 has a tenth of that
_DECODERS = {"av1": "libdav1d"}  # where FFmpeg's own needs hardware
_MOST_PREFIX = 1 << 16  # bytes of parameter sets that come in packets of their own
_KNOWN = f"and known are {', '.join(STREAM_CODECS)}: set the encoder to one of them"
_SHORTER_GOP = (
    "let the encoder send key frames more often, one a second say (a shorter GOP: keyint of x264 and x265, "
    "gop_size of ffmpeg_image_transport, iframeinterval or insert-sps-pps of hardware encoders)"
)


@dataclass(frozen=True, eq=False)
class VideoPacket:
    """A packet of a stream as a message brings it: one picture, in H.264 and HEVC with start codes."""

    codec: str  # one of STREAM_CODECS, or what the message named
    data: bytes
    stamp: int  # ns
    _: KW_ONLY
    tag: Any = None  # comes back with the packet's picture
    lost: int = 0  # packets that are known to be lost before it


@dataclass(frozen=True, eq=False)
class StreamPicture:
    """A decoded picture, with the stamp of its packet; its colours are converted when they are needed."""

    picture: VideoFrame
    stamp: int  # ns
    tag: Any

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.picture.width, self.picture.height

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(plane.buffer_size for plane in self.picture.planes)

    def rgb(self) -> ImageArray:
        """Convert to RGB [H, W, 3] by the matrix and range that the stream states, else BT.601, limited."""
        return np.asarray(self.picture.to_ndarray(format="rgb24"), np.uint8)


@dataclass(frozen=True)
class StreamStatus:
    """What a decoder has done with a stream so far, and what it waits for."""

    codec: str = ""
    packets: int = 0
    pictures: int = 0
    lost: int = 0  # packets that did not come, as far as that can be seen
    damaged: int = 0  # packets that could not be decoded, or only with errors
    skipped: int = 0  # packets that were left out until a key frame
    waiting: str = ""  # why pictures are waited for; empty: they come
    since: float = 0.0  # s, by time.monotonic, of that

    @property
    def text(self) -> str:
        """What is waited for, for how long, and the remedy; empty while pictures come."""
        if not self.waiting:
            return ""
        return f"the {self.codec} stream has waited {self.waited:.1f} s for a key frame: {self.waiting}"

    @property
    def waited(self) -> float:
        """For how long pictures have been waited for, s."""
        return time.monotonic() - self.since if self.waiting else 0.0


class StreamDecoder:
    """A decoder of one stream, by PyAV; used by one thread.

    After a packet that is lost or damaged it begins anew with the next key frame, since pictures between
    would be smeared. It holds nothing back for the sake of speed.
    """

    def __init__(self, *, max_pixels: float, missed: Callable[[str, int], None] | None = None) -> None:
        """Make a decoder; ``missed`` is told why and how many pictures are missing, once they come again."""
        self._max_pixels, self._missed = max_pixels, missed
        self.status = StreamStatus()  # replaced as a whole; may be read from any thread
        self._context: VideoCodecContext | None = None
        self._inspector = PacketInspector("")
        self._closed = True  # until a key frame
        self._prefix = b""  # parameter sets that came in packets of their own
        self._reason, self._left_out = "", 0  # of the pictures that are missing now
        self._order = PictureOrder()

    def decode(self, packet: VideoPacket) -> list[StreamPicture]:
        """Decode a packet; return the pictures that are complete now, in the order of their display."""
        self.status = replace(self.status, packets=self.status.packets + 1)
        before: list[StreamPicture] = []
        if packet.codec != self.status.codec:
            before = self.drain()
            if not self._begin(packet):
                return before
        try:
            content = self._checked(packet)
        except ValueError as error:
            return before + self._failed(packet, str(error))
        if not content.picture:
            self._prefix = (self._prefix + packet.data)[-_MOST_PREFIX:]
            return before
        if packet.lost or content.gap:
            before += self._restarted(packet)
        if self._closed and not content.key_frame:
            self._skip("the stream does not begin with one")
            return before
        if not content.parameters:
            return before + self._failed(
                packet,
                "is a key frame without parameter sets (SPS, PPS), and none came before: let the encoder "
                "send them with each one (x264: repeat-headers; GStreamer: h264parse config-interval=1)",
            )
        self._closed = False
        return before + self._decoded(packet)

    @property
    def _judges(self) -> bool:
        """Whether the decoder itself finds the first key frame."""
        return self.status.codec not in INSPECTED

    def drain(self) -> list[StreamPicture]:
        """Return the pictures that the decoder still holds, at the end or before something is missing."""
        import av

        found: list[StreamPicture] = []
        if self._context is not None and self._context.is_open and not self._closed:
            try:
                pictures = self._context.decode(None)
            except av.FFmpegError:
                pictures = []
            found = [each for picture in pictures for each in self._taken(picture)]
            self._context.flush_buffers()
        return found

    def finish(self) -> list[StreamPicture]:
        """Return the pictures that are still held, and tell what is missing at the end."""
        found = self.drain()
        if gone := self._order.clear():
            self._tell("the last packets gave no picture", gone)
        self._end_of_gap()
        return found

    def _begin(self, packet: VideoPacket) -> bool:
        """Open a decoder of the packet's codec; return whether there is one."""
        import av

        self._context, self._closed, self._prefix = None, True, b""
        self._order.clear()
        codec = printable(packet.codec, most=50)
        self.status = replace(self.status, codec=codec)
        if packet.codec not in STREAM_CODECS:
            self._failed(packet, f"is of {codec!r}, {_KNOWN}")
            return False
        try:
            context = av.CodecContext.create(_DECODERS.get(codec, codec), "r")
        except ValueError as error:  # UnknownCodecError
            self._failed(packet, f"cannot be decoded by this FFmpeg: {error}; pip install av brings one")
            return False
        context.thread_type = "SLICE"  # threads of frames would hold pictures back
        context.options = {"max_pixels": str(int(self._max_pixels))}  # before memory is asked for
        if codec == "av1":
            context.options |= {"max_frame_delay": "1"}
        self._context, self._inspector = cast("VideoCodecContext", context), PacketInspector(codec)
        return True

    def _checked(self, packet: VideoPacket) -> PacketContent:
        """Inspect a packet; raise ValueError for one that must not be decoded."""
        if self._context is None:
            raise ValueError(f"is of {self.status.codec!r}, {_KNOWN}")
        if len(packet.data) > MAX_PACKET:
            raise ValueError(f"has more than {MAX_PACKET} bytes, and no picture needs as many")
        content = self._inspector.inspect(packet.data)
        if content.size and content.size[0] * content.size[1] > self._max_pixels:
            width, height = content.size
            raise ValueError(
                f"has pictures of {width}x{height}, and max_image_mpixels is {self._max_pixels / 1e6:g} "
                "million: set the encoder to a smaller size"
            )
        return content

    def _decoded(self, packet: VideoPacket) -> list[StreamPicture]:
        """Decode a packet that can be; an error closes the decoder until the next key frame."""
        import av

        if self._context is None:
            return []
        coded = av.Packet(self._prefix + packet.data)
        coded.pts, self._prefix = self._order.add(packet.stamp, packet.tag), b""
        try:
            pictures = self._context.decode(coded)
        except (av.FFmpegError, ValueError) as error:
            self._order.forget(coded.pts)
            limit = f"larger than max_image_mpixels, {self._max_pixels / 1e6:g} million pixels"
            if not self.status.pictures and self._judges:
                self._skip(f"the stream does not begin with one, or is {limit}")
                return []
            # FFmpeg says so of pictures beyond its limit, too
            why = "memory ran out" if isinstance(error, MemoryError) else "it is damaged"
            return self._failed(packet, f"cannot be decoded: {why}, or {limit}")
        found: list[StreamPicture] = []
        for picture in pictures:
            if picture.is_corrupt:
                self._order.forget(picture.pts)
                return found + self._failed(packet, "is damaged")
            found += self._taken(picture)
        if stale := self._order.drop_stale():
            self._tell("gave no picture, since pictures are missing that they refer to", stale)
            if self._order.silent:  # as HEVC after a loss
                self._close("pictures are missing that packets refer to")
        return found

    def _taken(self, picture: VideoFrame) -> list[StreamPicture]:
        """Return a picture that the decoder gives out, with its stamp; none of what is damaged or late."""
        if picture.is_corrupt:
            return []
        if picture.key_frame and (gone := self._order.before(picture.pts)):
            self._tell("gave no picture, since pictures are missing that they refer to", gone)
        place = self._order.place(picture.pts)
        if place is None:
            self._tell("a picture comes after a later one", 1)
            return []
        self._end_of_gap()
        self.status = replace(self.status, pictures=self.status.pictures + 1, waiting="")
        stamp, tag = place
        return [StreamPicture(picture, stamp, tag)]

    def _restarted(self, packet: VideoPacket) -> list[StreamPicture]:
        """Begin anew where packets are lost before this one; return the pictures from before."""
        found = self.drain()
        lost = max(packet.lost, 1)
        self.status = replace(self.status, lost=self.status.lost + lost)
        self._close(f"packets before the one of stamp {packet.stamp} ns are lost")
        self._left_out += lost
        return found

    def _failed(self, packet: VideoPacket, reason: str) -> list[StreamPicture]:
        """Count a packet that cannot be used, and wait for the next key frame."""
        self.status = replace(self.status, damaged=self.status.damaged + 1)
        found = self.drain()
        self._close(f"the packet of stamp {packet.stamp} ns {reason}")
        self._left_out += 1
        return found

    def _skip(self, reason: str) -> None:
        if not self._reason:
            self._close(reason)
        self._left_out += 1
        self.status = replace(self.status, skipped=self.status.skipped + 1)

    def _close(self, reason: str) -> None:
        """Decode nothing before the next key frame."""
        if self._context is not None and self._context.is_open:
            self._context.flush_buffers()
        self._inspector.forget_pictures()
        self._left_out += self._order.clear()
        self._closed = True
        if not self._reason:
            self._reason = reason
            since = time.monotonic()
            self.status = replace(self.status, waiting=f"{reason}; {_SHORTER_GOP}", since=since)

    def _end_of_gap(self) -> None:
        if self._reason and self._left_out:
            self._tell(f"{self._reason}; left out up to a key frame", self._left_out)
        self._reason, self._left_out = "", 0

    def _tell(self, reason: str, count: int) -> None:
        if self._missed is not None:
            self._missed(reason, count)
