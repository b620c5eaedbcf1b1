"""Benchmark of the conversion of messages: ``python -m tools.bench_conversions --out FILE``.

Prints JSON: median milliseconds of each conversion, of images in the sizes and encodings of cameras, and of
the messages that the node publishes. ``share`` is the share of a frame at ``--rate`` Hz. Run it with nothing
else running.
"""

from __future__ import annotations

import argparse
import array
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tqdm import tqdm

from panosam2_ros.evaluation.bench_nano import median_ms
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.geometry.dual_fisheye import DualFisheye, Remap
from panosam2_ros.io.image_encodings import ENCODINGS, compressed_to_array, image_to_array
from panosam2_ros.io.json_file import write_json
from panosam2_ros.ros.conversion.messages import image_message, masks_msg

SIZES = ((1920, 960), (3840, 1920))
_PLANES = {"nv12": (1, 1.5), "nv21": (1, 1.5), "nv24": (1, 3)}  # bytes of a row's pixel, rows per image row
_CHANNELS = {"rgba": 4, "bgra": 4, "UC4": 4, "rgb": 3, "bgr": 3, "UC3": 3, "yuv": 2, "yuyv": 2, "uyvy": 2}


def layout(encoding: str) -> tuple[int, float]:
    """Return the bytes of a pixel in a row, and the rows per row of the image."""
    if encoding in _PLANES:
        return _PLANES[encoding]
    # the name of a Bayer pattern contains colours, too, but each pixel has only one of them
    bare = "" if encoding.startswith("bayer") else encoding
    channels = next((count for name, count in _CHANNELS.items() if name in bare), 1)
    return channels * (2 if "16" in encoding else 1), 1


def raw_message(encoding: str, width: int, height: int) -> Image:
    """Return an image message of noise."""
    size, rows = layout(encoding)
    pixels = np.random.default_rng(0).integers(0, 256, int(rows * height) * width * size, np.uint8)
    data = array.array("B", pixels.tobytes())
    return Image(height=height, width=width, encoding=encoding, step=width * size, data=data)


def smooth(width: int, height: int) -> np.ndarray:
    """Return an image [H, W, 3] that compresses about as well as photographs."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def actions(width: int, height: int) -> dict[str, Callable[[], object]]:
    """Return all conversions of images of a size, by name."""
    picture, labels = smooth(width, height), np.zeros((height, width), np.uint16)
    labels[height // 3 : height // 2, width // 3 : width // 2] = 1
    found: dict[str, Callable[[], object]] = {}
    for encoding in ENCODINGS:
        found[f"in {encoding}"] = partial(image_to_array, raw_message(encoding, width, height))
    for form in ("jpeg", "png"):
        data = array.array("B", cv2.imencode(f".{form}", picture)[1].tobytes())
        found[f"in {form}"] = partial(compressed_to_array, CompressedImage(format=form, data=data))
    remap = Remap(DualFisheye.side_by_side(width, height), (width, height), width)
    found["in dual_fisheye, after decoding"] = partial(remap, picture)
    found["out masks"] = partial(masks_msg, Header(), labels)
    found["out panorama"] = partial(image_message, Header(), picture, "rgb8")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("tools.bench_conversions", description=__doc__)
    add = parser.add_argument
    add("--repeats", type=int, default=30, help="of each conversion (default: %(default)s)")
    add("--rate", type=float, default=10.0, help="Hz, to which shares refer (default: %(default)s)")
    add("--out", type=Path, help="write the JSON to this file, too")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for width, height in SIZES:
        for name, action in tqdm(actions(width, height).items(), f"{width}x{height}"):
            ms = median_ms(action, options.repeats)
            row = {"image": f"{width}x{height}", "conversion": name, "ms": round(ms, 3)}
            rows.append(row | {"share": round(ms * options.rate / 1e3, 4)})
    result = {
        "machine": machine("cpu", cv2.getNumThreads()),
        "versions": versions() | {"opencv": cv2.__version__},  # which on a robot is not a wheel
        "date": datetime.now(timezone.utc).date().isoformat(),
        "rate": options.rate,
        "conversions": rows,
    }
    print(json.dumps(result, indent=1))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
