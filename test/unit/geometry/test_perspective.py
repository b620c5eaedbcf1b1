"""Perspective views: directions of pixels and back, and pictures that show what lies there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.perspective import PerspectiveView
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector

views = st.builds(
    PerspectiveView,
    st.floats(-math.pi, math.pi),
    st.floats(-math.pi / 2, math.pi / 2),
    st.floats(0.1, 2.9),
    st.integers(2, 2000),
    st.integers(2, 2000),
)


@given(views, st.floats(0, 1), st.floats(0, 1))
def test_pixels_come_back(view: PerspectiveView, across: float, down: float) -> None:
    u, v = across * view.width - 0.5, down * view.height - 0.5
    assert view.vector_to_pixel(view.pixel_to_vector(u, v)) == pytest.approx((u, v), abs=1e-5)


def test_its_middle_and_its_field_of_view_are_those_asked_for() -> None:
    view = PerspectiveView(math.radians(100), math.radians(-20), math.radians(90), 640, 480)
    middle = view.pixel_to_vector(319.5, 239.5)
    assert middle == pytest.approx(lonlat_to_vector(math.radians(-100), math.radians(-20)))
    left, right = (view.pixel_to_vector(u, 239.5) for u in (-0.5, 639.5))
    assert angle_between(left, right) == pytest.approx(math.radians(90))
    assert left[1] == pytest.approx(right[1])  # level
    assert view.pixel_to_vector(319.5, 0)[1] < middle[1]  # up is up: y points down
    assert np.isnan(view.vector_to_pixel(-middle)).all()


@pytest.mark.parametrize("azimuth", [0.0, math.pi, 1.3])
@pytest.mark.parametrize("elevation", [0.0, 1.2, -math.pi / 2])
def test_pictures_show_the_panorama(azimuth: float, elevation: float) -> None:
    grid = Equirect(720, 360)
    u, v = np.meshgrid(np.arange(720), np.arange(360))
    panorama = np.rint((grid.pixel_to_vector(u, v) + 1) * 127.5).astype(np.uint8)  # colours are directions
    view = PerspectiveView(azimuth, elevation, math.radians(80), 200, 100)
    picture = view.image(panorama)
    shown = picture / 127.5 - 1
    expected = view.pixel_to_vector(*np.meshgrid(np.arange(200), np.arange(100)))
    assert np.abs(shown - expected).max() < 0.03  # of the last bit, and of the interpolation


def test_what_a_cropped_panorama_does_not_have_is_black() -> None:
    panorama = np.full((100, 600, 3), 200, np.uint8)
    view = PerspectiveView(0, 0, math.radians(90), 100, 100)
    picture = view.image(panorama, vertical_fov=math.radians(60))
    rows = view.pixel_to_vector(50, np.arange(100))
    inside = np.abs(np.arcsin(rows[:, 1])) < math.radians(30)
    assert (picture[:, 50, 0] == np.where(inside, 200, 0)).all()


@pytest.mark.parametrize(
    ("fov", "width", "match"), [(0, 10, "field of view"), (3.1, 10, "field of view"), (1, 0, "1 x 1")]
)
def test_views_that_no_camera_has_are_refused(fov: float, width: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PerspectiveView(0, 0, fov, width, 10)
