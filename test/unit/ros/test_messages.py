"""Messages to arrays and back."""

from __future__ import annotations

import array
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.model.mask_decoder import BACKGROUND, FOREGROUND
from panosam2_ros.msg import ObjectBearing, ObjectPrompt, PromptDirection, PromptPoint, PromptResult
from panosam2_ros.prompts.limits import PromptLimits
from panosam2_ros.prompts.prompt import PromptError, PromptStatus
from panosam2_ros.prompts.validation import check_prompt
from panosam2_ros.ros.conversion import messages as convert
from panosam2_ros.tracking.motion_model import TrackState

GRID = Equirect(256, 128)
OPTICAL = CameraFrame()
BODY = CameraFrame(FrameConvention.BODY)


def image(encoding: str) -> Image:
    msg = Image(height=6, width=12, encoding=encoding, step=36)
    msg.data = array.array("B", bytes(6 * 36))
    return msg


def test_masks_msg_round_trip() -> None:
    labels = np.random.default_rng(1).integers(0, 65536, (128, 256), np.uint16)
    header = Header(frame_id="here")
    msg = convert.masks_msg(header, labels[:, ::1])
    assert msg.header == header and msg.encoding == "mono16" and msg.step == 512
    found = np.frombuffer(msg.data, ">u2" if msg.is_bigendian else "<u2").reshape(128, 256)
    assert np.array_equal(found, labels)
    part = convert.masks_msg(header, labels[:, 10:20])
    assert np.array_equal(np.frombuffer(part.data, np.uint16).reshape(128, 10), labels[:, 10:20])


def test_stamps_are_exact() -> None:
    nanoseconds = 1_700_000_000_123_456_789
    assert convert.stamp_to_ns(convert.ns_to_stamp(nanoseconds)) == nanoseconds


@dataclass(frozen=True)
class FakeTrack:
    obj_id: int = 7
    label: str = "cup"
    state: TrackState = TrackState.OCCLUDED
    score: float = 0.25
    mask_iou: float = 0.5
    last_seen: int = 5_000_000_006
    bearing: Bearing = field(
        default_factory=lambda: Bearing(
            lonlat_to_vector(math.pi / 2, 0.3), np.array([[1.0, 2.0], [2.0, 5.0]]), 0.1, 0.2, 0.0
        )
    )
    angular_velocity: Any = field(default_factory=lambda: np.array([0.0, 0.5, 0.0]))


@pytest.mark.parametrize("camera", [OPTICAL, BODY])
def test_bearing_msg(camera: CameraFrame) -> None:
    msg = convert.bearing_msg(FakeTrack(), camera)  # type: ignore[arg-type]
    assert (msg.object_id, msg.label, msg.state) == (7, "cup", ObjectBearing.STATE_OCCLUDED)
    assert (msg.score, msg.mask_iou) == (0.25, 0.5)
    assert (msg.last_seen.sec, msg.last_seen.nanosec) == (5, 6)
    # lon = +pi/2 is to the right: azimuth, anticlockwise from above, is -pi/2 in every frame
    assert msg.azimuth == pytest.approx(-math.pi / 2) and msg.elevation == pytest.approx(0.3)
    assert list(msg.direction_covariance) == pytest.approx([1.0, 2.0, 2.0, 5.0])
    assert msg.direction_covariance.dtype == np.float64
    direction = np.array([msg.direction.x, msg.direction.y, msg.direction.z])
    assert np.allclose(camera.from_frame(direction), FakeTrack().bearing.direction)
    # turning about y down moves forward things to the right: about z up that is negative
    turn = np.array([msg.angular_velocity.x, msg.angular_velocity.y, msg.angular_velocity.z])
    assert np.allclose(turn, [0, 0.5, 0] if camera is OPTICAL else [0, 0, -0.5])


def test_unknown_velocity_is_nan() -> None:
    msg = convert.bearing_msg(FakeTrack(angular_velocity=np.full(3, np.nan)), BODY)  # type: ignore[arg-type]
    assert math.isnan(msg.angular_velocity.x)


def test_the_cores_constants_are_those_of_the_messages() -> None:
    assert {f"STATE_{state.name}" for state in TrackState} | {"STATE_UNKNOWN"} == constants(ObjectBearing)
    for state in TrackState:
        assert getattr(ObjectBearing, f"STATE_{state.name}") == state.value
    assert ObjectBearing().state == ObjectBearing.STATE_UNKNOWN == 0
    assert {status.name for status in PromptStatus} < constants(PromptResult)
    for status in PromptStatus:
        assert getattr(PromptResult, status.name) == status.value
    assert len({getattr(PromptResult, name) for name in constants(PromptResult)}) == 10
    for kind in (PromptPoint, PromptDirection):
        assert (kind.BACKGROUND, kind.FOREGROUND) == (BACKGROUND, FOREGROUND)


def constants(kind: Any) -> set[str]:
    """Names of a message's constants."""
    return {name for name in dir(type(kind)) if name.isupper() and not name.startswith("_")}


def test_bearings_msg_keeps_the_header() -> None:
    header = Header(frame_id="there")
    msg = convert.bearings_msg(header, 3, [FakeTrack(), FakeTrack(8)], OPTICAL)  # type: ignore[list-item]
    assert msg.header is header and msg.epoch == 3
    assert [o.object_id for o in msg.objects] == [7, 8]


def test_camera_frame_by_name() -> None:
    for convention, frame_id, expected in (
        ("auto", "cam_optical_frame", FrameConvention.OPTICAL),
        ("auto", "base_link", FrameConvention.BODY),
        ("optical", "base_link", FrameConvention.OPTICAL),
        ("body", "cam_optical", FrameConvention.BODY),
    ):
        assert convert.camera_frame(convention, frame_id, 0, 0, 0).convention is expected


def direction(vector: Any, label: int = PromptDirection.FOREGROUND) -> PromptDirection:
    return PromptDirection(direction=convert.vector_msg(vector), label=label)


@pytest.mark.parametrize("camera", [OPTICAL, CameraFrame(FrameConvention.BODY, 0.1, -0.4, 2.0)])
@pytest.mark.parametrize(
    "lon, lat", [(0, 0), (math.pi, 0.2), (-3.14, -1.0), (1, math.pi / 2), (2, -math.pi / 2)]
)
def test_directions_become_points(camera: CameraFrame, lon: float, lat: float) -> None:
    seen = lonlat_to_vector(lon, lat)
    msg = ObjectPrompt(
        points=[PromptPoint(u=3.0, v=4.0, label=PromptPoint.BACKGROUND)],
        directions=[direction(2.5 * camera.to_frame(seen))],
    )
    prompt = convert.prompt_from_msg(msg, GRID, camera)
    assert prompt.points[0].tolist() == [3, 4] and prompt.point_labels.tolist() == [0, 1]
    u, v = prompt.points[1]
    assert GRID.contains(u, v)
    assert angle_between(GRID.pixel_to_vector(u, v), seen) < 1e-6


def test_box_mask_and_the_rest() -> None:
    mask = Image(height=128, width=256, encoding="mono8", step=256)
    pixels = np.zeros((128, 256), np.uint8)
    pixels[3, 250:] = 1
    mask.data = array.array("B", pixels.tobytes())
    msg = ObjectPrompt(object_id=4, label="x", replace=True, box=[250.0, 1.0, 5.0, 9.0], mask=mask)
    prompt = convert.prompt_from_msg(msg, GRID, OPTICAL)
    assert (prompt.obj_id, prompt.label, prompt.replace) == (4, "x", True)
    assert prompt.box == (250.0, 1.0, 5.0, 9.0)
    assert prompt.mask is not None and np.array_equal(prompt.mask, pixels != 0)
    assert convert.prompt_from_msg(ObjectPrompt(), GRID, OPTICAL).empty


def oversized() -> ObjectPrompt:
    """A box of five numbers, which the type does not allow."""
    msg = ObjectPrompt(box=[1.0, 2.0, 3.0, 4.0])
    msg.box.append(5.0)
    return msg


def test_the_middleware_refuses_a_box_that_is_too_long() -> None:
    with pytest.raises(Exception, match=r"Failed to serialize|exceeds upper bound"):
        serialize_message(oversized())
    assert list(deserialized(ObjectPrompt(box=[1.0, 2.0, 3.0, 4.0])).box) == [1.0, 2.0, 3.0, 4.0]
    points = [PromptPoint(u=1.5, v=-0.5, label=PromptPoint.FOREGROUND)]
    msg = ObjectPrompt(points=points, directions=[direction([0, 0, 1], PromptDirection.BACKGROUND)])
    assert deserialized(msg) == msg


def deserialized(msg: ObjectPrompt) -> ObjectPrompt:
    return deserialize_message(serialize_message(msg), ObjectPrompt)


def mask_without_data() -> Image:
    return Image(height=GRID.height, width=GRID.width, step=GRID.width, encoding="mono8")


class Unread:
    """A list of a million items that nobody may read."""

    def __len__(self) -> int:
        return 10**6

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("it was read")


@pytest.mark.faults
def test_the_size_of_a_prompt_is_checked_before_it_is_read() -> None:
    fields = {"label": "", "box": [], "mask": Image(), "points": [], "directions": []}
    fields |= {"object_id": 0, "replace": False}
    for name in ("points", "directions"):
        msg: Any = SimpleNamespace(**(fields | {name: Unread()}))
        with pytest.raises(PromptError, match="at most 7 points and directions, got 1000000: give fewer"):
            convert.prompt_from_msg(msg, GRID, OPTICAL, PromptLimits(points=7))
    data: Any = Unread()
    mask = SimpleNamespace(width=GRID.width + 1, height=GRID.height, encoding="mono8", data=data)
    with pytest.raises(PromptError, match="the image's size"):
        convert.prompt_from_msg(SimpleNamespace(**(fields | {"mask": mask})), GRID, OPTICAL)


def test_labels_are_read_as_they_are_for_the_tracker_to_judge() -> None:
    msg = ObjectPrompt(points=[PromptPoint(label=2)], directions=[direction([0, 0, 1], 255)])
    prompt = convert.prompt_from_msg(msg, GRID, OPTICAL)
    assert prompt.point_labels.tolist() == [2, 255]
    with pytest.raises(PromptError, match="label"):
        check_prompt(prompt, GRID, corrects=False)


@pytest.mark.parametrize(
    "msg, reason",
    [
        (ObjectPrompt(directions=[direction([0, 0, 0])]), "unit vector, got"),
        (ObjectPrompt(directions=[direction([math.inf, 0, 0])]), "unit vector, got"),
        (ObjectPrompt(box=[1.0, 2.0]), "got 2 numbers"),
        (oversized(), "a box is empty or u_min, v_min, u_max, v_max; got 5 numbers"),
        (ObjectPrompt(mask=image("rgb8")), "mono8 image, non-zero is the object; got 'rgb8'"),
        (
            ObjectPrompt(mask=Image(height=9, width=9, step=9, encoding="mono8")),
            "the image's size.*got 9x9",
        ),
        (ObjectPrompt(mask=mask_without_data()), "mask: the data"),
        (ObjectPrompt(mask=image("x" * 1000)), r"got 'x{49}\.\.\. \(1002 characters\)"),
        (ObjectPrompt(label="x" * 1001), "a label has at most 1000 characters, got 1001"),
    ],
)
def test_what_cannot_be_read_says_why(msg: ObjectPrompt, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        convert.prompt_from_msg(msg, GRID, OPTICAL)


def test_a_direction_beyond_a_cropped_image() -> None:
    grid = Equirect(256, 64, math.pi / 2)
    msg = ObjectPrompt(directions=[direction(lonlat_to_vector(0, 1.0))])
    with pytest.raises(PromptError, match=r"covers 90\.0 degrees"):
        convert.prompt_from_msg(msg, grid, OPTICAL)
