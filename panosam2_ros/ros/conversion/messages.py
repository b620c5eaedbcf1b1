"""Messages to and from what the core works with; no maths beyond calls of ``equirect``."""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.image_encodings import ImageError, pixel_bytes
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt
from panosam2_ros.prompts.prompt import Prompt

if TYPE_CHECKING:
    from panosam2_ros.tracking.track import Track

_NANO = 1_000_000_000
_SHORTEST_DIRECTION = 1e-6  # a "unit vector" that is shorter was forgotten, not meant


class PromptError(ValueError):
    """A prompt message that cannot be read; says what was needed, what came and the remedy."""


def stamp_to_ns(stamp: Time) -> int:
    """A message's stamp as int nanoseconds."""
    return int(stamp.sec) * _NANO + int(stamp.nanosec)


def ns_to_stamp(nanoseconds: int) -> Time:
    """Int nanoseconds as a message's stamp."""
    return Time(sec=nanoseconds // _NANO, nanosec=nanoseconds % _NANO)


def image_message(header: Header, pixels: NDArray[np.uint8], encoding: str) -> Image:
    """An Image of pixels [H, W] or [H, W, C]."""
    height, width = pixels.shape[:2]
    step = pixels.nbytes // height
    message = Image(header=header, height=height, width=width, encoding=encoding, step=step)
    message.data = pixels.tobytes()  # bytes or array.array: a numpy array takes a second
    return message


def masks_msg(header: Header, labels: NDArray[np.uint16]) -> Image:
    """mono16 label image of labels [H, W]: value = object id, 0 = none."""
    height, width = labels.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding="mono16",
        is_bigendian=int(sys.byteorder == "big"),
        step=2 * width,
        data=byte_array(np.asarray(labels, np.uint16)),
    )


def byte_array(values: NDArray[Any]) -> array.array[int]:
    """The values' bytes in row order, in the one type that rclpy takes without looking at every element."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return data


def bearing_msg(track: Track, camera: CameraFrame) -> ObjectBearing:
    """One object; directions are turned into the frame's axes."""
    bearing = track.bearing
    direction = camera.to_frame(bearing.direction)
    azimuth, elevation = camera.azimuth_elevation(direction)
    covariance = camera.covariance_to_frame(bearing.direction, bearing.covariance)
    return ObjectBearing(
        object_id=track.obj_id,
        label=track.label,
        state=int(track.state),
        score=float(track.score),
        mask_iou=float(track.mask_iou),
        last_seen=ns_to_stamp(track.last_seen),
        direction=_vector_msg(direction),
        azimuth=float(azimuth),
        elevation=float(elevation),
        covariance=covariance.astype(np.float32).ravel(),
        extent_horizontal=float(bearing.extent_horizontal),
        extent_vertical=float(bearing.extent_vertical),
        solid_angle=float(bearing.solid_angle),
        angular_velocity=_vector_msg(camera.to_frame(track.angular_velocity)),
    )


def bearings_msg(
    header: Header, epoch: int, tracks: Sequence[Track], camera: CameraFrame
) -> ObjectBearingArray:
    """All known objects, as of the image of ``header``."""
    objects = [bearing_msg(track, camera) for track in tracks]
    return ObjectBearingArray(header=header, epoch=epoch, objects=objects)


def _vector_msg(vector: Floats) -> Vector3:
    x, y, z = (float(c) for c in vector)
    return Vector3(x=x, y=y, z=z)


def camera_frame(
    convention: str,  # auto, optical or body
    frame_id: str,
    roll: float,
    pitch: float,
    yaw: float,
) -> CameraFrame:
    """How the camera of an image sits in the image's frame."""
    named = convention != "auto"
    axes = FrameConvention(convention) if named else FrameConvention.of_frame_id(frame_id)
    return CameraFrame(axes, roll, pitch, yaw)


def prompt_from_msg(msg: ObjectPrompt, grid: Equirect, camera: CameraFrame) -> Prompt:
    """Directions become points. Raises PromptError for what cannot be read.

    What can be read but makes no sense is the tracker's to refuse.
    """
    points, labels = _points(msg)
    more, more_labels = _directions(msg, grid, camera)
    if len(msg.box) not in (0, 4):
        raise PromptError(f"a box is u_min, v_min, u_max, v_max; got {len(msg.box)} numbers")
    u_min, v_min, u_max, v_max = msg.box if len(msg.box) else (math.nan,) * 4
    return Prompt(
        obj_id=msg.object_id,
        label=msg.label,
        points=np.concatenate([points, more]),
        point_labels=np.concatenate([labels, more_labels]),
        box=(u_min, v_min, u_max, v_max) if len(msg.box) else None,
        mask=_mask(msg.mask),
        replace=msg.replace,
    )


def _points(msg: ObjectPrompt) -> tuple[Floats, NDArray[np.int64]]:
    if len(msg.points) % 2:
        raise PromptError(
            f"points are u0, v0, u1, v1, ...: an even number of coordinates; got {len(msg.points)}"
        )
    count = len(msg.points) // 2
    _check_labels("point", count, len(msg.point_labels))
    return np.array(msg.points, float).reshape(count, 2), np.array(msg.point_labels, np.int64)


def _directions(msg: ObjectPrompt, grid: Equirect, camera: CameraFrame) -> tuple[Floats, NDArray[np.int64]]:
    """Directions as points [P, 2] with their labels [P]."""
    _check_labels("direction", len(msg.directions), len(msg.direction_labels))
    vectors = np.array([(d.x, d.y, d.z) for d in msg.directions], float).reshape(-1, 3)
    for vector in vectors:
        if not np.isfinite(vector).all() or np.linalg.norm(vector) < _SHORTEST_DIRECTION:
            raise PromptError(f"a direction is a unit vector, got {vector.tolist()}")
    u, v = grid.vector_to_pixel(camera.from_frame(vectors))
    # Straight down is the image's lower edge, which is no pixel any more.
    v = np.where(np.isclose(v, grid.height - 0.5), np.nextafter(grid.height - 0.5, 0), v)
    for vector, inside in zip(vectors, grid.contains(u, v), strict=True):
        if not inside:
            raise PromptError(
                f"direction {vector.tolist()} is above or below the image, which covers "
                f"{math.degrees(grid.vertical_fov):.1f} degrees of latitude"
            )
    return np.stack([u, v], -1), np.array(msg.direction_labels, np.int64)


def _check_labels(what: str, count: int, labels: int) -> None:
    if count != labels:
        raise PromptError(
            f"every {what} needs a label in {what}_labels, 1 (object) or 0 (background); got "
            f"{count} {what}s and {labels} labels"
        )


def _mask(msg: Image) -> NDArray[np.bool_] | None:
    if not (msg.width or msg.height or len(msg.data)):
        return None
    if msg.encoding not in ("mono8", "8UC1"):
        raise PromptError(f"a mask is a mono8 image, non-zero is the object; got {msg.encoding!r}")
    try:
        return pixel_bytes(msg, 1)[..., 0] != 0
    except ImageError as error:
        raise PromptError(f"mask: {error}") from error
