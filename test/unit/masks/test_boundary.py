"""Windows around objects, and masks that are refined in them from the camera's pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tracker_inputs import live_batch
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.geometry.window import MaskPatch, Window
from panosam2_ros.masks.boundary import refine_boundaries
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig

HEIGHT, WIDTH = 64, 128
GRID = Equirect(256, 128)  # the camera's


def distances(grid: Equirect, lon: float, lat: float) -> np.ndarray:
    """Compute the angle, degrees, of every pixel [H, W] from a direction."""
    vectors = lonlat_to_vector(*np.meshgrid(grid.column_longitudes(), grid.row_latitudes()))
    return np.degrees(angle_between(vectors, lonlat_to_vector(lon, lat)))


def outlined_model(size: int = 96) -> PanoSAM2:
    model = random_model(0, config=ModelConfig(mask_stride=2, outline_size=size)).eval().requires_grad_(False)
    model.set_input_size(HEIGHT, WIDTH)
    return model


def picture(mask: np.ndarray) -> np.ndarray:
    """Draw a yellow object [H, W] on a dark, noisy background."""
    noise = np.random.default_rng(0).normal(0, 12, (*mask.shape, 3))
    return np.clip(np.where(mask[..., None], (230, 200, 40), (30, 40, 90)) + noise, 0, 255).astype(np.uint8)


def disc_logits(lon: float, lat: float, radius: float = 30) -> np.ndarray:
    """Make logits of a disc at the network's resolution; the disc is too large."""
    coarse = distances(Equirect(WIDTH // 2, HEIGHT // 2), lon, lat)
    return ((radius - coarse) / 4).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@settings(max_examples=60, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(4, 70))
def test_window_contains_its_object_and_a_margin(lon: float, lat: float, radius: float) -> None:
    grid = Equirect(256, 128)
    mask = distances(grid, lon, lat) < radius
    window = Window.around(mask)
    assert (window is None) == (not mask.any())
    if window is None:
        return
    assert window.top >= 0 and window.top + window.height <= 1 + 1e-9 and window.width <= 1
    rows = (np.arange(128) + 0.5) / 128
    columns = ((np.arange(256) + 0.5) / 256 - window.left) % 1
    inside = ((rows >= window.top) & (rows <= window.top + window.height))[:, None] & (
        columns <= window.width
    )
    assert inside[mask].all()
    assert (inside & ~mask).sum() > 0.2 * mask.sum()


@pytest.mark.parametrize("lat", [0.0, 0.7, -1.1])
def test_window_is_square_on_the_sphere(lat: float) -> None:
    window = Window.around(distances(Equirect(512, 256), 0.5, lat) < 8)
    assert window is not None
    middle = (0.5 - window.top - window.height / 2) * np.pi
    assert middle == pytest.approx(lat, abs=0.05)
    assert 2 * window.width * np.cos(middle) / window.height == pytest.approx(1, rel=0.03)


def test_window_over_the_pole_is_equivariant_to_rolls() -> None:
    """The box of such a mask has all columns, so that it does not determine the window."""
    mask = distances(Equirect(256, 128), 0.4, 1.3) < 25
    first, turned = Window.around(mask), Window.around(np.roll(mask, 64, 1))
    assert first is not None and turned is not None and first.width == 1
    assert (turned.left - first.left) % 1 == pytest.approx(0.25, abs=1e-6)


def test_window_of_a_cropped_panorama_is_square_on_the_sphere() -> None:
    """A disc of 16 degrees in a band of 90, whose rows are half as high as its columns are wide."""
    fov = np.pi / 2
    grid = Equirect(512, 128, fov)
    mask = (
        cv2.resize((distances(grid, 0.5, 0.3) < 8).astype(np.uint8), (256, 128)) > 0
    )  # at a network's resolution
    window = Window.around(mask, vertical_fov=fov)
    assert window is not None
    middle = (0.5 - window.top - window.height / 2) * fov
    angles = window.height * fov, window.width * 2 * np.pi * np.cos(middle)
    assert angles[0] == pytest.approx(angles[1], rel=0.03)


def ramp(height: int, columns: int) -> np.ndarray:
    """A function on the sphere whose values are known between pixels and across the seam, [H, W] in -1..2."""
    rows, lon = (np.arange(height) + 0.5) / height, (np.arange(columns) + 0.5) / columns
    return rows[:, None] + np.sin(2 * np.pi * lon)


def expected(window: Window, size: int) -> np.ndarray:
    """The values of ``ramp`` in a window."""
    at = (np.arange(size) + 0.5) / size
    across = np.sin(2 * np.pi * (window.left + at * window.width))
    return (window.top + at * window.height)[:, None] + across


@settings(max_examples=40, deadline=None)
@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0.1, 0.5), st.floats(0.1, 1.0))
def test_cut_samples_the_window(left: float, top: float, height: float, width: float) -> None:
    window = Window(top, left, height, width)
    cut = window.cut(ramp(128, 256).astype(np.float32), 24)
    assert np.abs(cut - expected(window, 24))[2:-2].max() < 0.01


def test_cut_of_whole_pixels_is_a_slice() -> None:
    panorama = np.arange(16 * 32, dtype=np.float32).reshape(16, 32)
    cut = Window(4 / 16, -2 / 32, 8 / 16, 8 / 32).cut(panorama, 8)
    assert (cut == np.roll(panorama, 2, 1)[4:12, :8]).all()


@pytest.mark.parametrize("height, width", [(512, 1024), (128, 256)])
def test_pixels_of_a_window_are_averaged_where_it_shrinks(height: int, width: int) -> None:
    noise = np.random.default_rng(0).normal(0, 10, (height, width))
    values = (80 * ramp(height, width) + 80 + noise)[..., None].repeat(3, 2)
    pyramid, window = ImagePyramid(values.round().clip(0, 255).astype(np.uint8)), Window(0.1, 0.8, 0.6, 0.3)
    off = window.pixels(pyramid, 32)[..., 0] - (80 * expected(window, 32) + 80)
    assert abs(off.mean()) < 0.5 and off.std() < (2.5 if height == 512 else 11)


@settings(max_examples=25, deadline=None)
@given(st.floats(-1, 1), st.integers(1, 255), st.floats(0.05, 0.5))
def test_pixels_of_a_window_are_the_same_in_a_rolled_panorama(
    left: float, columns: int, height: float
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (128, 256, 3), np.uint8)
    there = Window(0.2, left, height, height / 2).pixels(ImagePyramid(image), 24)
    rolled = ImagePyramid(np.roll(image, columns, 1))
    turned = Window(0.2, left + columns / 256, height, height / 2).pixels(rolled, 24)
    assert (there == turned).mean() > 0.999


@settings(max_examples=40, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-1.4, 1.4), st.sampled_from([128, 200, 512]))
def test_patches_are_rendered_in_their_windows(lon: float, lat: float, width: int) -> None:
    coarse, grid = distances(Equirect(256, 128), lon, lat), Equirect(width, width // 2)
    window = Window.around(coarse < 20)
    assert window is not None
    logits = window.cut((20 - coarse).astype(np.float32), 96)
    labels, regions = render_label_image({9: MaskPatch(logits, window)}, grid)
    truth = distances(grid, lon, lat)
    step = 360 / min(width, 256)
    assert (labels[truth < 20 - step] == 9).all() and not labels[truth > 20 + step].any()
    assert ((labels == 9) == regions[9].whole(grid.height)).all()


def test_empty_patches_are_not_rendered() -> None:
    patch = MaskPatch(np.full((8, 8), -1, np.float32), Window(0, 0, 1, 1))
    labels, regions = render_label_image({1: patch}, Equirect(64, 32))
    assert not labels.any() and not regions


PLACES = [(0.3, 0.0), (3.1, -0.4), (-1.0, 1.2)]  # in the middle, on the seam, over the pole


@pytest.mark.parametrize("lon, lat", PLACES)
def test_refinement_shrinks_a_mask_to_its_object(lon: float, lat: float) -> None:
    truth, coarse = distances(GRID, lon, lat) < 24, {1: disc_logits(lon, lat)}
    before = render_label_image(coarse, GRID)[0] == 1
    after = (
        render_label_image(coarse | refine_boundaries(ImagePyramid(picture(truth)), coarse, 96, np.pi), GRID)[
            0
        ]
        == 1
    )
    assert iou(before, truth) < 0.75 and iou(after, truth) > 0.92


@pytest.mark.parametrize("lon, lat", PLACES)
def test_refinement_is_equivariant_to_rolls(lon: float, lat: float) -> None:
    image, coarse = picture(distances(GRID, lon, lat) < 24), {1: disc_logits(lon, lat)}
    turned = {1: np.roll(coarse[1], 8, 1)}  # 8 of 64 columns are 32 of the image
    plain = render_label_image(coarse | refine_boundaries(ImagePyramid(image), coarse, 96, np.pi), GRID)[0]
    moved = render_label_image(
        turned | refine_boundaries(ImagePyramid(np.roll(image, 32, 1)), turned, 96, np.pi), GRID
    )[0]
    assert (np.roll(plain, 32, 1) == moved).mean() > 0.999


def test_refinement_is_deterministic() -> None:
    coarse = {1: disc_logits(0, 0)}
    image = cv2.resize(np.random.default_rng(3).integers(0, 255, (12, 24, 3), np.uint8), (256, 128))
    found = []
    for seed in range(8):  # the state of OpenCV's generator
        cv2.setRNGSeed(seed)
        found.append(refine_boundaries(ImagePyramid(image), coarse, 96, np.pi)[1])
    assert all((one.logits == found[0].logits).all() and one.window == found[0].window for one in found)


def test_refined_masks_that_differ_too_much_are_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(image: np.ndarray, labels: np.ndarray, *_: object) -> None:
        labels[:] = cv2.GC_PR_BGD
        labels[:8, :8] = cv2.GC_PR_FGD

    monkeypatch.setattr(cv2, "grabCut", elsewhere)
    assert not refine_boundaries(
        ImagePyramid(picture(distances(GRID, 0, 0) < 24)), {1: disc_logits(0, 0)}, 96, np.pi
    )


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_empty_and_full_masks_are_not_refined(value: float) -> None:
    coarse = {1: np.full((32, 64), value, np.float32)}
    assert not refine_boundaries(ImagePyramid(picture(np.zeros((128, 256), bool))), coarse, 96, np.pi)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([24, 96]))
def test_refinement_takes_any_mask(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(-0.5, 1, (5, 9)).astype(np.float32), (64, 32))
    pyramid = ImagePyramid(rng.integers(0, 255, (40, 80, 3), np.uint8))
    for patch in refine_boundaries(pyramid, {1: coarse}, size, np.pi).values():
        assert patch.logits.shape == (size, size) and (patch.logits > 0).any()
        assert np.abs(patch.logits).max() <= coarse.max() + 1e-5


def told(monkeypatch: pytest.MonkeyPatch, coarse: np.ndarray) -> None:
    """Make the decoder return given logits [h, w]."""
    fine = torch.from_numpy(coarse)[None, None]

    def found(model: PanoSAM2, *_: object, **options: object) -> MaskPrediction:
        sure = torch.full((1,), 9.0)
        return MaskPrediction(F.avg_pool2d(fine, 2), torch.ones(1), torch.zeros(1, 96), sure, fine)

    monkeypatch.setattr(PanoSAM2, "decode", found)


def test_published_masks_are_refined_and_stored_masks_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network predicts a disc that is too large; ``refine_boundaries`` turns the refinement off."""
    truth = distances(GRID, 0.3, 0.0) < 24
    told(monkeypatch, disc_logits(0.3, 0.0))
    image, right, banks = picture(truth), {}, []
    for redraws in (True, False):
        tracker = PanoTracker(outlined_model(), TrackerConfig(refine_boundaries=redraws))
        outcome = tracker.prompt(image, 0, [Prompt(box=(100.0, 40.0, 180.0, 90.0))])[0]
        assert outcome.mask is not None
        right[redraws] = [iou(m, truth) for m in (outcome.mask, tracker.step(image, 1).labels == 1)]
        banks.append(live_batch(tracker).bank)
    assert min(right[True]) > 0.9 and max(right[False]) < 0.75
    assert torch.equal(banks[0].mask_logits, banks[1].mask_logits)
    assert torch.equal(banks[0].read().maskmem_features, banks[1].read().maskmem_features)


def test_mask_prompts_are_not_refined() -> None:
    mask = distances(GRID, 0.0, 0.0) < 30
    image = picture(distances(GRID, 0.0, 0.0) < 24)
    masks = [
        PanoTracker(outlined_model(size)).prompt(image, 0, [Prompt(mask=mask)])[0].mask for size in (96, 0)
    ]
    assert masks[0] is not None and masks[1] is not None and (masks[0] == masks[1]).all()


@pytest.mark.parametrize(("lon", "shift"), [(0.5, 0.35), (3.1, 0.35), (-1.0, -0.3)])
def test_a_patch_shows_its_mask_in_another_window(lon: float, shift: float) -> None:
    grid = Equirect(512, 256)
    disc = distances(grid, lon, 0.2) < 15
    window, other = (Window.around(distances(grid, at, 0.2) < 15) for at in (lon, lon + shift))
    assert window is not None and other is not None
    patch = MaskPatch(window.cut(np.where(disc, 3.0, -3.0).astype(np.float32), 96), window)
    shown = patch.mask_in(other, 96)
    true = other.cut(np.where(disc, 3.0, -3.0).astype(np.float32), 96) > 0
    assert iou(shown, true) > 0.9


def test_a_refined_mask_does_not_grow_over_another_object() -> None:
    grid = Equirect(512, 256)
    both = distances(grid, 0.0, 0.0) < 30
    image = np.ascontiguousarray(picture(both))
    left = np.where(both & (np.arange(512) < 256)[None], 4.0, -4.0).astype(np.float32)
    right = np.where(both & (np.arange(512) >= 256)[None], 4.0, -4.0).astype(np.float32)
    pyramid = ImagePyramid(image)
    alone = render_label_image(refine_boundaries(pyramid, {1: left}, 96, np.pi), grid)[0] == 1
    beside = render_label_image(refine_boundaries(pyramid, {1: left, 2: right}, 96, np.pi), grid)[0] == 1
    assert alone[:, 258:].sum() > 100 and beside[:, 258:].sum() < 20
