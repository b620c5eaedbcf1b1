"""Floors and ceilings do what they are named after, also across the seam."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.fake_videos import FakeVideo, moving, noise
from helpers.spherical_shapes import disc
from panosam2_ros.evaluation.baselines import (
    Ceiling,
    FlowPropagator,
    KeepFirst,
    coarse_labels,
    region_labels,
    warp_mask,
)
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.prompts.prompt import Prompt

WIDTH, HEIGHT = 256, 128


def block(u: int, v: int = 40, width: int = 48, height: int = 40):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[v : v + height, np.arange(u, u + width) % WIDTH] = True
    return mask


def iou(a, b) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_keep_first_keeps_prompted_masks_in_place() -> None:
    method, image = KeepFirst(), noise(WIDTH, HEIGHT)
    assert not method.step(image, 0).labels.any()
    method.start(image, 0, {3: Prompt(mask=block(240))})
    method.step(image, 1)
    method.start(image, 1, {7: Prompt(mask=block(100))})
    labels = method.step(noise(WIDTH, HEIGHT, 1), 9).labels
    assert ((labels == 3) == block(240)).all() and ((labels == 7) == block(100)).all()


@pytest.mark.parametrize("camera_turns", [True, False])
def test_flow_carries_a_mask_across_the_seam(camera_turns: bool) -> None:
    texture, plain = noise(WIDTH, HEIGHT, 5), np.full((HEIGHT, WIDTH, 3), 90, np.uint8)

    def frame(shift: int):
        turned = np.roll(texture, shift, 1)
        return turned if camera_turns else np.where(block(200 + shift)[..., None], turned, plain)

    method = FlowPropagator()
    method.step(frame(0), 0)
    method.start(frame(0), 0, {1: Prompt(mask=block(200))})
    for index in range(1, 13):
        labels = method.step(frame(3 * index), index).labels
    assert iou(labels == 1, block(236)) > 0.98
    assert labels[60, 0] == labels[60, -1] == 1


def test_a_carried_mask_is_rolled_by_a_uniform_flow() -> None:
    rows, columns = np.indices((HEIGHT, WIDTH), np.float32)
    for shift in (0, 5, -300):
        assert (warp_mask(block(220), columns - shift, rows) == np.roll(block(220), shift, 1)).all()


@pytest.mark.parametrize("method", [KeepFirst(), FlowPropagator()])
def test_a_floor_needs_a_mask(method) -> None:
    with pytest.raises(ValueError, match="mask prompts"):
        method.start(noise(WIDTH, HEIGHT), 0, {1: Prompt(box=(1, 1, 9, 9))})


def test_ceiling_shows_the_cost_of_the_output_size() -> None:
    grid, size = Equirect(WIDTH, HEIGHT), (WIDTH // 4, HEIGHT // 4)
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[block(232)], labels[block(100)] = 4, 9
    labels[10:30, 50] = 5  # thinner than half an output pixel: gone
    found = coarse_labels(labels, {4, 5}, size, grid)
    assert set(np.unique(found)) == {0, 4}
    assert 0.97 < iou(found == 4, labels == 4) < 1
    assert (np.roll(found, 8, 1) == coarse_labels(np.roll(labels, 8, 1), {4, 5}, size, grid)).all()


def test_ceiling_shows_only_prompted_objects() -> None:
    video = FakeVideo(moving(4, 0), {1: 0})
    method = Ceiling(video, (video.grid.height, video.grid.width), 4)
    assert not method.step(video.image(0), 0).labels.any()
    method.start(video.image(0), 0, {1: Prompt(mask=video.prompt_mask(1))})
    assert set(np.unique(method.step(video.image(2), 2).labels)) == {0, 1}


def test_the_ceiling_of_search_regions_is_as_fine_for_small_objects_as_for_large_ones() -> None:
    grid = Equirect(1024, 512)
    labels = (disc(0.5, 0.3, 0.07, grid) + 2 * disc(-3.1, 1.3, 0.5, grid)).astype(np.uint16)
    found = region_labels(labels, {1, 2, 9}, 80, 2, grid)
    assert set(np.unique(found)) == {0, 1, 2}
    assert all(iou(found == i, labels == i) > 0.93 for i in (1, 2))
    whole = coarse_labels(labels, {1, 2}, (256, 128), grid)
    assert iou(whole == 1, labels == 1) < iou(found == 1, labels == 1)
