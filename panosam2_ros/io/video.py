"""RGB frames of a video file or of image files, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import cv2
import numpy as np

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.image_files import ImageFileError, decode_file
from panosam2_ros.io.out_of_memory import raise_lack_of_memory
from panosam2_ros.io.read_report import ReadReport

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class VideoError(ValueError):
    """A source of frames that cannot be read; the message names the reason and the remedy."""


@dataclass(frozen=True, eq=False)
class StampedFrame:
    """A frame with its time of recording."""

    image: ImageArray
    stamp: int  # ns
    _: KW_ONLY
    recorded: int | None = None  # ns: when a bag's recorder received it; None: of a source without recorder
    frame_id: str | None = None  # None: of a source without frame ids


class FrameSource(Protocol):
    """Frames of one size; every iteration starts at the first frame."""

    width: int
    height: int
    rate: float  # Hz; 0 where the source has none
    frames: int  # 0: unknown
    report: ReadReport  # of the newest iteration

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the frames in order, RGB."""
        ...


class VideoFile:
    """A video that is decoded while reading, with one frame in memory.

    Decoded by PyAV: OpenCV ends at a packet that cannot be decoded as if it were the end, and estimates the
    number of frames by the rate.
    """

    def __init__(self, path: Path) -> None:
        """Open a video and read its first frame; raise VideoError where that fails."""
        self._path, self._size = path, (0, 0)
        self.report = ReadReport()
        with self._open() as stream:
            self.rate = float(stream.average_rate or stream.guessed_rate or 0)
            self.frames = max(stream.frames, 0)
        first = next(self.stamped(), None)
        if first is None:
            raise VideoError(f"{path} is a video without a single readable frame; {_RECODE}")
        self.height, self.width = first.image.shape[:2]
        self._size = self.width, self.height

    @contextmanager
    def _open(self) -> Iterator[VideoStream]:
        """Open the best stream of the video at its first frame; raise VideoError where that fails."""
        try:
            import av
        except ImportError as error:
            raise VideoError(f"{self._path} is a video: pip install av ({error})") from error
        try:
            # "file:": FFmpeg takes a name with a colon for a protocol
            container = av.open(f"file:{self._path}", metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise_lack_of_memory(error)
            raise VideoError(f"{self._path} is no video that FFmpeg can read: {error}; {_RECODE}") from error
        with container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise VideoError(f"{self._path} has no pictures, only sound or data; give a video")
            stream.thread_type = "AUTO"
            yield stream

    def stamped(self) -> Iterator[StampedFrame]:
        """Yield the frames with their times in the file, from 0 on, in strictly increasing order.

        Frames that cannot be decoded, and those of another size than the first, are missing in ``report``.
        """
        report = self.report = ReadReport(f"copy the file again, or {_RECODE}")
        clock = _FrameClock(self.rate or _UNKNOWN_RATE)
        with self._open() as stream:
            if (count := _videos(stream)) > 1:
                report.note(_SEVERAL.format(count))
            for frame in self._decoded(stream, report):
                if frame.rotation:
                    report.note(
                        f"a rotation by {frame.rotation % 360} degrees is ignored: panoramas are not turned"
                    )
                size = frame.width, frame.height
                if self._size not in (size, (0, 0)):
                    report.miss(f"a frame is {size[0]}x{size[1]}, the first {self.width}x{self.height}")
                    continue
                stamp = clock.stamp(_nanoseconds(frame))
                if stamp is None:
                    report.miss("a frame comes after a later one")
                    continue
                report.read += 1
                report.damaged += bool(frame.is_corrupt)
                yield StampedFrame(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), stamp)

    def _decoded(self, stream: VideoStream, report: ReadReport) -> Iterator[VideoFrame]:
        """Decode a stream; count packets that give no frame as missing."""
        import av

        packets = frames = failed = 0
        last = None  # ns
        for packet in cast("InputContainer", stream.container).demux(stream):
            packets += packet.size > 0 and not packet.is_discard
            last = max(last or 0, _nanoseconds(packet) or 0)
            try:
                decoded = stream.decode(packet)
            except av.FFmpegError as error:
                raise_lack_of_memory(error)
                report.miss(f"a packet near {_seconds(packet)} cannot be decoded: {error.strerror}")
                failed += 1
                continue
            frames += len(decoded)
            yield from decoded
        listed = _listed(stream)
        # Damage can cost frames without an error. In an mp4 file every packet is a frame; elsewhere a codec
        # may need several, and only where something was wrong those without a frame are missing.
        silent = packets - frames - failed
        if silent > 0 and (listed or report.missing or report.damaged):
            report.miss("their data are damaged", count=silent)
        if listed > packets:
            report.miss("the file breaks off, or its list of frames is wrong", count=listed - packets)
        elif (end := _stated_end(stream)) and last is not None and end - last > _EARLY_END:
            count = max(1, round((end - last) * frames / max(last, 1)))
            report.miss(f"the file breaks off at {last * 1e-9:.1f} s of {end * 1e-9:.1f} s", count=count)

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the frames in order, RGB."""
        return (frame.image for frame in self.stamped())


class _FrameClock:
    """Stamps of a video's frames: from 0 on, and strictly increasing."""

    def __init__(self, rate: float) -> None:
        self._period = round(1e9 / rate)  # ns
        self._origin = 0  # of the file's times, ns
        self._stamp = -1

    def stamp(self, time: int | None) -> int | None:
        """Return the stamp of a frame of a time in the file, ns; None where a later frame came before."""
        if self._stamp < 0:
            self._origin, self._stamp = time or 0, 0
            return self._stamp
        stamp = self._stamp + self._period if time is None else time - self._origin
        if stamp <= self._stamp:
            if self._stamp - stamp < _REORDERED:
                return None
            # two recordings were joined, and the times start again
            self._origin += stamp - self._stamp - self._period
            stamp = self._stamp + self._period
        self._stamp = stamp
        return stamp


class ImageFiles:
    """Image files of one size, in the order of a list."""

    rate = 0.0

    def __init__(self, paths: list[Path]) -> None:
        """Read the size of the first readable image; raise VideoError where there is none."""
        self._paths = paths
        self.frames = len(paths)
        self.width = self.height = 0
        _, first = next(self.numbered(), (0, None))
        if first is None:
            raise VideoError("; ".join(self.report.reasons))
        self.height, self.width = first.shape[:2]
        self._first = paths[self.report.missing]

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the readable images in order, RGB; raise VideoError for one of another size."""
        return (image for _, image in self.numbered())

    def numbered(self) -> Iterator[tuple[int, ImageArray]]:
        """Yield the place in the list and the image, RGB, of every file that can be read.

        The others are counted in ``report``. Raises VideoError for an image of another size than the first.
        """
        report = self.report = ReadReport()
        for place, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except VideoError as error:
                report.miss(str(error))
                continue
            height, width = image.shape[:2]
            if self.width and (width, height) != (self.width, self.height):
                raise VideoError(
                    f"{path} is {width}x{height} but {self._first.name}, the first of the "
                    f"folder, is {self.width}x{self.height}; images of one size are needed"
                )
            report.read += 1
            yield place, image


def resized_image(frame: ImageArray, width: int, height: int) -> ImageArray:
    """Resize a frame, by averaging where it shrinks; a frame of that size is returned as it is."""
    if frame.shape[:2] == (height, width):
        return frame
    shrinks = width < frame.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=how), np.uint8)


_RECODE = "convert it, for example with: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4"
_SEVERAL = (
    "the file has {} videos, as of cameras that write one for each lens, and only the best is read; join two "
    "lenses with: ffmpeg -i INPUT -filter_complex '[0:v:0][0:v:1]hstack' OUTPUT.mp4"
)
_EARLY_END = 10**9  # ns between the last frame and the stated end that are no loss
_REORDERED = 10**9  # ns: damage puts frames this much too late at most
_UNKNOWN_RATE = 10.0  # Hz, of a video that names neither its rate nor the times of its frames


def _nanoseconds(item: VideoFrame | Packet[Any]) -> int | None:
    """Return the time of a frame or a packet in its file, ns; None where it has none."""
    if item.pts is None or item.time_base is None:
        return None
    return round(item.pts * item.time_base * 10**9)


def _seconds(packet: Packet[Any]) -> str:
    """Format the time of a packet of a video."""
    time = _nanoseconds(packet)
    return "an unknown time" if time is None else f"{time * 1e-9:.3f} s"


def _videos(stream: VideoStream) -> int:
    """Count the videos of a stream's file, without cover pictures."""
    from av.stream import Disposition

    streams = stream.container.streams.video
    return sum(not item.disposition & Disposition.attached_pic for item in streams)


def _stated_end(stream: VideoStream) -> int:
    """Return the end of a stream that a Matroska file states, ns; 0 where it states none."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+)\.(\d{9})", stream.metadata.get("DURATION", ""))
    hours, minutes, seconds, nanoseconds = (int(part) for part in match.groups()) if match else (0, 0, 0, 0)
    return ((hours * 60 + minutes) * 60 + seconds) * 10**9 + nanoseconds


def _listed(stream: VideoStream) -> int:
    """Count the packets that the file itself lists and that are shown; 0 where it has no complete list."""
    if "mp4" not in stream.container.format.name:  # only there the index is complete
        return 0
    # stream.frames would also count what an edit list leaves out
    return sum(not entry.is_discard for entry in stream.index_entries)


def read_image(path: Path) -> ImageArray:
    """Read an image file as RGB; raise VideoError where that fails."""
    try:
        bgr = decode_file(np.fromfile(path, np.uint8))
    except (ImageFileError, OSError) as error:
        raise VideoError(
            f"{path} cannot be read as an image: {error}; remove it or write it again"
        ) from error
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
