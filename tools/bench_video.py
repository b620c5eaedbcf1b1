"""Benchmark of video streams: ``python -m tools.bench_video --out FILE``.

Prints JSON: for each size and codec the milliseconds from a packet to its picture and to the picture in RGB,
and the share of one CPU, while a stream comes at ``--rate`` Hz into the thread that the node has for it. The
streams are smooth pictures that move, encoded before. Run it with nothing else running.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from tqdm import tqdm

from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.io.json_file import write_json
from panosam2_ros.io.video_stream import StreamDecoder, StreamPicture, VideoPacket
from panosam2_ros.ros.inference.stream_thread import StreamThread

SIZES = ((1920, 960), (3840, 1920))
ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_MEGABITS = 4.0  # a second at 1920x960 and 30 Hz, and in proportion


def encoded(codec: str, width: int, height: int, count: int, rate: float) -> list[bytes]:
    """Encode a smooth picture that moves, with a key frame each second, as cameras do."""
    encoder = av.CodecContext.create(ENCODERS[codec], "w")
    if not isinstance(encoder, av.VideoCodecContext):
        raise TypeError(f"{ENCODERS[codec]} encodes no video")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.gop_size, encoder.max_b_frames = Fraction(rate), round(rate), 0
    encoder.bit_rate = round(_MEGABITS * 1e6 * width * height / (1920 * 960) * rate / 30)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    if codec == "hevc":
        encoder.options |= {"x265-params": "log-level=none:repeat-headers=1"}
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    packets = []
    for index in tqdm(range(count), f"encoding {codec} {width}x{height}"):
        moved = np.roll(picture, 4 * index, 1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(moved), format="rgb24")
        frame.pts = index
        packets += encoder.encode(frame.reformat(format="yuv420p"))
    return [bytes(packet) for packet in [*packets, *encoder.encode(None)]]


def measured(codec: str, packets: Sequence[bytes], rate: float) -> dict[str, Any]:
    """Show packets to a stream's thread at a rate; return milliseconds and the share of one CPU."""
    sent: dict[int, float] = {}
    decoded, converted = list[float](), list[float]()

    def take(picture: StreamPicture) -> None:
        decoded.append(time.perf_counter() - sent[picture.stamp])
        picture.rgb()
        converted.append(time.perf_counter() - sent[picture.stamp])

    def failed(error: Exception) -> None:
        raise error

    thread = StreamThread(StreamDecoder(max_pixels=1e9), take, failed)
    begun, cpu = time.perf_counter(), time.process_time()
    for index, data in enumerate(packets):
        time.sleep(max(0.0, begun + index / rate - time.perf_counter()))
        sent[index] = time.perf_counter()
        thread.offer(VideoPacket(codec, data, index))
    while thread.status.packets < len(packets) or len(converted) < thread.status.pictures:
        time.sleep(0.001)
    seconds = time.perf_counter() - begun
    share = (time.process_time() - cpu) / seconds
    thread.stop(5.0)

    def ms(values: list[float], quantile: float) -> float:
        return round(1e3 * float(np.quantile(values, quantile)), 2) if values else float("nan")

    return {
        "megabits": round(8e-6 * sum(map(len, packets)) * rate / len(packets), 2),
        "pictures": len(decoded),
        "dropped": thread.dropped,
        "decoded_p50_ms": ms(decoded, 0.5),
        "decoded_p95_ms": ms(decoded, 0.95),
        "rgb_p50_ms": ms(converted, 0.5),
        "rgb_p95_ms": ms(converted, 0.95),
        "cpu_share": round(share, 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("tools.bench_video", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=5.0, help="of each stream (default: %(default)s)")
    add("--rate", type=float, default=30.0, help="Hz (default: %(default)s)")
    add("--out", type=Path, help="write the JSON to this file, too")
    options = parser.parse_args(arguments)
    rows, count = [], max(2, round(options.seconds * options.rate))
    for width, height in SIZES:
        for codec in ENCODERS:
            packets = encoded(codec, width, height, count, options.rate)
            row = {"image": f"{width}x{height}", "codec": codec}
            rows.append(row | measured(codec, packets, options.rate))
    result = {
        "machine": machine("cpu", cv2.getNumThreads()),
        "versions": versions() | {"av": av.__version__, "ffmpeg": av.ffmpeg_version_info},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "rate": options.rate,
        "streams": rows,
    }
    print(json.dumps(result, indent=1))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
