"""Video files with known frames and times, sound and damaged, written by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT = 128, 64
_DARKEST, _STEP = 30, 10  # brightness of frame 0, and from one frame to the next


def index_of(image: np.ndarray) -> int:
    """Return the index, modulo 20, of the frame that an image shows."""
    return round((float(image[:, : image.shape[1] // 4].mean()) - _DARKEST) / _STEP)


def write_video(
    path: Path,
    times: Sequence[int],
    *,
    key_frames: int = 1,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    streams: int = 1,
) -> Path:
    """Write frames, each with a brightness of its own on the left, at some times, ms.

    ``key_frames`` is the distance from one key frame to the next; all ``streams`` are alike.
    """
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        for stream in [_stream(container, path, size, key_frames) for _ in range(streams)]:
            for index, time in enumerate(times):
                pixels = np.full((size[1], size[0], 3), _DARKEST + _STEP * (index % 20), np.uint8)
                pixels[::4, size[0] // 2 :: 2 + index % 3] = 250  # enough data to be damaged
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def _stream(
    container: av.container.OutputContainer, path: Path, size: tuple[int, int], key_frames: int
) -> av.VideoStream:
    mp4 = path.suffix == ".mp4"
    stream = container.add_stream("mpeg4" if mp4 else "mjpeg", rate=10)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p" if mp4 else "yuvj420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
    stream.gop_size = key_frames
    return stream


def spoil(path: Path, *indices: int) -> Path:
    """Zero the data of some packets of an mp4 file."""
    with av.open(str(path)) as container:
        entries = [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
    data = bytearray(path.read_bytes())
    for position, length in (entries[index] for index in indices):
        data[position : position + length] = bytes(length)
    path.write_bytes(data)
    return path


def cut(path: Path, index: int) -> Path:
    """Cut an mp4 file off before a packet, as a copy that was broken off."""
    with av.open(str(path)) as container:
        position = container.streams.video[0].index_entries[index].pos
    path.write_bytes(path.read_bytes()[:position])
    return path


def turn(path: Path) -> Path:
    """Let an mp4 file ask players to turn it upside down, as phones do."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    minus_one, one = (-(1 << 16)).to_bytes(4, "big", signed=True), (1 << 30).to_bytes(4, "big")
    data[matrix : matrix + 36] = minus_one + bytes(12) + minus_one + bytes(12) + one
    path.write_bytes(data)
    return path


def write_walk(path: Path) -> None:
    """Write four frames of 640x322 with a red thing across the seam: the video of the documents."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (640, 322))
    for shift in range(4):
        image = np.full((322, 640, 3), (150, 160, 140), np.uint8)
        columns = np.arange(610 + 4 * shift, 700 + 4 * shift) % 640
        image[80:280, columns] = (40, 30, 200)
        writer.write(image)
    writer.release()
