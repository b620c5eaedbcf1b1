"""Geometry: identities at the seam and at both poles, and agreement with other libraries."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention, body_rotation
from panosam2_ros.geometry.circular import mean_column, resize_matrix, roll_columns, wrap_pad, wrap_resize
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.sphere import (
    angle_between,
    lonlat_to_vector,
    normalised,
    rotation_matrix,
    rotation_vector,
    tangent_basis,
    vector_to_lonlat,
)

GRIDS = [Equirect(256, 128), Equirect(640, 322), Equirect(1920, 960), Equirect(7, 4, 1.5)]
RIGHT, DOWN, FORWARD = np.eye(3)
share = st.floats(0, 1, exclude_max=True)


@settings(max_examples=200, deadline=None)
@given(grid=st.sampled_from(GRIDS), across=share, along=share)
def test_pixel_to_lonlat_and_back_is_the_identity(grid, across, along):
    u, v = across * grid.width - 0.5, along * grid.height - 0.5
    back_u, back_v = grid.lonlat_to_pixel(*grid.pixel_to_lonlat(u, v))
    assert abs((back_u - u + grid.width / 2) % grid.width - grid.width / 2) < 1e-9
    assert back_v == pytest.approx(v, abs=1e-9)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.width}x{grid.height}")
def test_vector_to_pixel_inverts_pixel_to_vector_at_the_borders(grid):
    """Both sides of the seam, and the rows next to both poles."""
    columns, rows = np.arange(grid.width), np.arange(grid.height)
    u = np.concatenate([columns, columns, 0 * rows, 0 * rows + grid.width - 1])
    v = np.concatenate([0 * columns, 0 * columns + grid.height - 1, rows, rows])
    back_u, back_v = grid.vector_to_pixel(grid.pixel_to_vector(u, v))
    np.testing.assert_allclose(back_u, u, atol=1e-7)
    np.testing.assert_allclose(back_v, v, atol=1e-7)


def test_the_image_extends_half_a_pixel_beyond_the_outer_centres():
    grid = Equirect(640, 322)
    assert grid.pixel_to_lonlat(-0.5, -0.5) == (-math.pi, math.pi / 2)
    assert grid.pixel_to_lonlat(639.5, 321.5) == (math.pi, -math.pi / 2)
    assert grid.pixel_to_lonlat(319.5, 160.5) == (0, 0)
    assert grid.lonlat_to_pixel(math.pi, 0)[0] == -0.5, "the seam belongs to the first column"
    assert grid.lonlat_to_pixel(5 * math.pi - 1e-9, 0)[0] == pytest.approx(639.5)


def test_conventions_equal_those_of_py360convert():
    theirs = pytest.importorskip("py360convert.utils")
    grid = Equirect(640, 322)
    u, v = (np.asarray(x, float) for x in np.meshgrid(np.arange(640), np.arange(322)))
    lon, lat = grid.pixel_to_lonlat(u, v)
    angles = theirs.coor2uv(np.stack([u, v], -1), 322, 640)
    np.testing.assert_allclose(np.stack([lon, lat], -1), angles, atol=1e-12)
    up_axes = grid.pixel_to_vector(u, v) * (1, -1, 1)  # theirs has y up
    np.testing.assert_allclose(up_axes, theirs.uv2unitxyz(angles), atol=1e-12)
    their_u, their_v = theirs.uv2coor(*theirs.xyz2uv(up_axes), 322, 640)
    np.testing.assert_allclose(their_u[..., 0], u, atol=1e-7)
    np.testing.assert_allclose(their_v[..., 0], v, atol=1e-7)


@pytest.mark.parametrize(
    ("lon", "lat", "expected"),
    [
        (0, 0, FORWARD),
        (math.pi / 2, 0, RIGHT),
        (0, math.pi / 2, -DOWN),
        (0, -math.pi / 2, DOWN),
        (math.pi, 0, -FORWARD),
    ],
)
def test_optical_axes(lon, lat, expected):
    np.testing.assert_allclose(lonlat_to_vector(lon, lat), expected, atol=1e-15)


def test_vectors_of_any_length_have_a_longitude_and_latitude():
    lon, lat = vector_to_lonlat(7 * lonlat_to_vector([-3.0, 0.1, 3.1], [-1.5, 0.0, 1.5]))
    np.testing.assert_allclose(lon, [-3.0, 0.1, 3.1])
    np.testing.assert_allclose(lat, [-1.5, 0.0, 1.5])


@pytest.mark.parametrize("grid", GRIDS[:3])
def test_solid_angles_of_all_pixels_sum_to_the_sphere(grid):
    assert grid.pixel_solid_angles().sum() * grid.width == pytest.approx(4 * math.pi, rel=1e-12)


def test_solid_angles_of_a_cropped_panorama_sum_to_its_band():
    grid = Equirect(400, 100, vertical_fov=math.pi / 2)
    band = 2 * math.pi * 2 * math.sin(math.pi / 4)
    assert grid.pixel_solid_angles().sum() * 400 == pytest.approx(band, rel=1e-12)


def test_a_block_of_rotated_vectors_equals_the_product():
    grid = Equirect(64, 32)
    rotation = rotation_matrix([0.3, -1.2, 2.0])
    rows, columns = slice(0, 9), slice(50, 64)
    u, v = np.meshgrid(np.arange(64)[columns], np.arange(32)[rows])
    expected = np.moveaxis(grid.pixel_to_vector(u, v) @ rotation.T, -1, 0)
    np.testing.assert_allclose(
        grid.rotated_vectors(rotation, rows=rows, columns=columns), expected, atol=3e-7
    )


def test_contains_is_half_open():
    grid = Equirect(8, 4)
    u, v = np.array([-0.5, 7.49, 7.5, 0, 0]), np.array([0, 0, 0, -0.51, 3.49])
    assert grid.contains(u, v).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("size", "fov", "words"),
    [
        ((640, 480), math.pi, "640x480 = 1.333; .* set vertical_fov"),
        ((1, 1), math.pi, "at least 2 x 1"),
        ((640, 320), 0.0, "vertical_fov must lie"),
        ((640, 320), 4.0, "vertical_fov must lie"),
    ],
)
def test_sizes_of_no_panorama_are_refused_with_the_remedy(size, fov, words):
    with pytest.raises(ValueError, match=words):
        Equirect(*size, fov)


@given(st.integers(100, 4000), st.floats(1.9, 2.1), st.integers(64, 4000), st.booleans())
def test_of_width_returns_a_panorama(height, ratio, width, even):
    grid = Equirect(min(max(round(height * ratio), math.ceil(1.9 * height)), int(2.1 * height)), height)
    other = grid.of_width(width, even=even)
    assert other.width == (width // 2 * 2 if even else width)
    assert other.height == pytest.approx(grid.height * other.width / grid.width, abs=1 + even)
    assert not even or other.height % 2 == 0


def test_a_cropped_panorama_keeps_its_field_of_view_at_another_width():
    assert Equirect(1000, 200, 1.2).of_width(300) == Equirect(300, 60, 1.2)


@pytest.mark.parametrize("fov", [3.14159, 3.1415927])
def test_a_rounded_pi_is_pi(fov):
    assert Equirect(640, 320, fov).vertical_fov == math.pi
    with pytest.raises(ValueError, match="set vertical_fov"):
        Equirect(640, 100, fov)


# directions in frames


@pytest.mark.parametrize(
    ("frame_id", "convention"),
    [
        ("camera_optical_frame", FrameConvention.OPTICAL),
        ("camera_optical", FrameConvention.OPTICAL),
        ("optical_table", FrameConvention.BODY),
        ("base_link", FrameConvention.BODY),
    ],
)
def test_frame_id_implies_a_convention(frame_id, convention):
    assert FrameConvention.of_frame_id(frame_id) is convention


@pytest.mark.parametrize("convention", FrameConvention)
def test_azimuth_is_anticlockwise_from_above_and_elevation_upwards(convention):
    frame = CameraFrame(convention)
    left_up = lonlat_to_vector(-0.5, 0.3)  # longitude is positive to the right
    azimuth, elevation = frame.azimuth_elevation(frame.to_frame(left_up))
    assert azimuth == pytest.approx(0.5)
    assert elevation == pytest.approx(0.3)


def test_body_axes_are_forward_left_up():
    lon, lat = 0.7, -0.4
    expected = [math.cos(lat) * math.cos(lon), -math.cos(lat) * math.sin(lon), math.sin(lat)]
    frame = CameraFrame(FrameConvention.BODY)
    np.testing.assert_allclose(frame.to_frame(lonlat_to_vector(lon, lat)), expected, atol=1e-15)


@pytest.mark.parametrize("convention", FrameConvention)
def test_a_camera_turned_left_sees_forward_on_its_right(convention):
    frame = CameraFrame(convention, yaw=0.5)
    azimuth, _ = frame.azimuth_elevation(frame.to_frame(lonlat_to_vector(0.5, 0.0)))
    assert azimuth == pytest.approx(0, abs=1e-12)
    nose_down = CameraFrame(convention, pitch=0.5)  # REP-103: about y left, so forward goes down
    _, elevation = nose_down.azimuth_elevation(nose_down.to_frame(FORWARD))
    assert elevation == pytest.approx(-0.5)
    right_side_down = CameraFrame(convention, roll=0.5)
    _, elevation = right_side_down.azimuth_elevation(right_side_down.to_frame(RIGHT))
    assert elevation == pytest.approx(-0.5)


@pytest.mark.parametrize("convention", FrameConvention)
def test_from_frame_undoes_to_frame(convention):
    vectors = normalised(np.random.default_rng(0).normal(size=(5, 3)))
    frame = CameraFrame(convention, 0.1, -0.7, 2.5)
    np.testing.assert_allclose(frame.from_frame(frame.to_frame(vectors)), vectors, atol=1e-12)
    assert np.linalg.det(frame.rotation()) == pytest.approx(1)


def test_roll_pitch_yaw_are_applied_in_that_order():
    yaw_only, all_three = body_rotation(0, 0, 0.3), body_rotation(0.1, 0.2, 0.3)
    expected = yaw_only @ body_rotation(0, 0.2, 0) @ body_rotation(0.1, 0, 0)
    np.testing.assert_allclose(all_three, expected, atol=1e-15)


# rotations and tangent planes


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3))
def test_rotation_vectors_survive_their_matrix(vector):
    matrix = rotation_matrix(vector)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    if np.linalg.norm(vector) < 3.1:
        np.testing.assert_allclose(rotation_vector(matrix), vector, atol=1e-9)


def test_a_rotation_is_right_handed():
    np.testing.assert_allclose(
        rotation_matrix([0, 0, math.pi / 2]) @ RIGHT, DOWN, atol=1e-15
    )  # x towards y about z


@pytest.mark.parametrize("lat", [-math.pi / 2, -1.0, 0.0, 1.5, math.pi / 2])
def test_tangent_bases_are_orthonormal_also_at_the_poles(lat):
    direction = lonlat_to_vector(2.5, lat)
    east, north = tangent_basis(direction)
    np.testing.assert_allclose(np.stack([east, north]) @ direction, 0, atol=1e-12)
    np.testing.assert_allclose(np.cross(north, direction), -east, atol=1e-12)


def test_angles_are_accurate_when_tiny_and_when_nearly_opposite():
    tiny = lonlat_to_vector(1e-9, 0)
    assert angle_between(FORWARD, tiny) == pytest.approx(1e-9)
    assert angle_between(-FORWARD, tiny) == pytest.approx(math.pi - 1e-9, abs=1e-15)


# masks and tensors


def test_the_box_of_a_mask_on_the_seam_crosses_it():
    mask = np.zeros((4, 10), bool)
    assert mask_box(mask) is None
    mask[1:3, [9, 0, 1]] = True
    assert mask_box(mask) == (9, 1, 1, 2)
    assert box_width(9, 1, 10) == 2
    assert mask_box(np.roll(mask, 3, 1)) == (2, 1, 4, 2)
    assert box_width(2, 4, 10) == 2


def test_the_box_leaves_out_the_widest_gap():
    mask = np.zeros((2, 12), bool)
    mask[0, [1, 4, 9]] = True
    assert mask_box(mask) == (9, 0, 4, 0)


def test_a_full_band_has_a_box_of_all_columns():
    u_min, _, u_max, _ = mask_box(np.ones((3, 8), bool))
    assert box_width(u_min, u_max, 8) == 7


def test_wrap_pad_takes_columns_from_the_other_side_and_rows_of_zeros():
    x = torch.arange(6.0).view(1, 2, 3) + 1
    padded = wrap_pad(x, 2, 1, 1, 0)
    assert padded.shape == (1, 3, 6)
    assert padded[0, 1].tolist() == [2, 3, 1, 2, 3, 1]
    assert not padded[0, 0].any()


def test_roll_columns_rolls_each_item_by_its_own_shift():
    x = torch.randn(3, 2, 4, 8)
    rolled = roll_columns(x, torch.tensor([0, 3, -5]))
    for item, shift in enumerate((0, 3, -5)):
        assert torch.equal(rolled[item], x[item].roll(shift, -1))


def test_mean_column_is_circular():
    weights = torch.zeros(3, 16)
    weights[0, [15, 1]] = 1.0
    weights[1, 4:7] = 2.0
    mean = mean_column(weights)
    assert min(mean[0], 16 - mean[0]) < 1e-4
    assert mean[1] == pytest.approx(5.0, abs=1e-4)
    assert mean[2].isnan()


@pytest.mark.parametrize("size", [(16, 32), (12, 40), (5, 8)])
def test_wrap_resize_equals_interpolate_away_from_the_seam(size):
    x = torch.randn(2, 3, 8, 16)
    ours = wrap_resize(x, *size)
    theirs = F.interpolate(x, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours[..., 2:-2], theirs[..., 2:-2], atol=1e-5, rtol=1e-5)


def test_wrap_resize_commutes_with_rolls():
    x = torch.randn(1, 1, 8, 16)
    for shift in (1, 5, 8):
        rolled = wrap_resize(x.roll(shift, -1), 32, 64)
        torch.testing.assert_close(rolled, wrap_resize(x, 32, 64).roll(4 * shift, -1))


def test_resizing_keeps_constants_and_leaves_equal_sizes_alone():
    x = torch.ones(1, 6, 10)
    torch.testing.assert_close(wrap_resize(x, 13, 27), torch.ones(1, 13, 27))
    assert wrap_resize(x, 6, 10) is x
    assert resize_matrix(4, 8, x.double(), wrap=True).dtype == torch.float64


@pytest.mark.parametrize("convention", list(FrameConvention))
def test_covariance_rotates_with_the_camera(convention: FrameConvention) -> None:
    """The horizontal axis of a camera on its side is vertical in its frame."""
    covariance = np.diag([4.0, 1.0])
    forward = np.array([0.0, 0.0, 1.0])
    upright = CameraFrame(convention).covariance_to_frame(forward, covariance)
    np.testing.assert_allclose(upright, covariance, atol=1e-12)
    on_its_side = CameraFrame(convention, roll=np.pi / 2).covariance_to_frame(forward, covariance)
    np.testing.assert_allclose(on_its_side, np.diag([1.0, 4.0]), atol=1e-12)
    turned = CameraFrame(convention, yaw=1.0).covariance_to_frame([0.6, -0.64, 0.48], covariance)
    np.testing.assert_allclose(turned, covariance, atol=1e-12)
