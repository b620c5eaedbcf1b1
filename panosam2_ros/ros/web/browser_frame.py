"""One panorama with its masks and objects in the form in which a browser takes it.

A frame is, in this order: the length of the header (4 bytes, little-endian), the header (JSON), the panorama
(JPEG, of the length that the header states) and the masks (PNG, grey: 0 for none, otherwise 1 + the index of
an object in the header; may be empty). Both pictures have the same size, which may be smaller than the image
to which prompts refer.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.equirect import LEAST_WIDTH
from panosam2_ros.geometry.image_types import LabelImage
from panosam2_ros.geometry.sphere import lonlat_to_vector, vector_to_lonlat
from panosam2_ros.io.video import resized_image
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.msg import ObjectBearing
from panosam2_ros.ros.conversion.plain_values import bearing_values, image_values
from panosam2_ros.ros.panorama_snapshot import PanoramaSnapshot
from panosam2_ros.ros.web.browser_commands import page_colour
from panosam2_ros.visualization.sphere import covariance_border

MOST_OBJECTS_SHOWN = 255  # that a grey picture can tell apart
_BORDER = 24  # points of an ellipse
_KEYS = (
    "object_id", "label", "state", "score", "mask_iou", "azimuth_deg", "elevation_deg", "within_95_deg",
    "extent_horizontal_deg", "extent_vertical_deg", "unseen_s",
)  # fmt: skip


def encode_frame(snapshot: PanoramaSnapshot, *, most_columns: int, jpeg_quality: int) -> bytes:
    """Return the frame of a panorama; raise ValueError where it cannot be encoded."""
    grid = snapshot.grid
    if most_columns < grid.width:
        grid = grid.of_width(max(most_columns, LEAST_WIDTH))
    picture = cv2.cvtColor(resized_image(snapshot.image, grid.width, grid.height), cv2.COLOR_RGB2BGR)
    jpeg = _encoded(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    known = snapshot.objects
    items = list(known.objects)[:MOST_OBJECTS_SHOWN] if known is not None else []
    png = b""
    if snapshot.labels is not None and items:
        indices = _indices(resize_labels(snapshot.labels, grid.width, grid.height), items)
        png = _encoded(".png", indices, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    header = {
        **image_values(snapshot.header, known.epoch if known is not None else 0),
        "objects_frame_id": known.header.frame_id if known is not None else "",
        "image": [snapshot.grid.width, snapshot.grid.height],
        "vertical_fov": snapshot.vertical_fov,
        "history_s": snapshot.history_seconds,
        "level_to_camera": _level_to_camera(snapshot),
        "jpeg_bytes": len(jpeg),
        "objects": [object_values(item, snapshot) for item in items],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([struct.pack("<I", len(text)), text, jpeg, png])


def object_values(item: ObjectBearing, snapshot: PanoramaSnapshot) -> dict[str, Any]:
    """Return what the page shows of an object.

    ``pixel``: of its direction in the image, None where that is unknown. ``ellipse``: azimuth and elevation,
    degrees, of points round the direction, inside which it is with 95 % probability.
    """
    if snapshot.objects is None:
        raise ValueError("there are no bearings of this panorama")
    values = bearing_values(item, snapshot.objects.header)
    shown = {key: values[key] for key in _KEYS}
    return {
        **shown,
        "colour": page_colour(int(item.object_id)),
        "pixel": _pixel(item, snapshot),
        "ellipse": _ellipse(item),
    }


def _pixel(item: ObjectBearing, snapshot: PanoramaSnapshot) -> list[float] | None:
    direction = snapshot.direction(item)
    if direction is None or not np.isfinite(direction).all():
        return None
    u, v = snapshot.grid.vector_to_pixel(direction)
    return [round(float(u), 2), round(float(v), 2)]


def _ellipse(item: ObjectBearing) -> list[list[float]]:
    """Return the 95 % ellipse; empty where its size is unknown."""
    covariance = np.reshape(np.asarray(item.direction_covariance, float), (2, 2))
    if not np.isfinite(covariance).all():
        return []
    # azimuth and elevation are longitude and latitude of the frame's own level axes, azimuth to the left
    direction = lonlat_to_vector(-item.azimuth, item.elevation)
    border = covariance_border(Bearing(direction, covariance, 0.0, 0.0, 0.0), count=_BORDER)
    lon, lat = vector_to_lonlat(border)
    points: list[list[float]] = np.round(np.degrees(np.stack([-lon, lat], -1)), 2).tolist()
    return points


def _level_to_camera(snapshot: PanoramaSnapshot) -> list[list[float]] | None:
    """Return the rotation [3, 3] from the axes of azimuth and elevation to the camera's optical axes.

    The axes of azimuth and elevation are x right, y down, z forward. None where bearings are in another frame
    than the image.
    """
    known = snapshot.objects
    if known is not None and known.header.frame_id != snapshot.header.frame_id:
        return None
    azimuth, elevation = np.array([-math.pi / 2, 0.0, 0.0]), np.array([0.0, -math.pi / 2, 0.0])
    axes = snapshot.camera.from_frame(
        snapshot.camera.vectors_of(azimuth, elevation)
    )  # rows: right, down, ahead
    rotation: list[list[float]] = np.round(axes.T, 9).tolist()
    return rotation


def _indices(labels: LabelImage, items: list[ObjectBearing]) -> NDArray[np.uint8]:
    """Return 1 + the index of the object of every pixel, 0 for none."""
    table = np.zeros(1 << 16, np.uint8)
    table[[int(item.object_id) for item in items]] = np.arange(1, len(items) + 1)
    return table[labels]


def _encoded(suffix: str, picture: NDArray[np.uint8], options: list[int]) -> bytes:
    done, encoded = cv2.imencode(suffix, picture, options)
    if not done:
        raise ValueError(f"OpenCV could not encode {picture.shape[1]}x{picture.shape[0]} pixels as {suffix}")
    return bytes(encoded.tobytes())
