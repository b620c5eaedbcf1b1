"""Textures: outline, pyramid, colours and random shapes."""

import math

import numpy as np
import pytest

from panosam2_ros.simulation.sprites import Sprite, recoloured, textured_shape


def test_sprites_are_cropped_to_a_square():
    rgba = np.zeros((50, 80, 4), np.uint8)
    rgba[10:30, 5:65] = 255
    sprite = Sprite(rgba)
    assert sprite.rgba.shape == (60, 60, 4)
    assert sprite.fill == pytest.approx(1 / 3)
    assert sprite.reach == pytest.approx(math.hypot(30, 10) / 30)
    assert sprite.compact


def test_scattered_and_thin_sprites_are_not_compact():
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[:18, :18] = rgba[22:, 22:] = 255
    assert not Sprite(rgba).compact
    rgba[:] = 0
    rgba[20:23] = 255
    assert not Sprite(rgba).compact


def test_a_sprite_without_opaque_pixels_is_refused():
    with pytest.raises(ValueError, match="needs opaque pixels"):
        Sprite(np.zeros((8, 8, 4), np.uint8))


def test_level_is_the_nearest_in_size():
    sprite = Sprite(np.full((128, 128, 4), (200, 100, 50, 180), np.uint8))
    assert [sprite.level(side).shape[0] for side in (500, 128, 60, 17, 1)] == [128, 128, 64, 16, 4]
    assert (sprite.level(30)[..., :3] <= sprite.level(30)[..., 3:]).all(), "premultiplied"


def test_recolouring_rotates_the_hue_and_keeps_alpha():
    rgba = np.full((2, 2, 4), (200, 20, 20, 77), np.uint8)
    green = recoloured(rgba, math.radians(120), 1.0, 1.0)
    np.testing.assert_allclose(green[0, 0], (20, 200, 20, 77), atol=8)  # hue has steps of 2 deg


def test_core_of_a_shape_is_opaque_and_large():
    """The size of an occluder is determined by its core, which must be opaque."""
    rng = np.random.default_rng(0)
    texture = np.full((9, 9, 3), 90, np.uint8)
    for _ in range(20):
        sprite = Sprite(textured_shape(rng, texture, dent=0.15))
        side = sprite.rgba.shape[0]
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        distance = np.hypot(x, y) / (side / 2)
        assert sprite.rgba[..., 3][distance < sprite.core].min() == 255
        assert sprite.rgba[..., 3][distance > sprite.reach].max(initial=0) < 128
        assert 0.7 < sprite.core < sprite.reach < 1.2
