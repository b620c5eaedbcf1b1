"""Perspective pictures on the sphere: equality with OpenCV and py360convert, areas, seam, poles, aliasing."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from panosam2_ros.datasets.sphere_projection import Placement, neutral_background, project_picture
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector

GRID = Equirect(960, 480)
WIDTH, HEIGHT = 400, 224
PLACEMENTS = [Placement(0, 0), Placement(180, 0), Placement(170, 55), Placement(-100, -85, 90)]


def name(placement: Placement) -> str:
    return placement.name


def axes(placement: Placement):
    """Return the axes right, down, forward [3, 3] of a picture as rows, from yaw and pitch by hand."""
    yaw, pitch = math.radians(placement.yaw), math.radians(placement.pitch)
    right = np.array([math.cos(yaw), 0, -math.sin(yaw)])
    forward = np.array([math.cos(pitch) * math.sin(yaw), -math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
    return np.stack([right, np.cross(forward, right), forward])


def smooth(width: int = WIDTH, height: int = HEIGHT):
    """Return a picture [H, W, 3] of slow waves."""
    u, v = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    waves = [np.sin(7 * u + 3 * v), np.cos(9 * v - 2 * u), np.sin(5 * u * v)]
    return (127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def opencv_positions(placement: Placement):
    """Return the pixel indices [H, W, 2] in the picture of a panorama's pixels by OpenCV, NaN behind it."""
    v, u = np.mgrid[: GRID.height, : GRID.width].reshape(2, -1)
    vectors = GRID.pixel_to_vector(u, v)
    front = vectors @ axes(placement)[2] > 0.01
    focal = WIDTH / 2 / math.tan(math.radians(placement.fov) / 2)
    camera = np.array([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    positions = np.full((len(vectors), 2), np.nan)
    rotation = cv2.Rodrigues(axes(placement))[0]
    positions[front] = cv2.projectPoints(vectors[front], rotation, np.zeros(3), camera, None)[0][:, 0]
    return positions.reshape(GRID.height, GRID.width, 2)


@pytest.mark.parametrize("placement", PLACEMENTS, ids=name)
def test_labels_equal_a_projection_by_opencv(placement: Placement) -> None:
    """Every pixel of the picture has a label of its own; few lie on the border between two."""
    labels = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 60000 + 1).astype(np.uint16)
    ours = project_picture(WIDTH, HEIGHT, placement, GRID).project_labels(labels)
    u, v = np.rint(np.moveaxis(opencv_positions(placement), -1, 0))
    inside = (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
    theirs = np.zeros_like(ours)
    theirs[inside] = labels[v[inside].astype(int), u[inside].astype(int)]
    assert inside.sum() > 5000 and (ours != theirs).sum() < 0.002 * inside.sum()


@pytest.mark.parametrize("placement", PLACEMENTS, ids=name)
def test_images_are_where_opencv_projects_them(placement: Placement) -> None:
    """Brightness that grows along a picture's sides says where in the picture a pixel is from."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(WIDTH) / 2, np.arange(HEIGHT)[:, None]
    background = np.zeros((GRID.height, GRID.width, 3), np.uint8)
    image = project_picture(WIDTH, HEIGHT, placement, GRID).project_image(picture, background)
    u, v = np.moveaxis(opencv_positions(placement), -1, 0)
    inside = (u > 20) & (u < WIDTH - 20) & (v > 20) & (v < HEIGHT - 20)
    along, down = image[inside][:, :2].astype(float).T
    for error in (2 * along + 0.5 - u[inside], down - v[inside]):
        assert abs(error.mean()) < 0.2 and np.abs(error).max() < 4


@pytest.mark.parametrize("placement", PLACEMENTS, ids=name)
def test_images_look_like_the_picture_to_py360convert(placement: Placement) -> None:
    py360convert = pytest.importorskip("py360convert")
    picture = smooth()
    panorama = project_picture(WIDTH, HEIGHT, placement, GRID).project_image(
        picture, neutral_background(GRID)
    )
    across = math.tan(math.radians(placement.fov) / 2)
    fov = placement.fov, math.degrees(2 * math.atan(across * HEIGHT / WIDTH))
    seen = py360convert.e2p(panorama, fov, placement.yaw, placement.pitch, (HEIGHT, WIDTH))
    error = np.abs(seen.astype(float) - picture)[8:-8, 8:-8]
    assert error.mean() < 3 and error.max() < 20


@settings(max_examples=40, deadline=None)
@given(yaw=st.floats(-180, 180), pitch=st.floats(-90, 90), fov=st.floats(20, 140))
@example(yaw=180.0, pitch=0.0, fov=70.0)
@example(yaw=10.0, pitch=90.0, fov=70.0)
@example(yaw=-45.0, pitch=-90.0, fov=140.0)
def test_every_picture_has_its_solid_angle_and_its_centre(yaw: float, pitch: float, fov: float) -> None:
    projection = project_picture(WIDTH, HEIGHT, Placement(yaw, pitch, fov), GRID)
    tx = math.tan(math.radians(fov) / 2)
    ty = tx * HEIGHT / WIDTH
    wanted = 4 * math.asin(tx * ty / math.sqrt((1 + tx**2) * (1 + ty**2)))  # of a rectangular pyramid
    areas = GRID.pixel_solid_angles()
    shares = projection.coverage[..., 0].sum(1, dtype=float)
    assert shares @ areas[projection.rows] == pytest.approx(wanted, rel=0.01)
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    image = projection.project_image(white, np.zeros((GRID.height, GRID.width, 3), np.uint8))
    assert areas @ image[..., 0].sum(1) / 255 == pytest.approx(wanted, rel=0.01)
    disc = np.zeros((HEIGHT, WIDTH), np.uint16)
    u, v = np.meshgrid(np.arange(WIDTH) - (WIDTH - 1) / 2, np.arange(HEIGHT) - (HEIGHT - 1) / 2)
    disc[np.hypot(u, v) < HEIGHT / 4] = 1
    rows, columns = np.nonzero(projection.project_labels(disc))
    mean = areas[rows] @ GRID.pixel_to_vector(columns, rows)
    wanted_centre = lonlat_to_vector(math.radians(yaw), math.radians(pitch))
    assert angle_between(mean / np.linalg.norm(mean), wanted_centre) < 2 * math.pi / GRID.width


def test_the_seam_is_a_place_like_any_other() -> None:
    """A picture at yaw 180 is the one at yaw 0, rolled by half the width."""
    labels = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 60000
    ahead, behind = (project_picture(WIDTH, HEIGHT, Placement(yaw, 20), GRID) for yaw in (0, 180))
    both = [p.project_labels(labels.astype(np.uint16)) for p in (ahead, behind)]
    assert (np.roll(both[0], GRID.width // 2, 1) != both[1]).sum() < 0.001 * (both[0] > 0).sum()
    background = np.zeros((GRID.height, GRID.width, 3), np.uint8)
    images = [p.project_image(smooth(), background).astype(int) for p in (ahead, behind)]
    assert np.abs(np.roll(images[0], GRID.width // 2, 1) - images[1]).max() <= 1
    assert not background.any()  # frames do not write into it


def test_fine_patterns_become_grey_instead_of_moire() -> None:
    """Lines of one pixel, six to a pixel of the panorama, have no contrast there."""
    lines = np.zeros((1080, 1920, 3), np.uint8)
    lines[:, ::2] = 255
    small = Equirect(640, 320)
    placement = Placement(20, 10)
    projection = project_picture(1920, 1080, placement, small)
    background = np.full((small.height, small.width, 3), 127, np.uint8)
    assert np.abs(projection.project_image(lines, background).astype(int) - 127).max() < 12
    aliased = projection.project_labels(lines[..., 0].astype(np.uint16))  # without averaging they are there
    assert aliased.max() == 255


def test_memory_of_a_projection_is_bounded() -> None:
    wide = project_picture(3840, 2160, Placement(0, 80, 150), Equirect(1920, 960))
    assert sum(x.nbytes for x in wide.positions) <= 64_000_000
    assert (wide.coverage[:2] == 1).all()  # the pole is in the picture


def test_a_picture_of_no_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.01 degrees covers no pixel of a panorama of 960x480: give a"):
        project_picture(WIDTH, HEIGHT, Placement(0, 0, 0.01), GRID)


def test_the_neutral_background_is_grey_textured_and_seamless() -> None:
    image = neutral_background(GRID).astype(int)
    assert (image == neutral_background(GRID)).all()
    assert (image[..., 0] == image[..., 1]).all() and 10 < image.std() < 40
    across = np.abs(image[:, 0] - image[:, -1])
    assert across.mean() < 1.5 * np.abs(np.diff(image, axis=1)).mean()
    assert np.ptp(image[0]) < 12  # a pole has one colour
