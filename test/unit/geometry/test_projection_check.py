"""Images whose content contradicts the projection or the encoding that they are said to have."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.fisheye_photograph import photographed, world
from panosam2_ros.geometry.dual_fisheye import DualFisheye, Lens
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.projection_check import is_planar_yuv, one_panorama, two_circles

PAIR = DualFisheye.side_by_side(512, 256)


def panorama(width: int = 512) -> NDArray[np.uint8]:
    """The world that the fisheye camera sees, with texture."""
    grid = Equirect(width, width // 2)
    lon, lat = np.meshgrid(grid.column_longitudes(), grid.row_latitudes())
    directions = np.stack([np.cos(lat) * np.sin(lon), -np.sin(lat), np.cos(lat) * np.cos(lon)], -1)
    noise = np.random.default_rng(0).normal(0, 12, (*lon.shape, 1))
    return np.clip(world(directions) * 0.7 + 50 + noise, 0, 255).astype(np.uint8)


def banded(image: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """With black bands above and below, as where a mast and the sky are masked."""
    rows = round(share * len(image))
    image = image.copy()
    image[:rows] = image[len(image) - rows :] = 0
    return image


def smaller_circles() -> DualFisheye:
    """Circles that do not fill the image and lie a little beside their places."""
    lenses = [Lens((128 + 256 * i + 2, 124), 118, math.radians(190), yaw=i * math.pi) for i in range(2)]
    return DualFisheye(512, 256, *lenses)


@pytest.mark.parametrize("camera", [PAIR, smaller_circles()], ids=["full", "smaller"])
@pytest.mark.parametrize("noise", [0, 6])
def test_two_circles_are_seen(camera: DualFisheye, noise: int) -> None:
    image = photographed(camera) + np.random.default_rng(0).integers(0, noise + 1, (256, 512, 3))
    jpeg = cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8))[1]
    seen = two_circles(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8))
    assert seen.are_circles and seen.black_outside > 0.99 and seen.lit_rim > 0.7


@pytest.mark.parametrize(
    "image",
    [
        panorama(), panorama() // 12,
        banded(panorama(), 0.25), banded(panorama(), 0.3), banded(panorama(), 0.4),
        np.zeros((256, 512, 3), np.uint8), panorama(66), np.full((200, 600, 3), 200, np.uint8),
        np.zeros((1, 2, 3), np.uint8),
    ],
    ids=["day", "night", "bands", "wider bands", "a slit", "black", "tiny", "white", "a dot"],
)  # fmt: skip
def test_panoramas_are_none(image: NDArray[np.uint8]) -> None:
    assert not two_circles(image).are_circles


def cropped(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without what lies more than 60 degrees above and below the horizon."""
    return image[len(image) // 6 : -(len(image) // 6)]


@pytest.mark.parametrize("picture", [panorama(), panorama(640), cropped(panorama())])
def test_a_panorama_is_told_from_two_circles(picture: NDArray[np.uint8]) -> None:
    jpeg = cv2.imencode(".jpg", picture)[1]
    for image in (picture, np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)):
        seen = one_panorama(image)
        assert seen.is_panorama and seen.lit_outside > 0.9 and seen.widest_step < 1.5


def painted(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With grey beside the circles."""
    return np.where(image.max(-1, keepdims=True) == 0, np.uint8(90), image)


def halves_swapped(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two pictures beside each other whose columns do not join."""
    return np.concatenate([image[:, 100:356], image[:, :100], image[:, 356:]], 1)


@pytest.mark.parametrize(
    "image",
    [
        photographed(PAIR), photographed(smaller_circles()), painted(photographed(PAIR)),
        halves_swapped(panorama() // 2 + np.arange(512, dtype=np.uint8)[None, :, None] // 4),
        np.zeros((256, 512, 3), np.uint8), np.full((256, 512, 3), 200, np.uint8),
        np.zeros((1, 2, 3), np.uint8),
    ],
    ids=["circles", "smaller", "painted corners", "two pictures", "black", "white", "a dot"],
)  # fmt: skip
@pytest.mark.parametrize("noise", [0, 6])
def test_nothing_else_is_taken_for_a_panorama(image: NDArray[np.uint8], noise: int) -> None:
    noisy = image + np.random.default_rng(0).integers(0, noise + 1, image.shape)
    assert not one_panorama(np.clip(noisy, 0, 255).astype(np.uint8)).is_panorama


def planes(image: NDArray[np.uint8], *, interleaved: bool) -> NDArray[np.uint8]:
    """I420 or NV12 of an RGB image, read as grey."""
    i420 = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
    if not interleaved:
        return i420
    u, v = i420[len(image) :].reshape(2, -1)
    return np.concatenate([i420[: len(image)], np.stack([u, v], -1).reshape(-1, image.shape[1])])


@pytest.mark.parametrize("interleaved", [False, True], ids=["I420", "NV12"])
def test_planes_of_yuv_are_seen(interleaved: bool) -> None:
    assert is_planar_yuv(planes(panorama(), interleaved=interleaved))
    smooth = cv2.GaussianBlur(panorama(), (0, 0), 3)
    assert is_planar_yuv(planes(np.asarray(smooth, np.uint8), interleaved=interleaved))


@pytest.mark.parametrize("height", [1, 2, 3, 100, 192, 256])
def test_grey_panoramas_are_none(height: int) -> None:
    grey = np.asarray(cv2.cvtColor(panorama(), cv2.COLOR_RGB2GRAY), np.uint8)[:height]
    assert not is_planar_yuv(grey)
    black_below = grey.copy()
    black_below[height * 2 // 3 :] = 0
    assert not is_planar_yuv(black_below)
    assert not is_planar_yuv(np.full_like(grey, 128))
