"""Colour evidence: exact on scenes of two colours, seamless, and its effect on the tracker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.coloured_shapes import BLUE, GREEN, HEIGHT, RED, WIDTH, disc, logits, painted
from helpers.tracker_inputs import live_batch
from panosam2_ros.model.build import random_model
from panosam2_ros.model.colour_histogram import (
    BINS,
    ColourBins,
    colour_bins,
    colour_evidence,
    colour_histograms,
    histogram_intersection,
)
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.tracker import PanoTracker

ANYWHERE = torch.full((1, 1, HEIGHT, WIDTH), 1.0)


def test_bins_separate_colours_and_are_bounded() -> None:
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    image = torch.tensor(colours).float().T.view(1, 3, 1, 6).repeat(1, 1, 2, 1).repeat_interleave(2, 3)
    bins = colour_bins(image, 2, planar=False).index
    assert bins.shape == (1, 1, 6) and len(bins.unique()) == 6
    assert bins.min() >= 0 and bins.max() < BINS


@pytest.mark.parametrize("column", [20, 0, 63])
def test_evidence_favours_the_objects_colour(column: int) -> None:
    mask = disc(column)
    bins = colour_bins(painted(mask, RED, BLUE), 1, planar=False)
    colours = colour_histograms(bins, logits(mask))
    assert torch.allclose(colours.sum(-1), torch.ones(1, 2), atol=1e-5)
    evidence = colour_evidence(bins, colours)[0, 0].numpy()
    assert (evidence[disc(column, 3)] > 1.9).all()
    assert (evidence[~disc(column, 10)] < -1.9).all()
    assert histogram_intersection(bins, colours, logits(mask))[0] > 0.99
    assert histogram_intersection(bins, colours, logits(~disc(column, 10)))[0] < 0.05


def test_evidence_is_equivariant_to_rolls() -> None:
    image = torch.randint(0, 255, (1, 3, HEIGHT, WIDTH), generator=torch.manual_seed(0)).float()
    mask = logits(disc(15))
    bins = colour_bins(image, 1, planar=False)
    rolled = ColourBins(bins.index.roll(37, -1), planar=False)
    still = colour_evidence(bins, colour_histograms(bins, mask))
    turned = colour_evidence(rolled, colour_histograms(rolled, mask.roll(37, -1)))
    assert still.abs().max() > 0.5
    assert torch.allclose(turned, still.roll(37, -1), atol=1e-4)


def test_objects_of_two_images_have_their_own_colours() -> None:
    masks = disc(10), disc(40)
    images = torch.cat([painted(masks[0], RED, BLUE), painted(masks[1], GREEN, BLUE)])
    bins = colour_bins(images, 1, planar=False)
    together = colour_histograms(bins, torch.cat([logits(m) for m in masks]))
    for i, mask in enumerate(masks):
        assert torch.allclose(together[i], colour_histograms(bins.split(2)[i], logits(mask))[0])
    likeness = histogram_intersection(
        ColourBins(bins.index.flip(0), planar=False), together, torch.cat([logits(m) for m in masks[::-1]])
    )
    assert (likeness < 0.05).all()


def test_unknown_colours_are_no_evidence() -> None:
    bins = colour_bins(painted(disc(10), RED, BLUE), 1, planar=False)
    nothing = torch.zeros(1, 2, BINS)
    assert not colour_evidence(bins, nothing).any()
    assert histogram_intersection(bins, nothing, ANYWHERE).tolist() == [1.0]


def network(weight: float, likeness: float) -> PanoSAM2:
    config = ModelConfig(colour_evidence=weight, colour_likeness=likeness, mask_stride=2)
    model = random_model(0, config=config).eval().requires_grad_(False)
    model.set_input_size(64, 128)
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 3  # every object counts as present
    return model


def image(column: int, colour: tuple[int, ...], ground: tuple[int, ...] = BLUE) -> NDArray[np.uint8]:
    mask = disc(column, 12, (64, 128))
    return np.where(mask[..., None], np.array(colour), np.array(ground)).astype(np.uint8)


def prompted(weight: float, likeness: float = 0.0) -> PanoTracker:
    tracker = PanoTracker(network(weight, likeness))
    given = disc(30, 12, (64, 128))
    assert tracker.prompt(image(30, RED), 0, [Prompt(mask=given)])[0].success
    return tracker


def test_evidence_guides_an_untrained_network() -> None:
    tracker = prompted(50.0)
    with_colours = tracker.step(image(100, RED), 10**8).labels > 0
    target = disc(100, 12, (64, 128))
    assert (with_colours & target).sum() / (with_colours | target).sum() > 0.7
    without = prompted(0.0).step(image(100, RED), 10**8).labels > 0
    assert (without & target).sum() / (without | target).sum() < 0.3


def test_masks_of_other_colours_do_not_count_as_the_object() -> None:
    for likeness, written in ((0.0, 1), (0.2, 0)):
        tracker = prompted(1e-3, likeness)
        frame = tracker.step(image(30, GREEN, (200, 200, 40)), 10**8)
        assert (frame.tracks[0].score > 0.01) == frame.labels.any() == bool(written)
        assert live_batch(tracker).bank.maskmem.written.max() == written  # the newest frame in memory


def test_corrections_replace_histograms_and_snapshots_keep_them() -> None:
    tracker = prompted(4.0)
    before = live_batch(tracker).bank.colours.clone()
    assert before.shape == (1, 2, BINS)
    tracker.step(image(30, RED), 10**8)
    assert torch.equal(live_batch(tracker).bank.colours, before)
    given = disc(90, 12, (64, 128))
    outcome = tracker.prompt(image(90, GREEN), 2 * 10**8, [Prompt(obj_id=1, mask=given, replace=True)])[0]
    assert outcome.success and not torch.allclose(live_batch(tracker).bank.colours, before)
    assert torch.equal(tracker.snapshot().bank.colours, live_batch(tracker).bank.colours)


def test_histograms_are_updated_where_the_predicted_iou_is_high() -> None:
    for least, learned in ((0.0, True), (1.1, False)):  # predicted IoUs are within 0..1
        tracker = prompted(4.0)
        tracker.model.config = replace(tracker.model.config, colour_learning=0.5, colour_iou=least)
        before = live_batch(tracker).bank.colours.clone()
        bins = colour_bins(torch.from_numpy(image(30, GREEN)).permute(2, 0, 1)[None].float(), 2, planar=False)
        green = int(bins.index[0, 16, 15])
        for i in range(1, 4):
            tracker.step(image(30, GREEN), i * 10**8)
        change = live_batch(tracker).bank.colours.sum(1)[0, green] - before.sum(1)[0, green]
        assert (change > 0.05) == learned
        assert torch.allclose(live_batch(tracker).bank.colours.sum(-1), torch.ones(1, 2), atol=1e-4)


def test_histograms_are_updated_in_bfloat16() -> None:
    tracker = prompted(50.0)
    tracker.model.config = replace(tracker.model.config, colour_learning=0.5, colour_iou=0.0)
    tracker.model.compute_dtype = torch.bfloat16
    before = live_batch(tracker).bank.colours.clone()
    tracker.step(image(30, RED), 10**8)
    assert live_batch(tracker).bank.colours.dtype == torch.float32 and not torch.equal(
        live_batch(tracker).bank.colours, before
    )


def test_networks_without_evidence_keep_no_histograms() -> None:
    tracker = prompted(0.0)
    assert live_batch(tracker).bank.colours.shape == (1, 2, 0)
    assert replace(ModelConfig()).colour_evidence == 0.0
    assert tracker.model.encode_image(torch.zeros(1, 3, 64, 128)).bins is None


def test_a_search_region_has_no_seam_and_no_latitude() -> None:
    at_the_left_edge = disc(0) & (np.arange(WIDTH) < WIDTH // 2)
    mask = logits(at_the_left_edge)
    bins = colour_bins(painted(at_the_left_edge, RED, BLUE), 1, planar=True)
    flat, sphere = (colour_histograms(ColourBins(bins.index, planar), mask) for planar in (True, False))
    assert not torch.equal(flat, sphere)
    evidence = colour_evidence(bins, flat)[0, 0]
    assert evidence[:, -1].max() < 0 < evidence[evidence.shape[0] // 2, 0]
