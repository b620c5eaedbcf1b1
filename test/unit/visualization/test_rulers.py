"""Rulers: ticks at the pixels that they name, lines at their angles, and nothing drawn around the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry.camera_frame import UPRIGHT, CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.visualization import rulers
from panosam2_ros.visualization.drawing import Mark, Projection, colour

GRID = Equirect(640, 320)
CROPPED = Equirect(640, 213, math.radians(120))
TILTED = CameraFrame(FrameConvention.BODY, 0.2, -0.1, 0.7)


def view(azimuth: float, fov: float = 60.0, camera: CameraFrame = UPRIGHT) -> PerspectiveView:
    return PerspectiveView.facing(camera, math.radians(azimuth), 0.0, math.radians(fov), (400, 300))


def blank(projection: Projection) -> np.ndarray:
    return np.zeros((projection.height, projection.width, 3), np.uint8)


@settings(max_examples=60)
@given(st.integers(100, 4000), st.floats(0.2, 12.0))
def test_ticks_are_round_numbers_at_their_pixels(length: int, step: float) -> None:
    ticks = list(rulers._ticks(length, step))
    numbers = [number for number, _ in ticks]
    assert numbers[0] == 0 and all(0 <= place < length for _, place in ticks[:1])
    for number, place in ticks:  # pixel centres of the larger image
        assert abs((number + 0.5) / step - 0.5 - place) <= 0.5
    apart = np.diff([place for _, place in ticks])
    assert (apart >= 69).all() and (apart <= 2.5 * 70 + max(step, 1 / step) + 1).all()
    assert all(int(str(n).rstrip("0") or "0") in (0, 1, 2, 4, 6, 8, 5, 3, 7, 9) or n > 10 for n in numbers)


def test_a_tick_is_white_at_the_column_that_it_names() -> None:
    image = blank(GRID)
    rulers.draw_pixel_rulers(image)
    assert [u for u in range(0, 590) if (image[301, u] == 255).all()] == [0, 100, 200, 300, 400, 500]
    assert [v for v in range(0, 290) if (image[v, 600] == 255).all()] == [0, 100, 200]


@pytest.mark.parametrize("camera", [UPRIGHT, TILTED])
@pytest.mark.parametrize("projection", [GRID, CROPPED, None])
def test_lines_are_where_their_angles_are(projection: Projection | None, camera: CameraFrame) -> None:
    shown = projection or view(30, camera=camera)
    image = blank(shown)
    rulers.draw_angles(image, shown, camera)
    step = math.radians(rulers.line_step(shown))
    on, beside = [], []
    for azimuth in np.arange(-6, 7) * step:
        for elevation in np.linspace(-0.4, 0.35, 9):
            for shift, found in ((0.0, on), (0.3 * step, beside)):
                direction = camera.from_frame(camera.vectors_of(azimuth + shift, elevation + 0.123 * step))
                u, v = (float(x) for x in shown.vector_to_pixel(direction))
                if 60 < u < shown.width - 60 and 50 < v < shown.height - 40:
                    window = image[round(v) - 1 : round(v) + 2, round(u) - 1 : round(u) + 2]
                    found.append(int(window.max()))
    assert len(on) > 15 and np.mean(np.array(on) > 60) == 1
    assert len(beside) > 15 and np.mean(np.array(beside) > 60) < 0.4  # where lines of elevation are near


def test_narrow_views_have_closer_lines() -> None:
    assert [rulers.line_step(view(0, fov)) for fov in (6, 20, 60, 120)] == [2, 5, 10, 30]
    assert rulers.line_step(GRID) == 30


def test_what_a_view_cuts_off_has_no_outline_and_no_name_at_the_other_edge() -> None:
    labels = np.zeros((300, 400), np.uint16)
    labels[100:200, :80] = 3
    left = view(0).pixel_to_vector(2.0, 150.0)
    image = blank(view(0))
    drawn = rulers.annotated(image, labels, [Mark(3, left, "#3 a long name of it")], view(0), UPRIGHT)
    without = rulers.annotated(image, None, [], view(0), UPRIGHT)
    changed = (drawn != without).any(-1)
    assert tuple(drawn[140, 79]) == colour(3) or tuple(drawn[140, 80]) == colour(3)
    assert changed[:, :200].any() and not changed[:, 250:].any() and not image.any()


def test_marks_behind_a_view_are_left_out() -> None:
    behind = Mark(3, UPRIGHT.vectors_of(math.pi, 0.0), "#3 chair")
    drawn = rulers.annotated(blank(view(0)), None, [behind], view(0), UPRIGHT)
    assert np.array_equal(drawn, rulers.annotated(blank(view(0)), None, [], view(0), UPRIGHT))
    seam = rulers.annotated(blank(GRID), None, [behind], GRID, UPRIGHT)
    assert (seam != rulers.annotated(blank(GRID), None, [], GRID, UPRIGHT)).any()
