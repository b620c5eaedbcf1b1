"""Convert messages to and from the core's types; no maths beyond calls of ``equirect``."""

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
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.image_encodings import ImageError, pixel_bytes
from panosam2_ros.io.printable import printable
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt
from panosam2_ros.prompts.limits import LARGEST_PROMPT, PromptLimits
from panosam2_ros.prompts.prompt import Prompt, PromptError

if TYPE_CHECKING:
    from panosam2_ros.tracking.track import Track

_NANO = 1_000_000_000
_SHORTEST_DIRECTION = 1e-6  # a "unit vector" that is much shorter or longer was not meant


def stamp_to_ns(stamp: Time) -> int:
    """Return a message's stamp as int nanoseconds."""
    return int(stamp.sec) * _NANO + int(stamp.nanosec)


def ns_to_stamp(nanoseconds: int) -> Time:
    """Return int nanoseconds as a message's stamp."""
    return Time(sec=nanoseconds // _NANO, nanosec=nanoseconds % _NANO)


def image_message(header: Header, pixels: NDArray[np.uint8], encoding: str) -> Image:
    """Make an Image of pixels [H, W] or [H, W, C]."""
    height, width = pixels.shape[:2]
    step = pixels.nbytes // height
    message = Image(header=header, height=height, width=width, encoding=encoding, step=step)
    message.data = pixels.tobytes()  # bytes or array.array: a numpy array takes a second
    return message


def masks_msg(header: Header, labels: NDArray[np.uint16]) -> Image:
    """Make a mono16 label image of labels [H, W]: value = object id, 0 = none."""
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
    """Return the values' bytes in row order, as the one type that rclpy does not check element by element."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return data


def point_cloud_msg(
    header: Header, points: NDArray[np.void], fields: Sequence[PointField], *, dense: bool
) -> PointCloud2:
    """Make an unorganised cloud of packed, little-endian points [N]; ``dense``: none is NaN."""
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.itemsize * len(points),
        data=byte_array(points),
        is_dense=dense,
    )


def bearing_msg(track: Track, camera: CameraFrame) -> ObjectBearing:
    """Make the message of one object, with directions in the axes of ``camera``'s frame."""
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
        direction=vector_msg(direction),
        azimuth=float(azimuth),
        elevation=float(elevation),
        direction_covariance=np.asarray(covariance, np.float64).ravel(),
        extent_horizontal=float(bearing.extent_horizontal),
        extent_vertical=float(bearing.extent_vertical),
        solid_angle=float(bearing.solid_angle),
        angular_velocity=vector_msg(camera.to_frame(track.angular_velocity)),
    )


def bearings_msg(
    header: Header, epoch: int, tracks: Sequence[Track], camera: CameraFrame
) -> ObjectBearingArray:
    """Make the message of all known objects; ``header`` names the frame that ``camera`` sits in."""
    objects = [bearing_msg(track, camera) for track in tracks]
    return ObjectBearingArray(header=header, epoch=epoch, objects=objects)


def vector_msg(vector: Floats | Sequence[float]) -> Vector3:
    """Make a Vector3 of [3]."""
    x, y, z = (float(c) for c in vector)
    return Vector3(x=x, y=y, z=z)


def camera_frame(
    convention: str,  # auto, optical or body
    frame_id: str,
    roll: float,
    pitch: float,
    yaw: float,
) -> CameraFrame:
    """Return how the camera of an image sits in the image's frame."""
    named = convention != "auto"
    axes = FrameConvention(convention) if named else FrameConvention.of_frame_id(frame_id)
    return CameraFrame(axes, roll, pitch, yaw)


def prompt_from_msg(
    msg: ObjectPrompt, grid: Equirect, camera: CameraFrame, limits: PromptLimits = LARGEST_PROMPT
) -> Prompt:
    """Read a prompt message; its directions become points.

    Its size is checked before anything is copied. Raise PromptError for what cannot be read. What can be read
    but makes no sense, such as a label that is neither FOREGROUND nor BACKGROUND, is the tracker's to refuse.
    """
    check_box_length(msg)
    limits.check(label=msg.label, points=len(msg.points) + len(msg.directions))
    points = np.array([(p.u, p.v) for p in msg.points], float).reshape(-1, 2)
    labels = [p.label for p in (*msg.points, *msg.directions)]
    return Prompt(
        obj_id=msg.object_id,
        label=msg.label,
        points=np.concatenate([points, _direction_points(msg, grid, camera)]),
        point_labels=np.array(labels, np.int64),
        box=_box(msg),
        mask=_mask(msg.mask, grid),
        replace=msg.replace,
    )


def check_box_length(msg: ObjectPrompt) -> None:
    """Raise PromptError for a box that has neither no number nor four."""
    if len(msg.box) not in (0, 4):
        raise PromptError(f"a box is empty or u_min, v_min, u_max, v_max; got {len(msg.box)} numbers")


def _box(msg: ObjectPrompt) -> tuple[float, float, float, float] | None:
    if not msg.box:
        return None
    u_min, v_min, u_max, v_max = msg.box
    return u_min, v_min, u_max, v_max


def _direction_points(msg: ObjectPrompt, grid: Equirect, camera: CameraFrame) -> Floats:
    """Return the directions as points [P, 2]."""
    vectors = np.array([(d.direction.x, d.direction.y, d.direction.z) for d in msg.directions], float)
    vectors = vectors.reshape(-1, 3)
    for vector in vectors:
        if not _SHORTEST_DIRECTION < np.abs(vector).max() < 1 / _SHORTEST_DIRECTION:  # nor NaN
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
    return np.stack([u, v], -1)


def _mask(msg: Image, grid: Equirect) -> NDArray[np.bool_] | None:
    if not (msg.width or msg.height or len(msg.data)):
        return None
    if msg.encoding not in ("mono8", "8UC1"):
        encoding = printable(repr(msg.encoding), most=50)
        raise PromptError(f"a mask is a mono8 image, non-zero is the object; got {encoding}")
    if (msg.width, msg.height) != (grid.width, grid.height):
        raise PromptError(
            f"the mask must have the image's size {grid.width}x{grid.height}, got {msg.width}x{msg.height}"
        )
    try:
        return np.asarray(pixel_bytes(msg, 1)[..., 0] != 0)
    except ImageError as error:
        raise PromptError(f"mask: {error}") from error
