"""Messages of ranges are read whatever their layout, and refused by name; queues of inputs stay bounded."""

from __future__ import annotations

import array
import contextlib
import math
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.process import ROOT

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import normalised
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.conversion.messages import ns_to_stamp, vector_msg
from panosam2_ros.ros.places.place_parameters import PlaceParameters
from panosam2_ros.ros.places.range_messages import RangeMessageError, cloud_points, depth_ranges, mask_labels
from panosam2_ros.ros.places.seen_objects import seen_objects
from panosam2_ros.ros.places.stamped_inputs import StampedInputs

XYZ = np.array([[1.0, 2.0, 3.0], [math.nan, 0.0, 1.0], [-4.0, 5.5, 1e4], [0.0, 0.0, 0.0]])


def cloud(
    kind: str = "<f4", *, padding: int = 0, rows: int = 1, row_padding: int = 0, order: str = "xyz"
) -> PointCloud2:
    size = np.dtype(kind).itemsize
    offsets = {name: padding + size * place for place, name in enumerate(order)}
    step = 2 * padding + 3 * size
    layout = np.dtype({
        "names": list("xyz"), "formats": [kind] * 3, "offsets": [offsets[n] for n in "xyz"], "itemsize": step
    })  # fmt: skip
    points = np.zeros(len(XYZ), layout)
    for axis, name in enumerate("xyz"):
        points[name] = XYZ[:, axis]
    packed = points.view(np.uint8).reshape(rows, -1)
    data = np.pad(packed, [(0, 0), (0, row_padding)]).tobytes()
    datatype = PointField.FLOAT32 if size == 4 else PointField.FLOAT64
    return PointCloud2(
        height=rows,
        width=len(XYZ) // rows,
        fields=[PointField(name=n, offset=offsets[n], datatype=datatype, count=1) for n in order],
        is_bigendian=kind.startswith(">"),
        point_step=step,
        row_step=packed.shape[1] + row_padding,
        data=array.array("B", data),
    )


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("layout", [{}, {"padding": 5}, {"rows": 2, "row_padding": 7}, {"order": "zxy"}])
def test_clouds_of_every_layout_are_read(kind: str, layout: dict[str, object]) -> None:
    points = cloud_points(cloud(kind, **layout), 100)  # type: ignore[arg-type]
    assert np.array_equal(points, XYZ, equal_nan=True)


def test_an_empty_cloud_has_no_points() -> None:
    assert cloud_points(PointCloud2(), 10).shape == (0, 3)


@pytest.mark.faults
def test_clouds_that_cannot_be_read_are_refused_by_name() -> None:
    large, short, blind, odd, beyond = (cloud() for _ in range(5))
    short.data = short.data[:-1]
    blind.fields = blind.fields[:2]
    odd.fields[0].datatype = PointField.INT16
    beyond.fields[2].offset = 100
    for msg, most, expected in (
        (large, 3, "4x1 points, more than 3"),
        (short, 10, "needs rows of 48 bytes and 48 bytes in all, got row_step 48 and 47 bytes"),
        (blind, 10, "needs the fields x, y and z .* got x: 7, y: 7"),
        (odd, 10, "got x: 3, y: 7, z: 7"),
        (beyond, 10, "field z of a cloud ends at byte 104 of points of 12 bytes"),
    ):
        with pytest.raises(RangeMessageError, match=expected):
            cloud_points(msg, most)


@given(
    width=st.integers(0, 2**32 - 1),
    height=st.integers(0, 2**32 - 1),
    step=st.integers(0, 2**32 - 1),
    row=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_invented_sizes_are_read_or_refused(
    width: int, height: int, step: int, row: int, offset: int
) -> None:
    msg = cloud()
    msg.width, msg.height, msg.point_step, msg.row_step = width, height, step, row
    msg.fields[0].offset = offset
    with contextlib.suppress(RangeMessageError):
        assert len(cloud_points(msg, 1000)) == width * height


def image(values: np.ndarray, encoding: str) -> Image:
    big = values.dtype.byteorder == ">"
    return Image(
        height=values.shape[0],
        width=values.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=values.strides[0],
        data=array.array("B", values.tobytes()),
    )


def test_depths_are_metres_and_what_is_no_range_is_zero() -> None:
    metres = np.array([[1.5, math.nan], [math.inf, -2.0]], "<f4")
    assert depth_ranges(image(metres, "32FC1"), 100).tolist() == [[1.5, 0.0], [0.0, 0.0]]
    for order in "<>":
        millimetres = np.array([[1500, 0], [65535, 1]], f"{order}u2")
        found = depth_ranges(image(millimetres, "16UC1"), 100)
        assert found == pytest.approx(np.array([[1.5, 0.0], [65.535, 0.001]]))


@pytest.mark.faults
def test_images_that_are_no_depth_or_too_large_are_refused() -> None:
    with pytest.raises(RangeMessageError, match=r"32FC1 .m. or 16UC1 .mm., got 'rgb8'"):
        depth_ranges(image(np.zeros((2, 6), np.uint8), "rgb8"), 100)
    with pytest.raises(RangeMessageError, match="remap masks to"):
        mask_labels(image(np.zeros((2, 2), np.uint8), "mono8"), 100)
    with pytest.raises(RangeMessageError, match=r"2x2 pixels, more than 3e-06 million .max_image_mpixels"):
        mask_labels(image(np.zeros((2, 2), np.uint16), "mono16"), 3)
    with pytest.raises(RangeMessageError, match="the data are too short"):
        short = image(np.zeros((2, 2), np.uint16), "mono16")
        short.data = short.data[:3]
        mask_labels(short, 100)


def stamped(kind: type, stamp: int) -> object:
    return kind(header=Header(stamp=ns_to_stamp(stamp)))


def test_masks_and_bearings_of_one_image_are_joined_in_any_order_and_queues_stay_short() -> None:
    inputs = StampedInputs()
    inputs.add_masks(stamped(Image, 1))
    inputs.add_bearings(stamped(ObjectBearingArray, 2), alone=False)  # type: ignore[arg-type]
    assert not inputs.pending
    inputs.add_bearings(stamped(ObjectBearingArray, 1), alone=False)  # type: ignore[arg-type]
    inputs.add_masks(stamped(Image, 2))
    assert [each.stamp for each in inputs.pending] == [1, 2]
    for stamp in range(10, 110):
        inputs.add_masks(stamped(Image, stamp))
        inputs.add_ranges(stamped(PointCloud2, stamp))
    for stamp in range(200, 300):
        inputs.add_bearings(stamped(ObjectBearingArray, stamp), alone=True)  # type: ignore[arg-type]
    assert len(inputs.pending) == 4
    assert inputs.skipped == 98
    assert inputs.nearest_ranges(112, 5).header.stamp.nanosec == 109
    assert inputs.nearest_ranges(120, 5) is None
    assert inputs.ranges_reach(109) and not inputs.ranges_reach(110)


@pytest.mark.parametrize("frame_id", ["camera_optical_frame", "base_link"])
def test_bearings_in_any_axes_have_the_same_covariance(frame_id: str) -> None:
    axes = CameraFrame(FrameConvention.of_frame_id(frame_id)).rotation()
    optical = normalised([0.3, -0.5, 0.8])
    message = ObjectBearing(object_id=3, state=ObjectBearing.STATE_VISIBLE)
    message.direction = vector_msg(axes @ optical)
    message.direction_covariance = np.array([4e-4, 0.0, 0.0, 1e-4])  # east 0.02, north 0.01
    message.extent_horizontal, message.extent_vertical = math.nan, 0.2
    broken = ObjectBearing(object_id=4, state=ObjectBearing.STATE_VISIBLE)
    hidden = ObjectBearing(object_id=5, state=ObjectBearing.STATE_OCCLUDED)
    array_msg = ObjectBearingArray(header=Header(frame_id=frame_id), objects=[message, broken, hidden])
    (seen,) = seen_objects(array_msg, axes.T)
    assert seen.obj_id == 3
    assert seen.direction == pytest.approx(optical)
    assert (seen.width, seen.height) == (0.0, pytest.approx(0.2))
    level = normalised([0.8, 0.0, -0.3])  # east
    assert level @ seen.covariance @ level == pytest.approx(4e-4)
    assert np.trace(seen.covariance) == pytest.approx(5e-4)
    assert seen.covariance @ optical == pytest.approx(np.zeros(3), abs=1e-12)


def test_the_documented_file_has_every_parameter_with_its_default() -> None:
    documented = yaml.safe_load((ROOT / "config" / "places.yaml").read_text())["/**"]["ros__parameters"]
    assert documented == asdict(PlaceParameters())
