"""What a browser gets of a panorama: pictures, indices of masks, directions and ellipses."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import ELLIPSE_95
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.conversion.messages import ns_to_stamp, vector_msg
from panosam2_ros.ros.panorama_snapshot import PanoramaSnapshot
from panosam2_ros.ros.web.browser_frame import MOST_OBJECTS_SHOWN, encode_frame
from panosam2_ros.visualization.drawing import colour

WIDTH, HEIGHT = 256, 128
TILTED = CameraFrame(FrameConvention.BODY, roll=0.2, pitch=-0.3, yaw=1.0)


def bearing(
    obj_id: int, lon: float, lat: float, camera: CameraFrame, spread: Any = (0.01, 0.0, 0.0025)
) -> Any:
    direction = camera.to_frame(lonlat_to_vector(lon, lat))
    azimuth, elevation = camera.azimuth_elevation(direction)
    a, b, c = spread
    return ObjectBearing(
        object_id=obj_id, label=f"thing {obj_id}", state=1, score=0.9, direction=vector_msg(direction),
        azimuth=float(azimuth), elevation=float(elevation), direction_covariance=np.array([a, b, b, c]),
    )  # fmt: skip


def snapshot(
    objects: list[Any], camera: CameraFrame = TILTED, labels: Any = None, frame: str = "camera"
) -> PanoramaSnapshot:
    header = Header(stamp=ns_to_stamp(5_000_000_001), frame_id="camera")
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    known = ObjectBearingArray(header=Header(stamp=header.stamp, frame_id=frame), epoch=3, objects=objects)
    return PanoramaSnapshot(header, image, labels, known, camera, math.pi, 5.0)


def decoded(frame: bytes) -> tuple[dict[str, Any], Any, Any]:
    """Return header, panorama and masks, as the page reads them."""
    (length,) = struct.unpack_from("<I", frame)
    header = json.loads(frame[4 : 4 + length])
    rest = np.frombuffer(frame[4 + length :], np.uint8)
    jpeg, png = rest[: header["jpeg_bytes"]], rest[header["jpeg_bytes"] :]
    masks = cv2.imdecode(png, cv2.IMREAD_UNCHANGED) if len(png) else None
    return header, cv2.imdecode(jpeg, cv2.IMREAD_COLOR), masks


def test_masks_come_as_indices_of_the_objects_at_the_size_of_the_picture() -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[40:60, :20], labels[40:60, -20:], labels[80:90, 100:140] = 65535, 65535, 7
    objects = [bearing(7, 0.0, 0.0, TILTED), bearing(65535, 3.0, 0.1, TILTED)]
    header, picture, masks = decoded(
        encode_frame(snapshot(objects, labels=labels), most_columns=128, jpeg_quality=80)
    )
    assert picture.shape == (64, 128, 3) and masks.shape == (64, 128)
    assert np.array_equal(np.unique(masks), [0, 1, 2])
    assert masks[25, 0] == masks[25, 127] == 2 and masks[42, 60] == 1
    assert [each["object_id"] for each in header["objects"]] == [7, 65535]
    assert [int(header["objects"][1]["colour"][i : i + 2], 16) for i in (1, 3, 5)] == list(colour(65535))
    assert (header["stamp"], header["image"], header["epoch"]) == ("5.000000001", [WIDTH, HEIGHT], 3)


def test_a_panorama_without_masks_or_bearings_is_shown_alone() -> None:
    alone = snapshot([])
    header, picture, masks = decoded(encode_frame(alone, most_columns=4096, jpeg_quality=80))
    assert picture.shape == (HEIGHT, WIDTH, 3) and masks is None and header["objects"] == []
    header, _, masks = decoded(
        encode_frame(
            PanoramaSnapshot(alone.header, alone.image, None, None, TILTED, math.pi, 5.0),
            most_columns=4096,
            jpeg_quality=80,
        )
    )
    assert header["objects"] == [] and masks is None


def test_more_objects_than_a_grey_picture_can_tell_apart_are_cut_off() -> None:
    objects = [bearing(i, 0.0, 0.0, TILTED) for i in range(1, MOST_OBJECTS_SHOWN + 30)]
    labels = np.full((HEIGHT, WIDTH), MOST_OBJECTS_SHOWN + 5, np.uint16)
    header, _, masks = decoded(
        encode_frame(snapshot(objects, labels=labels), most_columns=256, jpeg_quality=80)
    )
    assert len(header["objects"]) == MOST_OBJECTS_SHOWN and not masks.any()


@pytest.mark.parametrize("camera", [CameraFrame(), TILTED])
def test_pixels_and_the_rotation_say_where_an_object_is_in_the_picture(camera: CameraFrame) -> None:
    lon, lat = 2.5, -0.4
    header, _, _ = decoded(
        encode_frame(snapshot([bearing(1, lon, lat, camera)], camera), most_columns=256, jpeg_quality=80)
    )
    (item,) = header["objects"]
    wanted = [(lon / (2 * math.pi) + 0.5) * WIDTH - 0.5, (0.5 - lat / math.pi) * HEIGHT - 0.5]
    assert item["pixel"] == pytest.approx(wanted, abs=0.01)
    # as the page does it: azimuth and elevation, in level axes, rotated into the camera's axes
    level = lonlat_to_vector(-math.radians(item["azimuth_deg"]), math.radians(item["elevation_deg"]))
    assert np.array(header["level_to_camera"]) @ level == pytest.approx(lonlat_to_vector(lon, lat), abs=1e-4)


def test_the_ellipse_has_the_95_percent_radii_of_the_covariance() -> None:
    header, _, _ = decoded(
        encode_frame(
            snapshot([bearing(1, 0.3, 0.2, CameraFrame())], CameraFrame()), most_columns=64, jpeg_quality=80
        )
    )
    (item,) = header["objects"]
    away = np.array(item["ellipse"]) - [item["azimuth_deg"], item["elevation_deg"]]
    east, north = math.degrees(math.sqrt(ELLIPSE_95 * 0.01)), math.degrees(math.sqrt(ELLIPSE_95 * 0.0025))
    assert np.abs(away[:, 0]).max() * math.cos(0.2) == pytest.approx(east, rel=0.03)
    assert np.abs(away[:, 1]).max() == pytest.approx(north, rel=0.03)


def test_what_is_unknown_is_left_out_and_is_json() -> None:
    objects = [bearing(1, 0.3, 0.2, TILTED, spread=(math.nan, 0.0, 0.01)), bearing(2, 0.1, 0.1, TILTED)]
    objects[1].direction.x = math.nan
    objects[1].score = math.inf
    header, _, _ = decoded(encode_frame(snapshot(objects), most_columns=64, jpeg_quality=80))
    assert header["objects"][0]["ellipse"] == [] and header["objects"][0]["within_95_deg"] == 180.0
    assert header["objects"][1]["pixel"] is None and header["objects"][1]["score"] is None
    # bearings in another frame than the image: nothing is drawn by azimuth, masks say where objects are
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[60:68, 90:110] = 2
    other, _, _ = decoded(
        encode_frame(snapshot(objects, labels=labels, frame="base_link"), most_columns=256, jpeg_quality=80)
    )
    assert other["level_to_camera"] is None and other["objects_frame_id"] == "base_link"
    assert other["objects"][0]["pixel"] is None
    assert other["objects"][1]["pixel"] == pytest.approx([99.5, 63.5], abs=0.5)
