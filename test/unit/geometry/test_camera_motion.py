"""The visual gyroscope: exact turns of exact directions, of rendered scenes and of rolled panoramas."""

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
    """Degrees between two rotations."""
    return math.degrees(float(np.linalg.norm(rotation_vector(one @ other.T))))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), metres=st.sampled_from([0.0, 0.1, 0.3]), moving=st.integers(0, 30))
def test_a_turn_is_found_whatever_the_camera_and_some_things_do(
    seed: int, metres: float, moving: int
) -> None:
    rng = np.random.default_rng(seed)
    before = normalised(rng.normal(size=(120, 3)))
    places = before * rng.uniform(1, 4, (120, 1)) - metres * normalised(rng.normal(size=3))
    turn = rotation_matrix(np.radians(3) * rng.normal(size=3))
    after = normalised(places @ turn.T)
    after[:moving] = normalised(after[:moving] + rng.normal(0, 0.05, (moving, 3)))
    after = normalised(after + rng.normal(0, 5e-4, after.shape))
    found, off = estimate_rotation(before, after)
    assert apart(found, turn) < 0.5
    assert off.shape == (120,) and np.median(off[moving:]) < 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_of_a_scene_it_is_the_cameras(seed: int, library: AssetLibrary) -> None:
    scene, camera, whole, truth = Scene(CONFIG, library, seed), RotationEstimator(), np.eye(3), np.eye(3)
    for index in range(CONFIG.frames):
        found = camera.turn(scene.render(index).image)
        if index:
            truth = scene.camera[index] @ scene.camera[index - 1].T
        assert apart(found, truth) < 0.4
        whole = found @ whole
    turned = scene.camera[-1] @ scene.camera[0].T
    assert apart(turned, np.eye(3)) > 4 and apart(whole, turned) < 1.0


@pytest.mark.parametrize("size", [(1920, 960), (640, 322), (200, 100)])
def test_rolled_columns_are_a_turn_to_the_side_through_the_seam(
    size: tuple[int, int], library: AssetLibrary
) -> None:
    config = replace(CONFIG, width=size[0], height=size[1], frames=1)
    if size == (640, 322):
        config = replace(config, height=320)
    image, camera = Scene(config, library, 5).render(0).image, RotationEstimator()
    camera.turn(image)
    columns = size[0] // 40  # 9 degrees to the right
    found = rotation_vector(camera.turn(np.roll(image, columns, 1)))
    assert np.allclose(found, [0, 2 * math.pi * columns / size[0], 0], atol=math.radians(0.3))


@pytest.mark.parametrize("columns", [1, 130, 511])
def test_it_is_told_the_same_wherever_the_seam_lies(columns: int, library: AssetLibrary) -> None:
    scene, plain, turned = Scene(CONFIG, library, 3), RotationEstimator(), RotationEstimator()
    yaw = rotation_matrix([0.0, 2 * math.pi * columns / CONFIG.width, 0.0])
    for index in range(4):
        image = scene.render(index).image
        found, there = plain.turn(image), turned.turn(np.roll(image, columns, 1))
        assert np.allclose(there, yaw @ found @ yaw.T, atol=1e-9)
        assert (apart(found, np.eye(3)) > 0) == (index > 0)


def test_a_cropped_panorama_has_its_own_rows(library: AssetLibrary) -> None:
    """Of a band of 90 degrees every direction is where it was in the whole sphere."""
    scene = Scene(CONFIG, library, 1)
    whole, band = RotationEstimator(), RotationEstimator(math.pi / 2)
    for index in (0, 3):
        image = scene.render(index).image
        turns = whole.turn(image), band.turn(image[64:192])
    assert apart(turns[0], np.eye(3)) > 2 and apart(*turns) < 0.5


def test_where_it_cannot_be_told_nothing_turns(library: AssetLibrary) -> None:
    first, other = (Scene(CONFIG, library, seed).render(0).image for seed in (3, 4))
    grey, camera = np.full_like(first, 90), RotationEstimator()
    noise = np.random.default_rng(0).integers(0, 255, first.shape, np.uint8)
    for image in (first, first[::2, ::2], other, grey, first, noise, first):
        assert apart(camera.turn(image), np.eye(3)) < 1.0  # a smaller picture of the same is the same
    assert (camera.turn(grey) == np.eye(3)).all()


def test_a_thing_that_fills_a_quarter_of_the_view_does_not_turn_the_camera(library: AssetLibrary) -> None:
    image = Scene(CONFIG, library, 6).render(0).image
    moved = image.copy()
    moved[64:192, 100:300] = np.roll(image, 10, 1)[64:192, 100:300]
    camera = RotationEstimator()
    camera.turn(image)
    assert apart(camera.turn(moved), np.eye(3)) < 0.3


def test_it_turns_the_way_directions_go(library: AssetLibrary) -> None:
    """What the rotation does to a direction is what the image shows of it."""
    image, camera = Scene(replace(CONFIG, frames=1), library, 7).render(0).image, RotationEstimator()
    camera.turn(image)
    turn = camera.turn(np.roll(image, -16, 1))
    shown = lonlat_to_vector(0.5 - math.pi / 16, 0.2)
    assert np.allclose(turn @ lonlat_to_vector(0.5, 0.2), shown, atol=5e-3)


def test_what_lies_across_the_seam_is_seen(library: AssetLibrary) -> None:
    """Where nothing else is to be seen, corners that go over the last column tell the turn."""
    image = Scene(replace(CONFIG, frames=1), library, 5).render(0).image
    image[:, 40:-40] = 90
    camera = RotationEstimator()
    camera.turn(np.roll(image, -5, 1))
    found = rotation_vector(camera.turn(np.roll(image, 5, 1)))
    assert np.allclose(found, [0, 2 * math.pi * 10 / 512, 0], atol=math.radians(0.5))


def test_a_turn_that_few_corners_agree_on_is_none(
    library: AssetLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, camera = Scene(replace(CONFIG, frames=1), library, 5).render(0).image, RotationEstimator()
    turn, agreeing = rotation_matrix([0.0, 0.1, 0.0]), [0.2]

    def fitted(before: Floats, _: Floats) -> tuple[Floats, Floats]:
        return turn, np.where(np.arange(len(before)) < agreeing[0] * len(before), 0.0, 1.0)

    monkeypatch.setattr(camera_motion, "estimate_rotation", fitted)
    camera.turn(image)
    assert (camera.turn(image) == np.eye(3)).all()
    agreeing[0] = 0.6
    assert np.allclose(camera.turn(image), turn, atol=1e-12)
