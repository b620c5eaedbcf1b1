"""Streams of H.264 and others, packet by packet, as cameras and encoders publish them; made by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from helpers.videos import HEIGHT, WIDTH

_ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9"}
_DARKEST, _STEP = 30, 10  # as helpers.videos, whose index_of tells them apart


@dataclass(frozen=True)
class Packet:
    """A packet with the index of the frame that it holds, in the order of decoding."""

    data: bytes
    index: int
    key: bool


def shades(count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[NDArray[np.uint8]]:
    """Draw frames with a brightness of their own on the left, and with noise on the right."""
    rng = np.random.default_rng(0)
    frames = []
    for index in range(count):
        pixels = np.full((size[1], size[0], 3), _DARKEST + _STEP * (index % 20), np.uint8)
        pixels[:, size[0] // 2 :] = rng.integers(0, 256, (size[1], size[0] - size[0] // 2, 1))
        frames.append(pixels)
    return frames


def encode(
    frames: Sequence[NDArray[np.uint8]],
    codec: str = "h264",
    *,
    key_frames: int = 10,
    b_frames: int = 0,
    extra: str = "",  # parameters of x264 and x265
) -> list[Packet]:
    """Encode RGB frames; ``key_frames`` is the distance from one key frame to the next."""
    encoder = av.CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 30), Fraction(30)
    encoder.gop_size, encoder.max_b_frames, encoder.thread_count = key_frames, b_frames, 1
    encoder.options = _options(codec, f"bframes={b_frames}:keyint={key_frames}:scenecut=0{extra}")
    found = []
    for index, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        frame.pts = index
        found += encoder.encode(frame)
    found += encoder.encode(None)
    return [Packet(bytes(packet), int(packet.pts or 0), bool(packet.is_keyframe)) for packet in found]


def _options(codec: str, parameters: str) -> dict[str, str]:
    if codec == "vp9":
        return {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    delay = ":rc-lookahead=0" if "bframes=0" in parameters else ":b-adapt=0"
    if codec == "h264":
        return {"preset": "veryfast", "x264-params": f"{parameters}{delay}:sync-lookahead=0"}
    more = ":repeat-headers=1:pools=none:frame-threads=1:log-level=none"
    return {"preset": "ultrafast", "x265-params": parameters + delay + more}


def units(data: bytes) -> list[bytes]:
    """Split a packet into its units, each with its start code."""
    return [b"\0\0\0\1" + unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]
