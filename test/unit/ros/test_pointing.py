"""A pixel of any picture of a panorama becomes a prompt at the same place of the sphere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect, box_width
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, PromptPoint
from panosam2_ros.ros.conversion.messages import prompt_from_msg, vector_msg
from panosam2_ros.ros.panorama_snapshot import PanoramaSnapshot, view_of

# the panoramas of the camera table: a full sphere, one of 120 degrees, and an odd size
GRIDS = (Equirect(1024, 512), Equirect(1920, 640, math.radians(120)), Equirect(641, 322))
cameras = st.builds(CameraFrame, st.sampled_from(FrameConvention), *(st.floats(-0.5, 0.5) for _ in range(3)))


def snapshot(grid: Equirect, camera: CameraFrame, **known: Any) -> PanoramaSnapshot:
    image = np.zeros((grid.height, grid.width, 3), np.uint8)
    header = Header(frame_id="camera")
    values = {"labels": None, "objects": None, **known}
    return PanoramaSnapshot(
        header, image, camera=camera, vertical_fov=grid.vertical_fov, history_seconds=4.0, **values
    )


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(GRIDS), cameras, st.integers(0, 1200), st.floats(0, 0.999), st.floats(0, 0.999))
def test_a_pixel_of_a_smaller_panorama_is_the_same_direction(
    grid: Equirect, camera: CameraFrame, columns: int, across: float, down: float
) -> None:
    picture = snapshot(grid, camera).picture(most_columns=columns)
    size = picture.projection
    assert size.width == (grid.width if columns == 0 else min(max(columns, 64), grid.width))
    u, v = across * size.width - 0.5, down * size.height - 0.5
    read = prompt_from_msg(picture.prompt(on=[(u, v)], off=[(0, 0)]), grid, camera)
    assert angle_between(grid.pixel_to_vector(*read.points[0]), size.pixel_to_vector(u, v)) < 1e-5
    assert read.point_labels.tolist() == [PromptPoint.FOREGROUND, PromptPoint.BACKGROUND]


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(GRIDS),
    cameras,
    st.floats(-180, 180),
    st.floats(-40, 40),
    st.floats(0, 399),
    st.floats(0, 299),
)
def test_a_pixel_of_a_view_is_the_same_direction(
    grid: Equirect, camera: CameraFrame, azimuth: float, elevation: float, u: float, v: float
) -> None:
    taken = snapshot(grid, camera)
    view = view_of(camera, (azimuth, elevation, 50.0), (400, 300))
    picture = taken.picture(view=view)
    direction = view.pixel_to_vector(u, v)
    assert angle_between(camera.from_frame(picture.direction(u, v)), direction) < 1e-9
    if grid.contains(*grid.vector_to_pixel(direction)):
        (place,) = prompt_from_msg(picture.prompt(on=[(u, v)]), grid, camera).points
        assert angle_between(grid.pixel_to_vector(*place), direction) < 1e-5


@pytest.mark.parametrize("grid", GRIDS)
def test_boxes_keep_their_place_and_their_crossing_of_the_seam(grid: Equirect) -> None:
    taken = snapshot(grid, CameraFrame())
    small = taken.picture(most_columns=320)
    box = prompt_from_msg(small.prompt(box=(300, 40, 10, 90)), grid, CameraFrame()).box
    assert box is not None and box[0] > box[2]
    assert box_width(box[0], box[2], grid.width) == pytest.approx(30 * grid.width / 320)
    assert box[3] - box[1] == pytest.approx(50 * grid.height / small.projection.height)
    behind = taken.picture(view=view_of(CameraFrame(), (180, 0, 60), (400, 300)))
    box = prompt_from_msg(behind.prompt(box=(150, 100, 250, 200)), grid, CameraFrame()).box
    assert box is not None and box[0] > box[2] and box_width(box[0], box[2], grid.width) < grid.width / 6


def test_what_is_not_in_the_picture_is_refused() -> None:
    taken = snapshot(GRIDS[1], CameraFrame())
    small = taken.picture(most_columns=320)
    with pytest.raises(ValueError, match="columns are 0 to 319, its rows 0 to 106"):
        small.prompt(on=[(320, 5)])
    with pytest.raises(ValueError, match="got 3 numbers"):
        small.prompt(box=(1, 2, 3))
    up = taken.picture(view=view_of(CameraFrame(), (0, 85, 20), (400, 300)))
    with pytest.raises(ValueError, match="black part of the view"):
        up.prompt(box=(10, 10, 60, 60))


def bearing(direction: Any, **more: Any) -> ObjectBearing:
    state = ObjectBearing.STATE_VISIBLE
    return ObjectBearing(object_id=2, label="chair", state=state, direction=vector_msg(direction), **more)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("frame_id", ["camera", "map"])
def test_names_are_drawn_at_the_objects_whatever_frame_bearings_are_in(grid: Equirect, frame_id: str) -> None:
    camera = CameraFrame(FrameConvention.BODY, 0.1, -0.2, 0.4)
    labels = np.zeros((grid.height, grid.width), np.uint16)
    labels[grid.height // 2 : grid.height // 2 + 21, 100:121] = 2
    middle = grid.pixel_to_vector(110, grid.height // 2 + 10)
    there = camera.to_frame(middle) if frame_id == "camera" else [0.0, 0.0, 1.0]
    known = ObjectBearingArray(header=Header(frame_id=frame_id), objects=[bearing(there, score=1.0)])
    taken = snapshot(grid, camera, labels=labels, objects=known)
    (mark,) = taken._marks()
    assert (
        angle_between(mark.direction, middle) < math.radians(0.6)
        and mark.text == "#2 chair 1.00"
        and mark.seen
    )
    picture = taken.picture(most_columns=400)
    drawn, plain = taken.draw(picture), taken.draw(picture, rulers=False)
    assert drawn.shape == plain.shape == (picture.projection.height, 400, 3) and not plain.any()
    unseen = snapshot(
        grid, camera, objects=ObjectBearingArray(header=Header(frame_id="map"), objects=known.objects)
    )
    assert unseen._marks() == []
