"""Writer of video files whose frames keep their times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.video import VideoError

_TICKS = 60_000  # a second: exact for the usual rates; MPEG-4 permits at most 65,535
_LONGEST = 10 * _TICKS  # that a frame is shown: a stamp may jump by years
_BITS = 8  # a pixel and second at most; the quality limits it first


class VideoWriter:
    """An MPEG-4 file with frames at irregular times; a context manager, which completes the file.

    Ours, because OpenCV writes frames of one rate only.
    """

    def __init__(self, path: Path, width: int, height: int, *, rate: float) -> None:
        """Create a file; ``rate``, Hz, is used for the last frame and where stamps do not increase.

        Raises VideoError without PyAV and OSError where the file cannot be created.
        """
        try:
            import av
        except ImportError as error:
            raise VideoError(f"writing {path} needs PyAV: pip install av ({error})") from error
        self._av = av
        with self._errors():
            self._container = av.open(f"file:{path}", "w", format="mp4")
        self._stream = self._container.add_stream("mpeg4", rate=Fraction(rate).limit_denominator(1001))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream.bit_rate = min(_BITS * width * height, 2**30)
        self._period = max(1, round(_TICKS / rate))
        self._ticks, self._stamp = 0, 0
        self._first = True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn FFmpeg's errors into OSError."""
        try:
            yield
        except self._av.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, image: ImageArray, stamp: int) -> None:
        """Write an RGB image of a stamp, ns; raise OSError where that fails."""
        if not self._first:
            ticks = round((stamp - self._stamp) * _TICKS / 10**9)
            self._ticks += min(ticks, _LONGEST) if ticks > 0 else self._period
        self._first, self._stamp = False, stamp
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._ticks, Fraction(1, _TICKS)
        with self._errors():
            self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._errors():
            try:
                if kind is None:
                    self._container.mux(self._stream.encode())
            finally:
                self._container.close()
