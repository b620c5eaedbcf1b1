"""Rendering on the sphere: position, size and shape, across the seam and over the poles."""

import math

import cv2
import numpy as np
import pytest

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import (
    angle_between,
    lonlat_to_vector,
    normalised,
    rotation_matrix,
    tangent_basis,
)
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.compositor import Background, SpritePatch, paint_labels, project, solid_moment
from panosam2_ros.simulation.sprites import Sprite


@pytest.fixture(scope="module")
def library():
    return AssetLibrary.shipped(Split.TRAIN)


def disc(side=128):
    """Make a white disc that fills its square."""
    rgba = np.full((side, side, 4), 255, np.uint8)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    # anti-aliased: the edge is half covered where it should be
    rgba[..., 3] = np.clip(127.5 + 255 * (side / 2 - np.hypot(x, y)), 0, 255)
    return Sprite(rgba)


def pose_towards(direction):
    east, north = tangent_basis(direction)
    return np.stack([east, -north, direction], -1)


def painted(sprite, pose, diameter, grid):
    """Render labels [H, W], and measure their solid angle, sr."""
    labels, areas = paint_labels([(1, project(sprite, pose, diameter, grid))], grid)
    return labels, areas[0]


def yawed(columns, grid):
    """Return the camera rotation that shifts the image right by a number of columns."""
    return rotation_matrix([0, 2 * math.pi * columns / grid.width, 0])


@pytest.mark.parametrize("lat", [0.0, 0.9, math.pi / 2, -1.45, -math.pi / 2])
def test_disc_has_its_solid_angle_at_all_latitudes(lat):
    """A disc of angular radius r covers 2 pi (1 - cos r), also over a pole and the seam."""
    grid = Equirect(512, 256)
    radius = 30 * math.pi / 256  # whole rows, because around a pole the edge lies in a single row
    direction = lonlat_to_vector(math.pi, lat)
    labels, area = painted(disc(), pose_towards(direction), 2 * radius, grid)
    assert area == pytest.approx(2 * math.pi * (1 - math.cos(radius)), rel=0.01)
    v, u = np.nonzero(labels)
    angles = angle_between(grid.pixel_to_vector(u, v), direction)
    pixel = math.pi / 256
    assert angles.max() < radius + pixel
    outside = angle_between(grid.pixel_to_vector(*np.meshgrid(range(512), range(256))), direction)
    assert labels[outside < radius - pixel].all()


@pytest.mark.parametrize("lat", [0.2, 1.3])
@pytest.mark.parametrize("columns", [1, 37, 100, 199])
def test_a_sprite_rolls_with_the_camera(library, lat, columns):
    grid = Equirect(200, 100)
    sprite = Sprite(library.sprite(sorted(library.sprites)[0]))
    pose = pose_towards(lonlat_to_vector(0.4, lat))
    still, _ = painted(sprite, pose, 0.6, grid)
    turned, _ = painted(sprite, yawed(columns, grid) @ pose, 0.6, grid)
    assert np.count_nonzero(np.roll(still, columns, 1) != turned) <= 2  # rounding on the edge


@pytest.mark.parametrize("width", [200, 202, 201])
@pytest.mark.parametrize("columns", [1, 37, 199])
def test_the_background_rolls_with_the_camera(library, width, columns):
    grid = Equirect(width, 100)
    background = Background(library.panoramas["park"], grid)
    still = background.render(np.eye(3)).astype(int)
    turned = background.render(yawed(columns, grid)).astype(int)
    assert abs(np.roll(still, columns, 1) - turned).max() <= 2


def test_fast_and_exact_angles_agree(library):
    """A nearly upright camera sees what an upright one sees; the image is continuous across the seam."""
    grid = Equirect(256, 128)
    smooth = cv2.GaussianBlur(library.panoramas["park"], (0, 0), 6)
    background = Background(smooth, grid)
    upright = background.render(yawed(40, grid)).astype(int)
    leaning = background.render(rotation_matrix([1e-5, 0, 0]) @ yawed(40, grid)).astype(int)
    assert abs(upright - leaning).max() <= 3
    assert abs(leaning[:, 0] - leaning[:, -1]).max() <= abs(np.diff(leaning, axis=1)).max() + 2


def test_background_is_rotated_with_the_camera():
    """A bright spot in a known direction is seen by a rotated camera."""
    grid = Equirect(256, 128)
    panorama = np.zeros((128, 256, 3), np.uint8)
    panorama[30:33, 200:203] = 255
    spot = grid.pixel_to_vector(201, 31)
    rotation = rotation_matrix([0.5, -1.1, 0.8])
    image = Background(panorama, grid).render(rotation)
    mask = image[..., 0] > 100
    moment = solid_moment(mask, slice(None), slice(None), grid)
    assert np.degrees(angle_between(normalised(moment[:3]), rotation @ spot)) < 0.4


def test_a_wide_background_is_enlarged_without_a_shift(library):
    panorama = cv2.GaussianBlur(library.panoramas["park"], (0, 0), 4)
    rotation = rotation_matrix([0.3, 0.9, -0.2])
    wide = Background(panorama, Equirect(1280, 640)).render(rotation)
    narrow = Background(panorama, Equirect(640, 320)).render(rotation)
    shrunk = cv2.resize(wide, (640, 320), interpolation=cv2.INTER_AREA)
    assert abs(shrunk.astype(int) - narrow).mean() < 1.0


def test_sprites_agree_with_py360convert(library):
    """The perspective view of another library recovers the sprite."""
    py360convert = pytest.importorskip("py360convert")
    grid, sprite = Equirect(1024, 512), Sprite(library.sprite(sorted(library.sprites)[3]))
    for lon, lat in ((0.5, 0.3), (-3.1, 1.1)):
        labels, _ = painted(sprite, pose_towards(lonlat_to_vector(lon, lat)), 1.0, grid)
        seen = py360convert.e2p(labels, math.degrees(1.0), math.degrees(lon), math.degrees(lat), (129, 129))
        alpha = cv2.resize(sprite.rgba[..., 3], (129, 129), interpolation=cv2.INTER_AREA)
        both, either = ((seen > 0) & (alpha > 127)).sum(), ((seen > 0) | (alpha > 127)).sum()
        assert both / either > 0.96


def test_sprites_do_not_show_on_the_opposite_side():
    grid = Equirect(128, 64)
    patches = project(disc(), pose_towards(lonlat_to_vector(0, math.pi / 2)), 2.4, grid)
    labels, _ = paint_labels([(1, patches)], grid)
    assert not labels[40:].any()


def test_blending_keeps_edges_between_both_colours():
    image = np.full((4, 4, 3), 200, np.uint8)
    rgba = np.zeros((4, 2, 4), np.uint8)
    rgba[:, 0] = 128, 0, 0, 128  # half transparent red, premultiplied
    SpritePatch(slice(0, 4), slice(0, 2), rgba).blend(image)
    np.testing.assert_allclose(image[0, 0], (128 + 200 * 127 / 255, 100, 100), atol=1)
    assert (image[:, 1:] == 200).all()


def test_nearer_objects_occlude_farther_ones():
    grid, ahead = Equirect(128, 64), pose_towards(lonlat_to_vector(0, 0))
    far, near = project(disc(), ahead, 0.5, grid), project(disc(), ahead, 0.3, grid)
    labels, areas = paint_labels([(1, far), (0, near)], grid)
    assert labels[32, 64] == 0
    assert (labels == 1).any()
    assert areas[0] > areas[1]
