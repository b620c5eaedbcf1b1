"""Augmented clips are those of a rotated camera."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.fake_videos import noise
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, rotation_matrix
from panosam2_ros.training.augment import (
    augment_clip,
    degrade_images,
    random_rotation,
    relight_frames,
    rotate_clip,
)

GRID = Equirect(256, 128)


def disc(direction, radius=0.35):
    """Return labels [1, H, W]: 1 within ``radius`` rad of a direction."""
    u, v = np.meshgrid(np.arange(GRID.width), np.arange(GRID.height))
    return (angle_between(GRID.pixel_to_vector(u, v), direction) < radius).astype(np.uint8)[None]


@pytest.mark.parametrize("seed", range(5))
def test_a_disc_moves_as_the_rotation_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    rotation, direction = rotation_matrix(axis), rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    images = np.repeat(disc(direction)[..., None] * 255, 3, -1).astype(np.uint8)
    seen, labels = rotate_clip(images, disc(direction), rotation)
    wanted = disc(rotation.T @ direction)
    row_areas = GRID.pixel_solid_angles()[:, None]
    both, either = ((row_areas * (f(labels, wanted))).sum() for f in (np.minimum, np.maximum))
    assert both / either > 0.93
    assert ((seen[..., 0] > 127) != (labels > 0)).mean() < 0.01


def test_the_inverse_rotation_restores_the_image() -> None:
    images = noise(256, 128)[None]
    rotation = rotation_matrix(np.array([0.4, -0.2, 0.3]))
    labels = disc(np.array([0.0, 0.0, 1.0]))
    there = rotate_clip(images, labels, rotation)
    back, ids = rotate_clip(*there, rotation.T)
    middle = slice(32, 96)
    others = np.roll(images, 1, 2), back
    column, error = (np.abs(x[:, middle].astype(int) - images[:, middle]).mean() for x in others)
    assert error < 0.5 * column  # of the error of a shift by one column
    assert (ids != labels).mean() < 0.01


def test_tilts_are_limited_and_seeds_are_reproducible() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        up = random_rotation(rng, 0.5) @ np.array([0.0, -1.0, 0.0])
        assert angle_between(up, np.array([0.0, -1.0, 0.0])) < 0.5 + 1e-6
    images, labels = np.stack([noise(256, 128)] * 3), np.repeat(disc(np.array([1.0, 0, 0])), 3, 0)
    first = augment_clip(np.random.default_rng(1), images, labels, tilt=0.5)
    again = augment_clip(np.random.default_rng(1), images, labels, tilt=0.5)
    other = augment_clip(np.random.default_rng(2), images, labels, tilt=0.5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == images.shape and first[1].shape == labels.shape


def test_degraded_images_have_less_detail_and_the_same_colours() -> None:
    images = np.stack([noise(96, 64, seed) for seed in range(3)])
    details, detail = [], abs(np.diff(images.astype(int), axis=2)).mean()
    for seed in range(12):
        poor = degrade_images(np.random.default_rng(seed), images)
        assert poor.shape == images.shape and poor.dtype == np.uint8
        assert abs(np.diff(poor.astype(int), axis=2)).mean() < 1.02 * detail
        assert abs(poor.astype(float).mean((1, 2)) - images.mean((1, 2))).max() < 3  # colours stay in place
        details.append(abs(np.diff(poor.astype(int), axis=2)).mean())
    assert min(details) < 0.6 * detail


def test_light_changes_at_some_time_or_behind_an_edge_that_moves() -> None:
    images, kinds = np.full((8, 32, 32, 3), 100, np.uint8), set()
    for seed in range(40):
        relit = relight_frames(np.random.default_rng(seed), images)
        assert relit.shape == images.shape and relit.dtype == np.uint8
        extremes = relit.min() / 100, relit.max() / 100
        assert extremes[0] > 2 ** (-1.5 / 2.2) - 0.02 and extremes[1] < 2 ** (1.5 / 2.2) + 0.02
        assert extremes[0] < 0.9 or extremes[1] > 1.1 or relit.std() == 0  # the edge may never come
        everywhere = all(frame.std() == 0 for frame in relit)
        kinds.add((everywhere, bool(relit[:, 16, 16, 0].std() > 0)))
    assert (True, True) in kinds and (False, True) in kinds
    black = np.zeros((2, 8, 8, 3), np.uint8)
    assert not relight_frames(np.random.default_rng(0), black).any()
