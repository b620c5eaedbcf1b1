"""A frame is made once for a call, and nothing of it is taken for another image."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.red_things import red_disc, sees_red
from helpers.spherical_shapes import disc
from panosam2_ros import PanoTracker, Prompt
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame

SECOND = 10**9
REGIONS = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2)
PANORAMA = ModelConfig(input_height=64, input_width=128)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (256, 512, 3), np.uint8)


@pytest.mark.parametrize("config", [REGIONS, PANORAMA])
def test_a_caller_may_reuse_the_buffer_of_its_images(config: ModelConfig) -> None:
    """A camera driver that writes each image into one array is tracked as one with an array for each."""
    model = random_model(2, config=config).eval().requires_grad_(False)
    apart, reused = PanoTracker(model), PanoTracker(model)
    buffer = np.empty((256, 512, 3), np.uint8)
    for t in range(4):
        buffer[:] = picture(t)
        for tracker, image in ((apart, picture(t)), (reused, buffer)):
            tracker.step(image, t * SECOND)
            if t in (0, 2):
                prompt = Prompt(mask=disc(0.3 * t, 0.0, 0.3)) if t == 0 else Prompt(box=(100, 80, 180, 150))
                assert tracker.prompt(image, t * SECOND, [prompt])[0].success
    first, second = apart.snapshot().bank.tensors(), reused.snapshot().bank.tensors()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_without_a_label_image_all_else_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(2, config=REGIONS).eval().requires_grad_(False)
    sees_red(model, monkeypatch)
    drawn, spared = (PanoTracker(model, TrackerConfig(view="regions")) for _ in range(2))
    for tracker in (drawn, spared):
        assert tracker.prompt(red_disc(0.3), 0, [Prompt(mask=disc(0.3, 0.0, 0.15))])[0].success
    for t in (1, 2, 3):
        image = red_disc(0.3 + 0.05 * t)
        ours, theirs = drawn.step(image, t * SECOND), spared.step(image, t * SECOND, labels=t == 3)
        assert [repr(track) for track in ours.tracks] == [repr(track) for track in theirs.tracks]
        if t < 3:
            with pytest.raises(ValueError, match="call step with labels=True"):
                print(theirs.labels)
    assert ours.labels.any() and np.array_equal(ours.labels, theirs.labels)


def test_a_prompt_on_another_image_of_the_same_stamp_sees_that_image() -> None:
    """A driver that does not set stamps."""
    model = random_model(2, config=PANORAMA).eval().requires_grad_(False)
    tracker, fresh = PanoTracker(model), PanoTracker(model)
    tracker.step(picture(0), 0)
    box = Prompt(box=(100, 80, 180, 150))
    for one in (tracker, fresh):
        one.prompt(picture(1), 0, [box])
    first, second = tracker.snapshot().bank, fresh.snapshot().bank
    assert np.array_equal(first.maskmem_features, second.maskmem_features)


def test_the_panorama_of_the_newest_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt refers to it, in whatever array it comes."""
    model = random_model(2, config=PANORAMA).eval().requires_grad_(False)
    tracker, encode, encoded = PanoTracker(model), model.encode_image, []
    monkeypatch.setattr(model, "encode_image", lambda pixels: encoded.append(1) or encode(pixels))
    tracker.prompt(picture(0), 0, [Prompt(box=(100, 80, 180, 150))])
    tracker.step(picture(1), SECOND)
    tracker.prompt(picture(1), SECOND, [Prompt(box=(300, 80, 380, 150)), Prompt(mask=disc(1.0, 0.0, 0.3))])
    assert len(encoded) == 2


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((256, 512), np.uint8),
        np.zeros((256, 512, 4), np.uint8),
        np.zeros((256, 512, 3), np.float32),
    ],
)
def test_what_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"RGB, uint8 \[H, W, 3\]; got"):
        Frame(image, 0)


def test_what_is_derived_is_derived_once() -> None:
    frame = Frame(picture(0), 5, math.pi)
    assert frame.pyramid is frame.pyramid and (frame.grid.width, frame.grid.height) == (512, 256)
    sizes = [(grid.height, grid.width) for grid in (frame.mask_grid(128), frame.mask_grid(0))]
    assert sizes == [(64, 128), (256, 512)]
    rolled = Frame(np.roll(frame.image, 100, 1), 5)
    assert rolled.reference_column == (frame.reference_column + 100) % 512
