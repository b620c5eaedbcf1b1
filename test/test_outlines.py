"""Windows round objects, and masks that are redrawn in them from the camera's pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.equirect import Equirect, angle_between, lonlat_to_vector
from panosam2_ros.finishing import Finish
from panosam2_ros.masks import paint
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.outlines import redrawn
from panosam2_ros.prompts import Prompt
from panosam2_ros.tidying import TidyRules
from panosam2_ros.tracker import PanoTracker, TrackerConfig
from panosam2_ros.training.rollout import redrawing
from panosam2_ros.windows import Window

HEIGHT, WIDTH = 64, 128
GRID = Equirect(256, 128)  # the camera's


def distances(grid: Equirect, lon: float, lat: float) -> np.ndarray:
    """Angle in degrees of every pixel [H, W] from a direction."""
    vectors = lonlat_to_vector(*np.meshgrid(grid.column_longitudes(), grid.row_latitudes()))
    return np.degrees(angle_between(vectors, lonlat_to_vector(lon, lat)))


def outlined_model(size: int = 96) -> PanoSAM2:
    model = random_model(0, ModelConfig(mask_stride=2, outline_size=size)).eval().requires_grad_(False)
    model.set_input_size(HEIGHT, WIDTH)
    return model


def picture(mask: np.ndarray) -> np.ndarray:
    """A yellow thing [H, W] on a dark, uneven ground."""
    noise = np.random.default_rng(0).normal(0, 12, (*mask.shape, 3))
    return np.clip(np.where(mask[..., None], (230, 200, 40), (30, 40, 90)) + noise, 0, 255).astype(np.uint8)


def disc_logits(lon: float, lat: float, radius: float = 30) -> np.ndarray:
    """Logits of a disc as the network has them: too large, at its own resolution."""
    coarse = distances(Equirect(WIDTH // 2, HEIGHT // 2), lon, lat)
    return ((radius - coarse) / 4).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@settings(max_examples=60, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(4, 70))
def test_a_window_holds_its_object_and_some_of_what_is_around(lon: float, lat: float, radius: float) -> None:
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
def test_a_window_is_as_wide_as_it_is_high_on_the_sphere(lat: float) -> None:
    window = Window.around(distances(Equirect(512, 256), 0.5, lat) < 8)
    assert window is not None
    middle = (0.5 - window.top - window.height / 2) * np.pi
    assert middle == pytest.approx(lat, abs=0.05)
    assert 2 * window.width * np.cos(middle) / window.height == pytest.approx(1, rel=0.03)


@settings(max_examples=40, deadline=None)
@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0.1, 0.5), st.floats(0.1, 1.0))
def test_cutting_samples_what_lies_there(left: float, top: float, height: float, width: float) -> None:
    """A smooth panorama, whose values are known between its pixels and across the seam."""
    rows, columns = (np.arange(128) + 0.5) / 128, (np.arange(256) + 0.5) / 256
    panorama = torch.from_numpy(rows[:, None] + np.sin(2 * np.pi * columns))[None].float()
    cut = Window(top, left, height, width).cut(panorama, 24)[0].numpy()
    at = (np.arange(24) + 0.5) / 24
    expected = (top + at * height)[:, None] + np.sin(2 * np.pi * (left + at * width))
    assert np.abs(cut - expected)[2:-2].max() < 0.01


def test_a_window_of_whole_pixels_is_a_slice() -> None:
    panorama = torch.arange(3 * 16 * 32).view(3, 16, 32).to(torch.uint8)
    cut = Window(4 / 16, -2 / 32, 8 / 16, 8 / 32).cut(panorama, 8)
    assert torch.allclose(cut, panorama.roll(2, -1)[:, 4:12, :8].float())


@settings(max_examples=40, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-1.4, 1.4), st.sampled_from([128, 200, 512]))
def test_masks_of_windows_are_painted_where_they_lie(lon: float, lat: float, width: int) -> None:
    coarse, grid = distances(Equirect(256, 128), lon, lat), Equirect(width, width // 2)
    window = Window.around(coarse < 20)
    assert window is not None
    logits = window.cut(torch.from_numpy(20 - coarse)[None].float(), 96)[0].numpy()
    labels, regions = paint({9: logits}, grid, {9: window})
    truth = distances(grid, lon, lat)
    step = 360 / min(width, 256)
    assert (labels[truth < 20 - step] == 9).all() and not labels[truth > 20 + step].any()
    assert ((labels == 9) == regions[9].whole(grid.height)).all()


def test_nothing_is_painted_of_a_window_whose_mask_is_empty() -> None:
    labels, regions = paint({1: np.full((8, 8), -1, np.float32)}, Equirect(64, 32), {1: Window(0, 0, 1, 1)})
    assert not labels.any() and not regions


PLACES = [(0.3, 0.0), (3.1, -0.4), (-1.0, 1.2)]  # in the middle, on the seam, over the pole


@pytest.mark.parametrize("lon, lat", PLACES)
def test_a_mask_that_is_too_large_is_cut_to_what_is_there(lon: float, lat: float) -> None:
    truth, coarse = distances(GRID, lon, lat) < 24, disc_logits(lon, lat)
    before = paint({1: coarse}, GRID)[0] == 1
    outline = redrawn(picture(truth), coarse, 96, np.pi)
    assert outline is not None
    after = paint({1: outline.logits}, GRID, {1: outline.window})[0] == 1
    assert iou(before, truth) < 0.75 and iou(after, truth) > 0.92
    drawn = outline.drawn(coarse)
    assert drawn.shape == coarse.shape and drawn.dtype == np.float32
    assert iou(paint({1: drawn}, GRID)[0] == 1, truth) > 0.9  # what is remembered of it
    assert drawn.max() <= coarse.max()


@pytest.mark.parametrize("lon, lat", PLACES)
def test_logits_that_are_turned_give_the_same_outline(lon: float, lat: float) -> None:
    image, coarse = picture(distances(GRID, lon, lat) < 24), disc_logits(lon, lat)
    plain = redrawn(image, coarse, 96, np.pi)
    turned = redrawn(image, np.roll(coarse, 8, 1), 96, np.pi, 8 / coarse.shape[1])
    assert plain is not None and turned is not None
    assert (np.roll(plain.drawn(coarse), 8, 1) == turned.drawn(np.roll(coarse, 8, 1), 8 / 64)).mean() > 0.99
    label = [paint({1: o.logits}, GRID, {1: o.window})[0] for o in (plain, turned)]
    assert (label[0] == label[1]).mean() > 0.999


def test_an_outline_is_the_same_every_time() -> None:
    image, coarse = picture(distances(GRID, 0, 0) < 24), disc_logits(0, 0)
    first, second = (redrawn(image, coarse, 96, np.pi) for _ in range(2))
    assert first is not None and second is not None and (first.logits == second.logits).all()


def test_colours_that_say_something_else_leave_a_mask_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(image: np.ndarray, labels: np.ndarray, *_: object) -> None:
        labels[:] = cv2.GC_PR_BGD
        labels[:8, :8] = cv2.GC_PR_FGD

    monkeypatch.setattr("panosam2_ros.outlines.cv2.grabCut", elsewhere)
    assert redrawn(picture(distances(GRID, 0.0, 0.0) < 24), disc_logits(0.0, 0.0), 96, np.pi) is None


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_empty_and_full_masks_have_no_outline(value: float) -> None:
    coarse = np.full((32, 64), value, np.float32)
    assert redrawn(picture(np.zeros((128, 256), bool)), coarse, 96, np.pi) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([24, 96]))
def test_any_mask_is_redrawn_or_left(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(-0.5, 1, (5, 9)).astype(np.float32), (64, 32))
    outline = redrawn(rng.integers(0, 255, (40, 80, 3), np.uint8), coarse, size, np.pi)
    if outline is not None:
        assert outline.logits.shape == (size, size) and np.isfinite(outline.drawn(coarse)).all()
        assert len(np.unique(np.abs(outline.logits))) == 1


def test_what_is_published_and_remembered_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network that finds a disc that is too large; a parameter turns it off."""
    truth, coarse = distances(GRID, 0.3, 0.0) < 24, torch.from_numpy(disc_logits(0.3, 0.0))[None, None]

    def found(model: PanoSAM2, *_: object) -> MaskPrediction:
        return MaskPrediction(
            mask_logits=F.avg_pool2d(coarse, 2), fine_logits=coarse, mask_iou=torch.ones(1),
            object_score_logits=torch.full((1,), 9.0), sam_token=torch.zeros(1, 96),
        )  # fmt: skip

    monkeypatch.setattr(PanoSAM2, "decode", found)
    image, right = picture(truth), {}
    for redraws in (True, False):
        tracker = PanoTracker(outlined_model(), TrackerConfig(redraw_outlines=redraws))
        outcome = tracker.prompt(image, 0, [Prompt(box=(100.0, 40.0, 180.0, 90.0))])[0]
        assert outcome.mask is not None
        step = tracker.step(image, 1)
        remembered = paint({1: tracker._bank.mask_logits[0, 0].numpy()}, GRID)[0] == 1
        right[redraws] = [iou(mask, truth) for mask in (outcome.mask, step.labels == 1, remembered)]
    assert min(right[True]) > 0.85 and max(right[False]) < 0.75


def test_masks_that_are_given_stay_as_they_are() -> None:
    mask = distances(GRID, 0.0, 0.0) < 30
    image = picture(distances(GRID, 0.0, 0.0) < 24)
    masks = [
        PanoTracker(outlined_model(size)).prompt(image, 0, [Prompt(mask=mask)])[0].mask for size in (96, 0)
    ]
    assert masks[0] is not None and masks[1] is not None and (masks[0] == masks[1]).all()


def test_nothing_is_done_where_nothing_is_asked_for() -> None:
    fine, image = torch.randn(2, 1, 32, 64), np.zeros((128, 256, 3), np.uint8)
    finish = Finish(image, TidyRules(0.0), [None, None], 0)
    done, outlines = finish(fine, torch.tensor([True, True]))
    assert done is fine and outlines == (None, None)
    assert finish.of(slice(1, 2)).expected == [None]


def test_only_what_is_wanted_is_finished() -> None:
    coarse = torch.from_numpy(np.stack([disc_logits(0.3, 0.0)] * 2))[:, None]
    finish = Finish(picture(distances(GRID, 0.3, 0.0) < 24), TidyRules(), [None, None], 96)
    done, outlines = finish(coarse, torch.tensor([False, True]))
    assert outlines[0] is None and outlines[1] is not None
    assert torch.equal(done[0], coarse[0]) and not torch.equal(done[1], coarse[1])
    assert torch.equal(coarse[0], coarse[1])  # nothing is changed in place


def test_clips_of_several_images_are_redrawn_each_from_its_own() -> None:
    places = PLACES[:2]
    images = np.stack([picture(distances(GRID, *place) < 24) for place in places])
    coarse = torch.from_numpy(np.stack([disc_logits(*place) for place in places]))[:, None].requires_grad_()
    done, _ = redrawing(torch.from_numpy(images).permute(0, 3, 1, 2), 96)(coarse, torch.tensor([True, True]))
    assert not done.requires_grad
    for one, place in zip(done[:, 0].numpy(), places, strict=True):
        assert iou(paint({1: one}, GRID)[0] == 1, distances(GRID, *place) < 24) > 0.9
