"""What views show: geometry, byte layout and words, without DDS."""

from __future__ import annotations

import math
import struct
import sys
import types
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from geometry_msgs.msg import Point
from sensor_msgs.msg import PointField
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from panosam2_ros.geometry.bearing import UNKNOWN_VARIANCE, Bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector, tangent_basis
from panosam2_ros.ros.publishing import vision_msgs, visualization_messages
from panosam2_ros.ros.publishing.visualization_messages import VisualizationInput, VisualizationStyle
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import Track, TrackedFrame
from panosam2_ros.visualization import drawing, overlay, sphere

GRID = Equirect(256, 128)
BODY = CameraFrame(FrameConvention.BODY)
NAN = np.full(3, np.nan)


def track(obj_id: int = 3, state: TrackState = TrackState.VISIBLE, lon: float = math.pi) -> Track:
    way = lonlat_to_vector(lon, 0.0)
    bearing = Bearing(way, np.diag([0.01, 0.0025]), 0.4, 0.2, 0.06)
    return Track(obj_id, "mug", state, 0.93, 0.9, 5, bearing, NAN)


def view(*tracks: Track, labels: np.ndarray | None = None, camera: CameraFrame = BODY) -> VisualizationInput:
    """A grey image whose upper half is red, with an object across the seam."""
    image = np.full((128, 256, 3), 90, np.uint8)
    image[:64] = (200, 10, 20)
    if labels is None:
        labels = np.zeros((128, 256), np.uint16)
        labels[54:74, np.arange(-10, 10)] = 3
    header = Header(frame_id="camera")
    header.stamp.sec = 7
    return VisualizationInput(
        header, image, TrackedFrame(7, labels, tracks), camera, math.pi, VisualizationStyle(1280, 2.0, 128)
    )


def xyz(points: list[Point]) -> np.ndarray:
    return np.array([[p.x, p.y, p.z] for p in points])


def test_the_clouds_bytes_are_as_documented() -> None:
    msg = visualization_messages.cloud_msg(view(track()))
    layout = [(f.name, f.offset, f.datatype, f.count) for f in msg.fields]
    real, whole = PointField.FLOAT32, PointField.UINT32
    assert layout[:3] == [("x", 0, real, 1), ("y", 4, real, 1), ("z", 8, real, 1)]
    assert layout[3:] == [("rgb", 12, real, 1), ("id", 16, whole, 1)]
    assert (msg.point_step, msg.height, msg.row_step) == (20, 1, 20 * msg.width)
    assert len(msg.data) == msg.row_step and not msg.is_bigendian
    grid, ids = sphere.sphere_points(128, math.pi).grid, set()
    for x, y, z, rgb, obj_id in struct.iter_unpack("<fffII", bytes(msg.data)):
        assert math.hypot(x, y, z) == pytest.approx(2.0, abs=1e-5)
        ids.add(obj_id)
        if not obj_id and abs(z) > 0.2:
            assert rgb == (0xC80A14 if z > 0 else 0x5A5A5A), "up is up, and red is the high byte"
        if obj_id:
            assert x < -1.8 and abs(y) < 0.8, "across the seam is behind, in body axes"
    assert ids == {0, 3} and grid.width == 128


def test_points_of_the_sphere_lie_evenly() -> None:
    ball = sphere.sphere_points(128, math.pi)
    assert len(ball.directions) == pytest.approx(128 * 64 * 2 / math.pi, rel=0.02)
    share = (np.abs(ball.directions[:, 1]) > math.sin(math.radians(60))).mean()
    assert share == pytest.approx(1 - math.sin(math.radians(60)), abs=0.01)
    shown = ball.grid.pixel_to_vector(ball.columns, ball.rows)
    assert angle_between(shown, ball.directions).max() < 2 * math.pi / 128
    cropped = sphere.sphere_points(128, math.pi / 2)
    assert np.abs(cropped.directions[:, 1]).max() < math.sin(math.pi / 4)


def test_sensor_msgs_py_makes_the_same_cloud_where_it_is_installed() -> None:
    made = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="PyPI has no wheel of it")
    points = np.zeros(5, visualization_messages.CLOUD_POINT)
    points["rgb"], points["id"] = 0x123456, np.arange(5)
    without = pytest.MonkeyPatch()
    with without.context() as patch:
        patch.setattr(visualization_messages, "point_cloud2", None)
        ours = visualization_messages.points_msg(Header(), points)
    assert visualization_messages.point_cloud2 is made
    assert visualization_messages.points_msg(Header(), points) == ours


def test_markers_point_where_the_object_is() -> None:
    shapes = {
        m.ns: m for m in visualization_messages.markers_msg(view(track()), gone=[9]).markers if m.id == 3
    }
    arrow = xyz(shapes["bearing"].points)
    assert np.allclose(arrow, [[0, 0, 0], [-2, 0, 0]], atol=1e-9)
    cone = xyz(shapes["extent"].points).reshape(-1, 3, 3)
    assert np.allclose(cone[:, 0], 0) and np.allclose(cone[:, 1:, 0].mean(), -2, atol=0.1)
    edge = cone[:, 1] / np.linalg.norm(cone[:, 1], axis=-1, keepdims=True)
    assert math.asin(np.abs(edge[:, 1]).max()) == pytest.approx(0.2, abs=1e-3), "half of extent_horizontal"
    assert math.asin(np.abs(edge[:, 2]).max()) == pytest.approx(0.1, abs=1e-3)
    ellipse = xyz(shapes["covariance"].points)
    assert np.allclose(ellipse[0], ellipse[-1])
    spread = np.abs(ellipse / np.linalg.norm(ellipse, axis=-1, keepdims=True))
    assert math.asin(spread[:, 1].max()) == pytest.approx(0.1 * 2.4477, rel=0.01)
    assert math.asin(spread[:, 2].max()) == pytest.approx(0.05 * 2.4477, rel=0.02)
    assert shapes["text"].text == "#3 mug 0.93"
    assert 0 < shapes["text"].scale.x < shapes["text"].scale.z, "the width of a space in RViz"
    assert all(m.header.stamp.sec == 7 and m.header.frame_id == "camera" for m in shapes.values())


def test_states_show_and_what_is_gone_is_deleted() -> None:
    def arrow(state: TrackState) -> Marker:
        markers = visualization_messages.markers_msg(view(track(state=state)), gone=[]).markers
        return next(m for m in markers if m.ns == "bearing")

    seen, hidden, lost = (arrow(state).color for state in TrackState)
    assert seen.a > hidden.a > lost.a > 0
    assert (seen.r, seen.g, seen.b) == (hidden.r, hidden.g, hidden.b) != (lost.r, lost.g, lost.b)
    msg = visualization_messages.markers_msg(view(track(), track(4, TrackState.LOST)), gone=[9])
    assert {m.id for m in msg.markers if m.action == Marker.DELETE} == {9}
    assert [m.text for m in msg.markers if m.text] == ["#3 mug 0.93", "#4 mug 0.93 lost"]
    assert visualization_messages.no_markers_msg(Header()).markers[0].action == Marker.DELETEALL


@pytest.mark.parametrize("variance", [0.0, UNKNOWN_VARIANCE])
def test_shapes_are_finite_and_unit_at_the_extremes(variance: float) -> None:
    for lat in (math.pi / 2, 0.3):
        way = lonlat_to_vector(1.0, lat)
        bearing = Bearing(way, variance * np.eye(2), 2 * math.pi, math.pi, 4 * math.pi)
        for border in (sphere.extent_border(bearing), sphere.covariance_border(bearing)):
            assert np.allclose(np.linalg.norm(border, axis=-1), 1)


def test_the_ellipse_turns_with_the_covariance() -> None:
    way = lonlat_to_vector(0.4, 0.2)
    tilted = Bearing(way, np.array([[0.01, 0.009], [0.009, 0.01]]), 0.1, 0.1, 0.01)
    east, north = tangent_basis(way)
    border = sphere.covariance_border(tilted)
    far = border[np.argmax(angle_between(border, way))]
    assert (far @ east) * (far @ north) > 0, "east and north go together"


def test_overlay_shows_the_frames_azimuth_through_the_seam_and_leaves_the_image_alone() -> None:
    before = view(track(lon=math.pi - 0.1))
    untouched = before.image.copy()
    picture = visualization_messages.overlay_picture(before)
    assert np.array_equal(before.image, untouched)
    middle = replace(
        before,
        image=np.roll(before.image, 128, 1),
        tracked=replace(
            before.tracked, label_image=np.roll(before.tracked.labels, 128, 1), tracks=(track(lon=-0.1),)
        ),
        camera=CameraFrame(FrameConvention.BODY, yaw=math.pi),  # the same directions in the frame
    )
    same = np.roll(visualization_messages.overlay_picture(middle), 128, 1)
    assert (picture != same).any(-1).mean() < 0.01, "but for how lines are rounded"


def test_words_tell_azimuth_in_the_frames_axes() -> None:
    ahead = lonlat_to_vector(0.0, 0.0)
    turned = CameraFrame(FrameConvention.OPTICAL, yaw=math.pi / 2)  # the camera looks to the left
    assert overlay.object_mark(3, "mug", 1, 0.5, ahead, camera=turned).text == "#3 mug 0.50 +90/+0 deg"
    hidden = overlay.object_mark(3, "", 2, 0.0, ahead, camera=BODY)
    assert hidden.text.startswith("#3 0.00 hidden") and not hidden.seen


def test_a_tilted_cameras_horizon_is_no_row() -> None:
    picture = np.zeros((128, 256, 3), np.uint8)
    drawing.draw_grid(picture, GRID, camera=CameraFrame(FrameConvention.BODY, pitch=0.5))
    # the nose looks down by 0.5 rad: the level lies above the image's middle row, behind below it
    level, _ = GRID.lonlat_to_pixel(0.0, 0.5)[1], None
    assert picture[round(float(level)), 120:127].any() and not picture[64, 124:127].any()


def test_overlay_is_no_wider_than_asked_and_labels_may_be_smaller() -> None:
    small = np.zeros((64, 128), np.uint16)
    small[20:40, 50:70] = 3
    narrow = replace(view(track(lon=0.0), labels=small), look=VisualizationStyle(100, 2.0, 128))
    assert visualization_messages.overlay_picture(narrow).shape == (50, 100, 3)
    jpeg = visualization_messages.jpeg_msg(narrow.header, narrow.image)
    assert jpeg.header.stamp.sec == 7 and bytes(jpeg.data[:2]) == b"\xff\xd8"


# --- vision_msgs, which PyPI has no wheel of: stand-ins with the fields of its .msg files


@dataclass
class Point2D:
    x: float = 0.0
    y: float = 0.0


@dataclass
class Pose2D:
    position: Point2D = field(default_factory=Point2D)
    theta: float = 0.0


@dataclass
class BoundingBox2D:
    center: Pose2D = field(default_factory=Pose2D)
    size_x: float = 0.0
    size_y: float = 0.0


@dataclass
class ObjectHypothesis:
    class_id: str = ""
    score: float = 0.0


@dataclass
class ObjectHypothesisWithPose:
    hypothesis: ObjectHypothesis = field(default_factory=ObjectHypothesis)
    pose: Any = None  # geometry_msgs/PoseWithCovariance


@dataclass
class Detection2D:
    header: Any = None
    results: list[ObjectHypothesisWithPose] = field(default_factory=list)
    bbox: BoundingBox2D = field(default_factory=BoundingBox2D)
    id: str = ""


@dataclass
class Detection2DArray:
    header: Any = None
    detections: list[Detection2D] = field(default_factory=list)


@dataclass
class VisionClass:
    class_id: int = 0
    class_name: str = ""


@dataclass
class LabelInfo:
    header: Any = None
    class_map: list[VisionClass] = field(default_factory=list)
    threshold: float = 0.0


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("vision_msgs.msg")
    for kind in (Detection2D, Detection2DArray, LabelInfo, ObjectHypothesisWithPose, VisionClass):
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "vision_msgs", types.ModuleType("vision_msgs"))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", module)
    monkeypatch.setattr(vision_msgs, "vision", module)


@pytest.mark.usefixtures("vision")
def test_detections_of_visible_objects() -> None:
    seen = view(track(), track(4, TrackState.OCCLUDED))
    msg = vision_msgs.detections_msg(seen)
    assert msg.header is seen.header and [d.id for d in msg.detections] == ["3"]
    found = msg.detections[0]
    assert found.results[0].hypothesis == ObjectHypothesis("mug", pytest.approx(0.93))
    assert found.bbox == BoundingBox2D(Pose2D(Point2D(-0.5, 63.5)), 20.0, 20.0)


class FakeNode:
    """Creates one publisher, which keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def create_lifecycle_publisher(self, *_: Any) -> Any:
        return types.SimpleNamespace(publish=self.sent.append)


@pytest.mark.usefixtures("vision")
def test_labels_are_published_when_they_change() -> None:
    node: Any = FakeNode()
    labels = vision_msgs.LabelPublisher(node)
    for seen in (view(track()), view(track(state=TrackState.LOST)), view(track(), track(4)), view()):
        labels.update(seen)
    told = [{c.class_id: c.class_name for c in msg.class_map} for msg in node.sent]
    assert told == [{3: "mug"}, {3: "mug", 4: "mug"}, {}]
    labels.forget()
    labels.update(view())
    assert len(node.sent) == 4


@pytest.mark.parametrize(
    "columns, expected_u, size",
    [(np.arange(100, 110), 104.5, 10), (np.arange(-10, 10), -0.5, 20), (np.arange(-4, 10), 2.5, 14)],
)
def test_a_boxs_centre_is_in_the_image_also_across_the_seam(
    columns: np.ndarray, expected_u: float, size: int
) -> None:
    mask = np.zeros((128, 256), bool)
    mask[10:20, columns] = True
    u, v, width, height = vision_msgs.seam_box(mask, 256, 128)
    assert (u, v, width, height) == (expected_u, 14.5, size, 10)
    assert -0.5 <= u < 255.5
    # of an image twice as large
    u, v, width, height = vision_msgs.seam_box(mask, 512, 256)
    assert (u + 0.5, v + 0.5, width, height) == (2 * (expected_u + 0.5), 30.0, 2 * size, 20)
