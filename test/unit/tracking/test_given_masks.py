"""A given mask is taken pixel for pixel, thin things included, and its object is known from then on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.spherical_shapes import disc
from helpers.tracker_inputs import picture
from panosam2_ros.datasets.staged_scenes import open_staged
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.masks.label_image import resize_mask
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.prompting import SegmentedPrompts
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig
from panosam2_ros.tracking.view import ViewKind

GRID = Equirect(512, 256)
IMAGE = picture(0, GRID.width, GRID.height)


def network(*, regions: bool) -> PanoSAM2:
    options = {"input_height": 64, "input_width": 64 if regions else 128, "mask_stride": 2}
    model = random_model(3, config=ModelConfig(regions=regions, **options))
    return model.eval().requires_grad_(False)


def plate(lon: float, lat: float = 0.0) -> NDArray[np.bool_]:
    """30 x 1.5 degrees, level."""
    u, v = (np.arange(n) for n in (GRID.width, GRID.height))
    middle, row = GRID.lonlat_to_pixel(lon, lat)
    across = (u - middle + GRID.width / 2) % GRID.width - GRID.width / 2
    return np.asarray((np.abs(v - row) < 1.1)[:, None] & (np.abs(across) < GRID.width / 24)[None])


@pytest.mark.parametrize("regions", [True, False])
@pytest.mark.parametrize("lon", [0.4, math.pi])
def test_a_thin_plate_is_taken_as_it_is_given(lon: float, regions: bool) -> None:
    tracker = PanoTracker(network(regions=regions))
    mask = plate(lon)
    (outcome,) = tracker.prompt(IMAGE, 0, [Prompt(mask=mask)])
    assert outcome.track is not None and outcome.mask is not None and (outcome.mask == mask).all()
    bearing, true = outcome.track.bearing, mask_bearing(mask, GRID)
    assert true is not None and outcome.track.state is TrackState.VISIBLE
    assert bearing.solid_angle == pytest.approx(true.solid_angle, rel=1e-9)
    assert bearing.direction @ lonlat_to_vector(lon, 0.0) > math.cos(0.01)
    assert (tracker.snapshot().bank.mask_logits > 0).sum() >= 3  # not lost in coarse pixels
    assert [track.obj_id for track in tracker.step(IMAGE, 10**8).tracks] == [1]


def test_a_mask_of_which_the_network_sees_nothing_makes_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing of it reaches the network, the object is known and not refused."""
    tracker = PanoTracker(network(regions=True))
    pipeline = tracker._pipelines[ViewKind.REGION]
    segment = pipeline.segmenter.segment

    def blind(*args: object, **options: object) -> SegmentedPrompts:
        found = segment(*args, **options)  # type: ignore[arg-type]
        found.result.mask_logits.fill_(-10)
        found.result.fine_logits.fill_(-10)
        return found

    monkeypatch.setattr(pipeline.segmenter, "segment", blind)
    masked, boxed = tracker.prompt(
        IMAGE, 0, [Prompt(mask=plate(0.4)), Prompt(box=(100.0, 90.0, 140.0, 130.0))]
    )
    assert masked.track is not None and masked.track.state is TrackState.VISIBLE
    assert not boxed.success and "nothing was found" in boxed.message
    monkeypatch.undo()
    assert [track.obj_id for track in tracker.step(IMAGE, 10**8).tracks] == [1]


@pytest.mark.parametrize("width", [256, 1024])
def test_label_images_of_another_size_show_the_nearest_pixels(width: int) -> None:
    tracker = PanoTracker(network(regions=True), TrackerConfig(mask_width=width))
    mask = disc(0.4, 0.3, 0.2)
    (outcome,) = tracker.prompt(IMAGE, 0, [Prompt(mask=mask)])
    assert outcome.mask is not None and (outcome.mask == resize_mask(mask, width, width // 2)).all()
    true = mask_bearing(mask, GRID)
    assert outcome.track is not None and true is not None
    assert outcome.track.bearing.solid_angle == pytest.approx(true.solid_angle, rel=1e-9)


def test_masks_that_were_given_stay_whole_where_they_overlap() -> None:
    tracker = PanoTracker(network(regions=True))
    masks = disc(0.4, 0.0, 0.2), plate(0.5)
    prompts = [Prompt(box=(200.0, 100.0, 330.0, 150.0)), *(Prompt(mask=mask) for mask in masks)]
    outcomes = tracker.prompt(IMAGE, 0, prompts)[1:]
    for mask, outcome in zip(masks, outcomes, strict=True):
        assert outcome.mask is not None and (outcome.mask == mask).all()


def test_the_shipped_network_tracks_a_thin_plate() -> None:
    sequence = open_staged("thin-1")
    tracker, overlap = PanoTracker(build_model("panosam2_nano")), []
    for t in range(9):
        frame, truth = tracker.step(sequence.image(t), t * 10**8), sequence.labels(t) == 1
        if t == 0:
            assert tracker.prompt(sequence.image(0), 0, [Prompt(mask=sequence.prompt_mask(1))])[0].success
        else:
            assert frame.tracks[0].state is TrackState.VISIBLE
            overlap.append(((frame.labels == 1) & truth).sum() / ((frame.labels == 1) | truth).sum())
    assert np.mean(overlap) > 0.6
