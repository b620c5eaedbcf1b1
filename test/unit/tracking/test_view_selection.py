"""Regions for most objects, a panorama for those that are too wide, and both ways between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.red_things import red_disc, sees_red
from helpers.spherical_shapes import disc, iou
from panosam2_ros import PanoTracker, Prompt, TrackerConfig
from panosam2_ros.memory.memory_file import load_snapshot, save_snapshot
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.view import ViewKind

SMALL, WIDE = 0.4, 1.3  # rad, radii: the second is 149 degrees wide
SECOND = 10**9


def network() -> PanoSAM2:
    config = ModelConfig(input_height=64, input_width=64, regions=True, panorama_height=64, mask_stride=2)
    return random_model(3, config=config).eval().requires_grad_(False)


def tracker_of_red(monkeypatch: pytest.MonkeyPatch, view: str = "auto") -> PanoTracker:
    tracker = PanoTracker(network(), TrackerConfig(view=view, camera_motion=False))
    for pipeline in tracker._pipelines.values():
        sees_red(pipeline.model, monkeypatch)
    return tracker


def kinds(tracker: PanoTracker) -> list[ViewKind]:
    return [item.view.kind for item in tracker._live.objects]


@pytest.mark.parametrize(("lon", "lat"), [(0.3, 0.0), (3.1, 0.2), (1.0, -1.3)])
def test_what_becomes_too_wide_is_seen_in_a_panorama_and_comes_back_to_a_region(
    lon: float, lat: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracker_of_red(monkeypatch)
    radii = [SMALL, 0.6, 0.8, 1.0, WIDE, WIDE, 1.0, 0.9, 0.8, 0.6, SMALL, SMALL]
    seen = []
    for t, radius in enumerate(radii):
        image, truth = red_disc(lon, lat, radius), disc(lon, lat, radius)
        if t == 0:
            assert tracker.prompt(image, 0, [Prompt(mask=truth)])[0].success
            continue
        frame = tracker.step(image, t * SECOND // 10)
        assert frame.tracks[0].state is TrackState.VISIBLE
        assert iou(frame.labels == 1, truth) > 0.8, (t, radius)
        seen += kinds(tracker)
    first, last = seen.index(ViewKind.PANORAMA), len(seen) - 1 - seen[::-1].index(ViewKind.PANORAMA)
    assert set(seen[first : last + 1]) == {ViewKind.PANORAMA}  # no change to and fro
    assert seen[0] is seen[-1] is ViewKind.REGION and WIDE in radii[first + 1 : last + 2]
    # of the same size, on the way up and on the way down
    assert radii[3] == radii[6] and (seen[2], seen[5]) == (ViewKind.REGION, ViewKind.PANORAMA)


def test_a_wide_prompt_is_segmented_in_a_panorama_with_the_object_in_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = tracker_of_red(monkeypatch)
    image, truth = red_disc(3.1, 0.0, WIDE), disc(3.1, 0.0, WIDE)
    (outcome,) = tracker.prompt(image, 0, [Prompt(mask=truth)])
    assert outcome.success and kinds(tracker) == [ViewKind.PANORAMA]
    moved = disc(2.4, 0.0, WIDE)
    for t in (1, 2, 3):
        frame = tracker.step(red_disc(2.4, 0.0, WIDE), t * SECOND)
    assert iou(frame.labels == 1, moved) > 0.85
    (item,) = tracker._live.objects
    assert item.last_view is not None
    network_input = tracker._pipelines[ViewKind.PANORAMA].network
    shown = item.last_view.pixels(Frame(red_disc(2.4, 0.0, WIDE), 0), network_input)[0, 0].numpy()
    columns = np.flatnonzero((shown > 128).any(0))
    assert abs(columns.mean() - 63.5) < 16  # of 128 columns; a token has 16


def test_views_of_one_kind_are_kept_where_the_parameter_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for view, kind in (("regions", ViewKind.REGION), ("panorama", ViewKind.PANORAMA)):
        tracker = tracker_of_red(monkeypatch, view)
        for t, radius in enumerate((SMALL, WIDE, SMALL)):
            image = red_disc(0.3, 0.0, radius)
            if t == 0:
                assert tracker.prompt(image, 0, [Prompt(mask=disc(0.3, 0.0, radius))])[0].success
            else:
                tracker.step(image, t)
            assert kinds(tracker) == [kind]
    with pytest.raises(ValueError, match="view is auto, regions, panorama; got 'fisheye'"):
        TrackerConfig(view="fisheye")


def test_a_network_that_is_not_made_for_panoramas_sees_regions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2)
    tracker = PanoTracker(random_model(3, config=config).eval().requires_grad_(False))
    assert list(tracker._pipelines) == [ViewKind.REGION]
    mask = disc(0.3, 0.0, WIDE)
    assert tracker.prompt(red_disc(0.3, 0.0, WIDE), 0, [Prompt(mask=mask)])[0].success
    assert kinds(tracker) == [ViewKind.REGION]


def test_a_snapshot_holds_objects_in_both_kinds_of_view(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracker, again = tracker_of_red(monkeypatch), tracker_of_red(monkeypatch)
    image = red_disc(3.1, 0.0, WIDE)
    wide, small = Prompt(mask=disc(3.1, 0.0, WIDE)), Prompt(mask=disc(3.1, 0.0, SMALL))
    outcomes = tracker.prompt(image, 0, [wide, small, wide])
    kind_of = dict(zip([item.obj_id for item in tracker._live.objects], kinds(tracker), strict=True))
    assert [kind_of[outcome.track.obj_id] for outcome in outcomes if outcome.track is not None] == [
        ViewKind.PANORAMA,
        ViewKind.REGION,
        ViewKind.PANORAMA,
    ]
    path = tmp_path / "m.safetensors"
    save_snapshot(path, tracker.snapshot(), tracker.network)
    again.restore(load_snapshot(path, again.empty_banks(), again.network, 8), image)
    assert kinds(again) == kinds(tracker)
    ours, theirs = (each.step(red_disc(3.0, 0.0, WIDE), SECOND).labels for each in (tracker, again))
    assert np.array_equal(ours, theirs) and ours.any()


def test_both_kinds_of_view_have_the_same_parameters() -> None:
    model = network()
    other = model.for_panoramas()
    ours, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    assert list(ours) == list(theirs) and all(ours[name] is theirs[name] for name in ours)
    assert other.input_size == (64, 128) and other.config.wraps and not model.config.wraps
    assert other.for_regions(64).config == model.config and model.for_regions(64) is model
    with pytest.raises(ValueError, match="multiple of 32, got 50x50"):
        model.for_regions(50)
