"""Perspective views: pixels and directions, sampling, and boxes that are taken back to the panorama."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry.camera_frame import UPRIGHT, CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect, box_width
from panosam2_ros.geometry.perspective_view import PerspectiveView, box_in_panorama
from panosam2_ros.geometry.sphere import angle_between

GRID = Equirect(512, 256)
CROPPED = Equirect(512, 170, math.radians(120))
SIZE = (160, 120)
angles = st.floats(-math.pi, math.pi), st.floats(-1.5, 1.5)
mounted = st.builds(CameraFrame, st.sampled_from(FrameConvention), *(st.floats(-1.0, 1.0) for _ in range(3)))


def view(
    azimuth: float, elevation: float, fov: float = 60.0, camera: CameraFrame = UPRIGHT
) -> PerspectiveView:
    return PerspectiveView.facing(
        camera, math.radians(azimuth), math.radians(elevation), math.radians(fov), SIZE
    )


@given(mounted, *angles)
def test_vectors_of_angles_are_the_inverse_of_azimuth_and_elevation(
    camera: CameraFrame, azimuth: float, elevation: float
) -> None:
    vector = camera.vectors_of(azimuth, elevation)
    found = camera.azimuth_elevation(vector)
    assert angle_between(vector, camera.vectors_of(*found)) < 1e-9
    assert found[1] == pytest.approx(elevation, abs=1e-9)
    assert math.remainder(float(found[0]) - azimuth, 2 * math.pi) == pytest.approx(0, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(mounted, *angles, st.floats(6, 139), st.floats(0, 159), st.floats(0, 119))
def test_pixels_are_directions_and_back(
    camera: CameraFrame, azimuth: float, elevation: float, fov: float, u: float, v: float
) -> None:
    seen = PerspectiveView.facing(camera, azimuth, elevation, math.radians(fov), SIZE)
    assert np.allclose(seen.axes @ seen.axes.T, np.eye(3)) and np.linalg.det(seen.axes) > 0
    middle = seen.pixel_to_vector((SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)
    assert angle_between(camera.to_frame(middle), camera.vectors_of(azimuth, elevation)) < 1e-9
    assert np.allclose(seen.vector_to_pixel(seen.pixel_to_vector(u, v)), (u, v), atol=1e-6)
    edges = seen.pixel_to_vector([-0.5, SIZE[0] - 0.5], [(SIZE[1] - 1) / 2] * 2)
    assert float(angle_between(*edges)) == pytest.approx(math.radians(fov))
    assert np.isnan(seen.vector_to_pixel(-middle)).all()


def test_a_view_is_upright_and_not_mirrored() -> None:
    seen = view(0, 0)
    left, up = UPRIGHT.vectors_of(0.2, 0.0), UPRIGHT.vectors_of(0.0, 0.2)
    assert seen.vector_to_pixel(left)[0] < 70 and seen.vector_to_pixel(up)[1] < 50


@pytest.mark.parametrize("grid", [GRID, CROPPED])
@pytest.mark.parametrize(
    "azimuth, elevation, fov", [(0, 0, 60), (180, 10, 90), (-100, -50, 30), (40, 90, 60)]
)
def test_a_view_shows_what_the_panorama_has_there(
    grid: Equirect, azimuth: float, elevation: float, fov: float
) -> None:
    vectors = grid.pixel_to_vector(*np.meshgrid(np.arange(grid.width), np.arange(grid.height)))
    panorama = np.rint(127.5 + 100 * vectors).astype(np.uint8)
    seen = view(azimuth, elevation, fov)
    u, v = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    ways = seen.pixel_to_vector(u, v)
    there = grid.contains(*grid.vector_to_pixel(ways))
    picture = seen.pixels(panorama, grid).astype(float)
    assert np.abs(picture - (127.5 + 100 * ways))[there].max() < 4
    assert (picture[~there] == 0).all() and (there.all() or grid is CROPPED)


@pytest.mark.parametrize("azimuth", [0.0, 180.0])
def test_labels_are_those_of_the_nearest_pixel(azimuth: float) -> None:
    labels = np.zeros((GRID.height, GRID.width), np.uint16)
    u, v = (round(float(x)) for x in GRID.vector_to_pixel(UPRIGHT.vectors_of(math.radians(azimuth), 0.0)))
    labels[v - 5 : v + 6, np.arange(u - 5, u + 6) % GRID.width] = 40_000
    found = view(azimuth, 0.0).labels(labels, GRID)
    assert found[60, 80] == 40_000 and not found[0].any() and not found[:, 0].any()
    assert view(azimuth + 90, 0.0).labels(labels, GRID).max() == 0


@settings(max_examples=50, deadline=None)
@given(*angles, st.floats(5, 100), st.floats(5, 100), st.floats(4, 50), st.floats(4, 50))
def test_a_box_of_a_view_becomes_the_box_around_it(
    azimuth: float, elevation: float, u: float, v: float, wide: float, high: float
) -> None:
    seen = PerspectiveView.facing(UPRIGHT, azimuth, elevation, math.radians(50), SIZE)
    box = (u, v, u + wide, v + high)
    inside = seen.pixel_to_vector(*np.meshgrid(np.linspace(u, u + wide, 9), np.linspace(v, v + high, 9)))
    try:
        u_min, v_min, u_max, v_max = box_in_panorama(seen, box, GRID)
    except ValueError as error:
        assert "zenith or the nadir" in str(error) and abs(elevation) > 0.5
        return
    columns, rows = GRID.vector_to_pixel(inside)
    assert ((columns - u_min + 0.1) % GRID.width <= box_width(u_min, u_max, GRID.width) + 0.2).all()
    assert rows.min() >= v_min - 0.2 and rows.max() <= v_max + 0.2


def test_a_box_across_the_seam_has_its_left_edge_right_of_its_right_edge() -> None:
    u_min, v_min, u_max, v_max = box_in_panorama(view(180, 0), (60, 40, 100, 80), GRID)
    assert u_min > u_max and v_min < v_max and box_width(u_min, u_max, GRID.width) < 60
    with pytest.raises(ValueError, match="zenith or the nadir"):
        box_in_panorama(view(0, 90), (60, 40, 100, 80), GRID)
    with pytest.raises(ValueError, match="U0 < U1"):
        box_in_panorama(view(0, 0), (100, 40, 60, 80), GRID)


@pytest.mark.parametrize(
    "values, needed",
    [
        ((0, 91, 60), "elevation"),
        ((math.nan, 0, 60), "azimuth"),
        ((0, 0, 170), "5 to 140 degrees"),
        ((0, 0, 1), "5"),
    ],
)
def test_what_no_view_has_is_refused(values: tuple[float, float, float], needed: str) -> None:
    with pytest.raises(ValueError, match=needed):
        view(*values)
    with pytest.raises(ValueError, match="64 to 4096 pixels"):
        PerspectiveView.facing(UPRIGHT, 0, 0, 1, (8, 100))
