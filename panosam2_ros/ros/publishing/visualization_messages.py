"""Make messages to look at from an image and its results: overlay, markers and a cloud of points."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import LEAST_WIDTH, Equirect
from panosam2_ros.geometry.sphere import Floats, tangent_basis
from panosam2_ros.io.video import resized_image
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.ros.conversion.messages import byte_array, point_cloud_msg
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import Track, TrackedFrame
from panosam2_ros.visualization import drawing, overlay, sphere

try:
    from sensor_msgs_py import point_cloud2
except ImportError:  # not among the PyPI wheels of ROS 2
    point_cloud2 = None

JPEG_QUALITY = 80
SHAPES = ("bearing", "extent", "covariance", "text")  # namespaces of the markers; their id is the object's
_ALPHA = {TrackState.VISIBLE: 0.9, TrackState.OCCLUDED: 0.4, TrackState.LOST: 0.2}
_CONE_ALPHA = 0.3  # of that
_LOST_GREY = 0.6  # share of grey in the colour of an object that is lost

_FIELDS = (
    ("x", "<f4", PointField.FLOAT32),
    ("y", "<f4", PointField.FLOAT32),
    ("z", "<f4", PointField.FLOAT32),
    ("rgb", "<u4", PointField.FLOAT32),  # 0x00RRGGBB in the bits of a float, as RViz and PCL have it
    ("id", "<u4", PointField.UINT32),  # object id, 0 = none
)
CLOUD_POINT = np.dtype([(name, kind) for name, kind, _ in _FIELDS])


@dataclass(frozen=True)
class VisualizationStyle:
    """How visualizations look; the parameters of these names."""

    overlay_width: int  # pixels at most; 0: the image's
    sphere_radius: float  # m
    cloud_width: int  # points round the horizon


@dataclass(frozen=True, eq=False)
class VisualizationInput:
    """One image and its results."""

    header: Header  # of the image
    image: NDArray[np.uint8]  # [H, W, 3] RGB
    tracked: TrackedFrame
    camera: CameraFrame
    vertical_fov: float  # rad
    look: VisualizationStyle


def overlay_picture(view: VisualizationInput) -> NDArray[np.uint8]:
    """Draw the overlay, RGB [h, w, 3]."""
    grid = Equirect(view.image.shape[1], view.image.shape[0], view.vertical_fov)
    if 0 < view.look.overlay_width < grid.width:
        grid = grid.of_width(max(view.look.overlay_width, LEAST_WIDTH))
    picture, labels = overlay.fitted(view.image, view.tracked.labels, grid)
    marks = [
        overlay.object_mark(t.obj_id, t.label, t.state, t.score, t.bearing.direction, camera=view.camera)
        for t in view.tracked.tracks
    ]
    overlay.draw_overlay(picture, labels, marks, grid, view.camera)
    return picture


def rgb_msg(header: Header, picture: NDArray[np.uint8]) -> Image:
    """Make an rgb8 message of an RGB image [H, W, 3]."""
    height, width = picture.shape[:2]
    data = byte_array(picture)
    return Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data)


def jpeg_msg(header: Header, picture: NDArray[np.uint8]) -> CompressedImage:
    """Make a jpeg message of an RGB image [H, W, 3]."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"OpenCV could not encode {picture.shape[1]}x{picture.shape[0]} pixels as jpeg")
    return CompressedImage(header=header, format="jpeg", data=byte_array(encoded))


def markers_msg(view: VisualizationInput, gone: Iterable[int]) -> MarkerArray:
    """Make every known object's markers, and DELETE for those of the ids that are gone."""
    markers = [_deleted(view.header, shape, obj_id) for obj_id in sorted(gone) for shape in SHAPES]
    for track in view.tracked.tracks:
        markers += _object_markers(view, track)
    return MarkerArray(markers=markers)


def no_markers_msg(header: Header) -> MarkerArray:
    """Make the message that deletes all markers."""
    return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])


def cloud_msg(view: VisualizationInput) -> PointCloud2:
    """Make a cloud of the panorama on a sphere: x, y, z, rgb and id of evenly spaced points."""
    ball = sphere.sphere_points(view.look.cloud_width, view.vertical_fov)
    picture = resized_image(view.image, ball.grid.width, ball.grid.height).copy()
    labels = resize_labels(view.tracked.labels, ball.grid.width, ball.grid.height)
    drawing.fill_masks(picture, labels, opacity=0.6)
    red, green, blue = picture[ball.rows, ball.columns].astype(np.uint32).T
    points = np.empty(len(ball.rows), CLOUD_POINT)
    xyz = view.camera.to_frame(ball.directions) * view.look.sphere_radius
    points["x"], points["y"], points["z"] = xyz.T
    points["rgb"] = red << 16 | green << 8 | blue
    points["id"] = labels[ball.rows, ball.columns]
    return points_msg(view.header, points)


def points_msg(header: Header, points: NDArray[np.void]) -> PointCloud2:
    """Make an unorganised cloud of points [N] of dtype ``CLOUD_POINT``, by sensor_msgs_py where installed."""
    fields = [
        PointField(name=name, offset=4 * place, datatype=kind, count=1)
        for place, (name, _, kind) in enumerate(_FIELDS)
    ]
    if point_cloud2 is not None:
        as_declared = points.view(np.dtype([(n, "<f4" if n == "rgb" else k) for n, k, _ in _FIELDS]))
        return point_cloud2.create_cloud(header, fields, as_declared)
    return point_cloud_msg(header, points, fields, dense=False)


def _object_markers(view: VisualizationInput, track: Track) -> list[Marker]:
    radius, bearing = view.look.sphere_radius, track.bearing
    colour, alpha = _paint(track)
    tip = view.camera.to_frame(bearing.direction) * radius
    # a little inside the sphere of points, whose middle is the place to look from
    cone = _ring(view.camera.to_frame(sphere.extent_border(bearing)) * (0.99 * radius))
    ellipse = _ring(view.camera.to_frame(sphere.covariance_border(bearing)) * (0.98 * radius))
    above = view.camera.to_frame(tangent_basis(bearing.direction)[1]) * (0.1 * radius)
    origin = Point()
    sides = [p for a, b in itertools.pairwise(cone) for p in (origin, a, b)]

    def marker(shape: str, kind: int, size: Vector3, strength: float = 1.0) -> Marker:
        red, green, blue = colour
        paint = ColorRGBA(r=red, g=green, b=blue, a=alpha * strength)
        made = Marker(header=view.header, ns=shape, id=track.obj_id, type=kind, action=Marker.ADD)
        made.scale, made.color = size, paint
        made.pose.orientation.w = 1.0
        return made

    thin, head, long = 0.02 * radius, 0.05 * radius, 0.12 * radius
    arrow = marker("bearing", Marker.ARROW, Vector3(x=thin, y=head, z=long))
    arrow.points = [origin, _point(tip)]
    extent = marker("extent", Marker.TRIANGLE_LIST, Vector3(x=1.0, y=1.0, z=1.0), _CONE_ALPHA)
    extent.points = sides
    doubt = marker("covariance", Marker.LINE_STRIP, Vector3(x=0.4 * thin))
    doubt.points = ellipse
    # x is RViz's width of a space, which without it is that of letters 1 m high
    text = marker("text", Marker.TEXT_VIEW_FACING, Vector3(x=0.04 * radius, z=0.08 * radius))
    red, green, blue = (0.5 + c / 2 for c in colour)  # readable before its own mask
    text.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    text.text = overlay.name(track.obj_id, track.label, track.state, track.score)
    text.pose.position = _point(0.7 * tip + above)
    return [arrow, extent, doubt, text]


def _paint(track: Track) -> tuple[tuple[float, float, float], float]:
    """Return the colour of the id, mixed with grey where it is lost, and the opacity of its state; 0..1."""
    rgb = np.array(drawing.colour(track.obj_id)) / 255
    if track.state == TrackState.LOST:
        rgb = (1 - _LOST_GREY) * rgb + _LOST_GREY * 0.5
    red, green, blue = (float(c) for c in rgb)
    return (red, green, blue), _ALPHA[track.state]


def _deleted(header: Header, shape: str, obj_id: int) -> Marker:
    return Marker(header=header, ns=shape, id=obj_id, action=Marker.DELETE)


def _ring(border: Floats) -> list[Point]:
    """Return the points of a closed line, the first repeated at its end."""
    points = [_point(p) for p in border]
    return [*points, points[0]]


def _point(xyz: Floats) -> Point:
    x, y, z = (float(c) for c in xyz)
    return Point(x=x, y=y, z=z)
