"""Estimation of the camera rotation: from exact directions, rendered scenes and rolled panoramas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry import camera_motion
from panosam2_ros.geometry.camera_motion import RotationEstimator, estimate_rotation
from panosam2_ros.geometry.sphere import (
    Floats,
    lonlat_to_vector,
    normalised,
    rotation_matrix,
    rotation_vector,
)
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig

CONFIG = SceneConfig(width=512, height=256, frames=6, camera_speed=0.05, full_rotation=1.0)


@pytest.fixture(scope="module")
def library() -> AssetLibrary:
    return AssetLibrary.shipped(Split.VAL)


def apart(one: Floats, other: Floats) -> float:
    """Return the angle, degrees, between two rotations."""
    return math.degrees(float(np.linalg.norm(rotation_vector(one @ other.T))))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), metres=st.sampled_from([0.0, 0.1, 0.3]), moving=st.integers(0, 30))
def test_estimate_rotation_despite_translation_and_moving_points(
    seed: int, metres: float, moving: int
) -> None:
    rng = np.random.default_rng(seed)
    before = normalised(rng.normal(size=(120, 3)))
    places = before * rng.uniform(1, 4, (120, 1)) - metres * normalised(rng.normal(size=3))
    turn = rotation_matrix(np.radians(3) * rng.normal(size=3))
    after = normalised(places @ turn.T)
    after[:moving] = normalised(after[:moving] + rng.normal(0, 0.05, (moving, 3)))
    after = normalised(after + rng.normal(0, 5e-4, after.shape))
    found, residuals = estimate_rotation(before, after)
    assert apart(found, turn) < 0.5
    assert residuals.shape == (120,) and np.median(residuals[moving:]) < 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_estimator_finds_the_rotation_of_a_rendered_scene(seed: int, library: AssetLibrary) -> None:
    scene, camera, whole, truth = Scene(CONFIG, library, seed), RotationEstimator(), np.eye(3), np.eye(3)
    for index in range(CONFIG.frames):
        found = camera.update(scene.render(index).image)
        if index:
            truth = scene.camera[index] @ scene.camera[index - 1].T
        assert apart(found, truth) < 0.4
        whole = found @ whole
    turned = scene.camera[-1] @ scene.camera[0].T
    assert apart(turned, np.eye(3)) > 4 and apart(whole, turned) < 1.0


@pytest.mark.parametrize("size", [(1920, 960), (640, 322), (200, 100)])
def test_estimator_takes_rolled_columns_for_a_yaw(size: tuple[int, int], library: AssetLibrary) -> None:
    config = replace(CONFIG, width=size[0], height=size[1], frames=1)
    if size == (640, 322):
        config = replace(config, height=320)
    image, camera = Scene(config, library, 5).render(0).image, RotationEstimator()
    camera.update(image)
    columns = size[0] // 40  # 9 degrees to the right
    found = rotation_vector(camera.update(np.roll(image, columns, 1)))
    assert np.allclose(found, [0, 2 * math.pi * columns / size[0], 0], atol=math.radians(0.3))


@pytest.mark.parametrize("columns", [1, 130, 511])
def test_estimate_does_not_depend_on_the_seam(columns: int, library: AssetLibrary) -> None:
    scene, plain, turned = Scene(CONFIG, library, 3), RotationEstimator(), RotationEstimator()
    yaw = rotation_matrix([0.0, 2 * math.pi * columns / CONFIG.width, 0.0])
    for index in range(4):
        image = scene.render(index).image
        found, there = plain.update(image), turned.update(np.roll(image, columns, 1))
        assert np.allclose(there, yaw @ found @ yaw.T, atol=1e-9)
        assert (apart(found, np.eye(3)) > 0) == (index > 0)


def test_estimator_knows_the_field_of_view_of_cropped_panoramas(library: AssetLibrary) -> None:
    """A band of 90 degrees gives the same rotation as the full sphere."""
    scene = Scene(CONFIG, library, 1)
    whole, band = RotationEstimator(), RotationEstimator(vertical_fov=math.pi / 2)
    for index in (0, 3):
        image = scene.render(index).image
        turns = whole.update(image), band.update(image[64:192])
    assert apart(turns[0], np.eye(3)) > 2 and apart(*turns) < 0.5


def test_estimate_is_the_identity_where_there_is_none(library: AssetLibrary) -> None:
    first, other = (Scene(CONFIG, library, seed).render(0).image for seed in (3, 4))
    grey, camera = np.full_like(first, 90), RotationEstimator()
    noise = np.random.default_rng(0).integers(0, 255, first.shape, np.uint8)
    for image in (first, first[::2, ::2], other, grey, first, noise, first):
        assert apart(camera.update(image), np.eye(3)) < 1.0  # a smaller copy of the same image shows the same
    assert (camera.update(grey) == np.eye(3)).all()


def test_estimator_ignores_a_large_moving_object(library: AssetLibrary) -> None:
    image = Scene(CONFIG, library, 6).render(0).image
    moved = image.copy()
    moved[64:192, 100:300] = np.roll(image, 10, 1)[64:192, 100:300]
    camera = RotationEstimator()
    camera.update(image)
    assert apart(camera.update(moved), np.eye(3)) < 0.3


def test_estimate_rotates_directions_as_the_image_shows(library: AssetLibrary) -> None:
    """The rotated direction is where the rolled image shows its content."""
    image, camera = Scene(replace(CONFIG, frames=1), library, 7).render(0).image, RotationEstimator()
    camera.update(image)
    turn = camera.update(np.roll(image, -16, 1))
    shown = lonlat_to_vector(0.5 - math.pi / 16, 0.2)
    assert np.allclose(turn @ lonlat_to_vector(0.5, 0.2), shown, atol=5e-3)


def test_estimator_tracks_corners_across_the_seam(library: AssetLibrary) -> None:
    """Corners beside the seam suffice where the rest of the image is empty."""
    image = Scene(replace(CONFIG, frames=1), library, 5).render(0).image
    image[:, 40:-40] = 90
    camera = RotationEstimator()
    camera.update(np.roll(image, -5, 1))
    found = rotation_vector(camera.update(np.roll(image, 5, 1)))
    assert np.allclose(found, [0, 2 * math.pi * 10 / 512, 0], atol=math.radians(0.5))


def test_estimate_needs_enough_inliers(library: AssetLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    image, camera = Scene(replace(CONFIG, frames=1), library, 5).render(0).image, RotationEstimator()
    turn, agreeing = rotation_matrix([0.0, 0.1, 0.0]), [0.2]

    def fitted(before: Floats, _: Floats) -> tuple[Floats, Floats]:
        return turn, np.where(np.arange(len(before)) < agreeing[0] * len(before), 0.0, 1.0)

    monkeypatch.setattr(camera_motion, "estimate_rotation", fitted)
    camera.update(image)
    assert (camera.update(image) == np.eye(3)).all()
    agreeing[0] = 0.6
    assert np.allclose(camera.update(image), turn, atol=1e-12)
