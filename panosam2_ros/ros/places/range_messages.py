"""Read clouds of points and depth panoramas from messages, with errors that name the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField

from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.image_encodings import ImageError, pixel_bytes
from panosam2_ros.io.printable import printable

_FLOATS = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
_DEPTHS = {"32FC1": ("f4", 1.0), "16UC1": ("u2", 0.001)}  # encoding: type, m per unit
_LABELS = ("mono16", "16UC1")
_MOST_NAMED = 10


class RangeMessageError(ValueError):
    """A message that cannot be read; the message says what was needed, what came and the remedy."""


def cloud_points(msg: PointCloud2, most_points: int) -> Floats:
    """Return the points [N, 3], m, of a cloud, organised or not; those that are not finite stay as they are.

    Raises RangeMessageError.
    """
    count, step = msg.width * msg.height, msg.point_step
    if count > most_points:
        raise RangeMessageError(
            f"a cloud has {msg.width}x{msg.height} points, more than {most_points} (max_points): publish "
            "fewer, or raise max_points"
        )
    if count == 0:
        return np.zeros((0, 3))
    kinds, offsets = _xyz(msg)
    row = msg.row_step or step * msg.width
    if row < step * msg.width or len(msg.data) < row * msg.height:
        raise RangeMessageError(
            f"a cloud of {msg.width}x{msg.height} points of {step} bytes needs rows of {step * msg.width} "
            f"bytes and {row * msg.height} bytes in all, got row_step {msg.row_step} and {len(msg.data)} "
            "bytes: check the sensor's driver"
        )
    layout = np.dtype({"names": ["x", "y", "z"], "formats": kinds, "offsets": offsets, "itemsize": step})
    data = np.frombuffer(msg.data, np.uint8, row * msg.height).reshape(msg.height, row)
    packed = np.ascontiguousarray(data[:, : step * msg.width]).view(layout)
    return np.stack([packed[name].ravel().astype(float) for name in "xyz"], 1)


def _xyz(msg: PointCloud2) -> tuple[list[str], list[int]]:
    """Return type and offset of the fields x, y and z of a cloud."""
    known = {field.name: field for field in msg.fields}
    order = ">" if msg.is_bigendian else "<"
    kinds, offsets = [], []
    for name in ("x", "y", "z"):
        field = known.get(name)
        if field is None or field.datatype not in _FLOATS:
            have = ", ".join(f"{f.name}: {f.datatype}" for f in msg.fields[:_MOST_NAMED])
            raise RangeMessageError(
                f"a cloud needs the fields x, y and z of float32 ({PointField.FLOAT32}) or float64 "
                f"({PointField.FLOAT64}), got {printable(have, most=200) or 'no fields'}: set the sensor's "
                "driver to publish x, y, z"
            )
        size = np.dtype(_FLOATS[field.datatype]).itemsize
        if field.offset + size > msg.point_step:
            raise RangeMessageError(
                f"field {name} of a cloud ends at byte {field.offset + size} of points of {msg.point_step} "
                "bytes: check the sensor's driver"
            )
        kinds.append(order + _FLOATS[field.datatype])
        offsets.append(field.offset)
    return kinds, offsets


def depth_ranges(msg: Image, most_pixels: float) -> NDArray[np.float32]:
    """Return the ranges [H, W], m, of a depth panorama; 0 where there is none. Raises RangeMessageError."""
    if msg.encoding not in _DEPTHS:
        encoding = printable(repr(msg.encoding), most=50)
        raise RangeMessageError(
            f"a depth panorama is 32FC1 (m) or 16UC1 (mm), got {encoding}: set the publisher's encoding"
        )
    kind, unit = _DEPTHS[msg.encoding]
    ranges = _pixels(msg, kind, most_pixels).astype(np.float32) * np.float32(unit)
    return np.asarray(np.where(np.isfinite(ranges) & (ranges > 0), ranges, 0.0), np.float32)


def mask_labels(msg: Image, most_pixels: float) -> NDArray[np.uint16]:
    """Return the labels [H, W] of a label image. Raises RangeMessageError."""
    if msg.encoding not in _LABELS:
        encoding = printable(repr(msg.encoding), most=50)
        raise RangeMessageError(
            f"masks are mono16 label images, got {encoding}: remap masks to ~/masks of panosam2_node"
        )
    return _pixels(msg, "u2", most_pixels).astype(np.uint16, copy=False)


def _pixels(msg: Image, kind: str, most_pixels: float) -> NDArray[Any]:
    """View an image of one channel of type ``kind`` as [H, W]."""
    if msg.width * msg.height > most_pixels:
        raise RangeMessageError(
            f"an image has {msg.width}x{msg.height} pixels, more than {most_pixels / 1e6:g} million "
            "(max_image_mpixels): publish a smaller one, or raise max_image_mpixels"
        )
    typed = np.dtype((">" if msg.is_bigendian else "<") + kind)
    try:
        data = pixel_bytes(msg, typed.itemsize)
    except ImageError as error:
        raise RangeMessageError(str(error)) from error
    return np.ascontiguousarray(data).view(typed)[..., 0]
