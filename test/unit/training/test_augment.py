"""Augmented clips are what a turned camera would see."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.fake_videos import noise
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, rotation_matrix
from panosam2_ros.training.augment import augmented, degraded, random_rotation, turned

GRID = Equirect(256, 128)


def disc(direction, radius=0.35):
    """Labels [1, H, W]: 1 within ``radius`` rad of a direction."""
    u, v = np.meshgrid(np.arange(GRID.width), np.arange(GRID.height))
    return (angle_between(GRID.pixel_to_vector(u, v), direction) < radius).astype(np.uint8)[None]


@pytest.mark.parametrize("seed", range(5))
def test_a_disc_turns_to_where_the_rotation_takes_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    rotation, direction = rotation_matrix(axis), rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    images = np.repeat(disc(direction)[..., None] * 255, 3, -1).astype(np.uint8)
    seen, labels = turned(images, disc(direction), rotation)
    wanted = disc(rotation.T @ direction)
    row_areas = GRID.pixel_solid_angles()[:, None]
    both, either = ((row_areas * (f(labels, wanted))).sum() for f in (np.minimum, np.maximum))
    assert both / either > 0.93
    assert ((seen[..., 0] > 127) != (labels > 0)).mean() < 0.01


def test_turning_back_gives_the_picture_again() -> None:
    images = noise(256, 128)[None]
    rotation = rotation_matrix(np.array([0.4, -0.2, 0.3]))
    labels = disc(np.array([0.0, 0.0, 1.0]))
    there = turned(images, labels, rotation)
    back, ids = turned(*there, rotation.T)
    middle = slice(32, 96)
    others = np.roll(images, 1, 2), back
    column, error = (np.abs(x[:, middle].astype(int) - images[:, middle]).mean() for x in others)
    assert error < 0.5 * column  # of what a shift by one column would make
    assert (ids != labels).mean() < 0.01


def test_tilts_keep_to_their_limit_and_every_seed_is_its_own() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        up = random_rotation(rng, 0.5) @ np.array([0.0, -1.0, 0.0])
        assert angle_between(up, np.array([0.0, -1.0, 0.0])) < 0.5 + 1e-6
    images, labels = np.stack([noise(256, 128)] * 3), np.repeat(disc(np.array([1.0, 0, 0])), 3, 0)
    first = augmented(np.random.default_rng(1), images, labels, 0.5)
    again = augmented(np.random.default_rng(1), images, labels, 0.5)
    other = augmented(np.random.default_rng(2), images, labels, 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == images.shape and first[1].shape == labels.shape


def test_a_poorer_camera_sees_the_same_with_less_detail() -> None:
    images = np.stack([noise(96, 64, seed) for seed in range(3)])
    details, detail = [], abs(np.diff(images.astype(int), axis=2)).mean()
    for seed in range(12):
        poor = degraded(np.random.default_rng(seed), images)
        assert poor.shape == images.shape and poor.dtype == np.uint8
        assert abs(np.diff(poor.astype(int), axis=2)).mean() < 1.02 * detail
        assert abs(poor.astype(float).mean((1, 2)) - images.mean((1, 2))).max() < 3  # colours stay in place
        details.append(abs(np.diff(poor.astype(int), axis=2)).mean())
    assert min(details) < 0.6 * detail
