"""The tracker of a network that sees search regions: prompts in them, lost objects, memory, late prompts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.red_things import BLUE, RED, red_disc, sees_red
from helpers.spherical_shapes import disc, iou
from helpers.tracker_inputs import live_batch, planner_of
from panosam2_ros.evaluation.method import rolled_prompt
from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.geometry.window import MaskPatch
from panosam2_ros.memory.memory_file import load_snapshot, save_snapshot
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.extent import prompted_extent
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import StateConfig, TrackState
from panosam2_ros.tracking.search_schedule import MAX_SEARCHED_PER_FRAME, SEARCH_EVERY
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig
from panosam2_ros.tracking.view import InputView, NetworkInput, PanoramaView, SearchRegionView, view_to_dict
from panosam2_ros.tracking.view_planner import SEARCH_AFTER, RegionPlanner, make_view_planner

Image = NDArray[np.uint8]
GRID = Equirect(512, 256)
FRAME = 10**8  # ns


def network(seed: int = 3, **options: Any) -> PanoSAM2:
    config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2, **options)
    return random_model(seed, config=config).eval().requires_grad_(False)


def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[SearchRegion]:
    """A list that grows by every search region that is encoded."""
    looks: list[SearchRegion] = []
    pixels = SearchRegionView.pixels

    def noted(view: SearchRegionView, *args: Any) -> torch.Tensor:
        looks.append(view.region)
        return pixels(view, *args)

    monkeypatch.setattr(SearchRegionView, "pixels", noted)
    return looks


def region_of(view: InputView | None) -> SearchRegion:
    assert isinstance(view, SearchRegionView)
    return view.region


def box_of(mask: NDArray[np.bool_]) -> Prompt:
    box = mask_box(mask)
    assert box is not None
    return Prompt(box=box)


@pytest.mark.parametrize(("lon", "lat"), [(0.3, 0.0), (math.pi, 0.2), (1.0, 1.45), (-2.0, -1.2)])
@pytest.mark.parametrize("kind", ["box", "click", "mask"])
def test_a_moving_object_is_followed_anywhere(
    lon: float, lat: float, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker, truth = PanoTracker(model), disc(lon, lat, 0.15)
    u, v = GRID.lonlat_to_pixel(lon, lat)
    click = Prompt(points=np.array([[float(u), float(v)]]), point_labels=np.array([1]))
    prompt = {"box": box_of(truth), "click": click, "mask": Prompt(mask=truth)}[kind]
    (outcome,) = tracker.prompt(red_disc(lon, lat), 0, [prompt])
    assert outcome.mask is not None and iou(outcome.mask, truth) > 0.8  # its masks are 32 pixels wide
    for t in range(1, 12):
        moved = lon + 0.08 * t
        frame = tracker.step(red_disc(moved, lat), t * FRAME)
        assert iou(frame.labels == 1, disc(moved, lat, 0.15)) > 0.8, t
        direction = frame.tracks[0].bearing.direction
        assert angle_between(direction, lonlat_to_vector(moved, lat)) < 0.02


def test_after_a_click_it_looks_closer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of what is clicked at is known only when it was found once."""
    model = network()
    sees_red(model, monkeypatch)
    looks = looked_at(monkeypatch)
    click = Prompt(points=np.array([[255.5, 127.5]]), point_labels=np.array([1]))
    (outcome,) = PanoTracker(model).prompt(red_disc(0.0, 0.0, 0.4), 0, [click])
    assert len(looks) == 2 and looks[1].fov > 1.5 * looks[0].fov
    assert outcome.mask is not None and iou(outcome.mask, disc(0.0, 0.0, 0.4)) > 0.9
    tracker = PanoTracker(model)
    tracker.prompt(red_disc(0.0, 0.0, 0.4), 0, [click])
    for again, count in ((replace(click, obj_id=1, replace=True), 2), (replace(click, obj_id=1), 1)):
        looks.clear()
        assert tracker.prompt(red_disc(0.0, 0.0, 0.4), 0, [again])[0].success
        assert len(looks) == count  # whoever is corrected is known
    looks.clear()
    PanoTracker(model).prompt(red_disc(0.0, 0.0, 0.4), 0, [box_of(disc(0.0, 0.0, 0.4))])
    assert len(looks) == 1


def test_objects_that_do_not_meet_do_not_change_each_other_and_turn_with_the_camera() -> None:
    first, second = Prompt(mask=disc(0.3, 0.1, 0.2)), Prompt(mask=disc(-2.8, -0.1, 0.1))
    images = [np.random.default_rng(i).integers(0, 255, (256, 512, 3), np.uint8) for i in range(4)]
    alone, both, turned = (PanoTracker(network()) for _ in range(3))
    alone.prompt(images[0], 0, [first])
    both.prompt(images[0], 0, [second, first])
    assert first.mask is not None
    turned.prompt(np.roll(images[0], 77, 1), 0, [Prompt(mask=np.roll(first.mask, 77, 1))])
    for t, image in enumerate(images[1:], 1):
        alone.step(image, t * FRAME)
        both.step(image, t * FRAME)
        turned.step(np.roll(image, 77, 1), t * FRAME)
        own, other, rolled = (live_batch(x).bank.mask_logits[-1] for x in (alone, both, turned))
        assert torch.allclose(own, other, atol=1e-3)
        assert torch.allclose(own, rolled, atol=1e-3)


@pytest.mark.parametrize(("lat", "wide"), [(0.1, 0.2), (-0.3, 0.9), (1.5, 0.3)])
@pytest.mark.parametrize("columns", [1, 77, 300])
def test_a_turned_camera_turns_the_masks(
    lat: float, wide: float, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, by any columns; where pixels are averaged, round a pole, and after it was hidden."""
    model = network(outline_size=96, colour_evidence=1e-3, colour_search=0.6)
    sees_red(model, monkeypatch)
    plain, turned = (PanoTracker(model) for _ in range(2))
    box = box_of(disc(0.3, lat, wide))
    plain.prompt(red_disc(0.3, lat, wide), 0, [box])
    turned.prompt(np.roll(red_disc(0.3, lat, wide), columns, 1), 0, [rolled_prompt(box, columns, 512)])
    hidden = range(4, 5 + SEARCH_AFTER)
    for t in range(1, 9 + SEARCH_AFTER):
        image = red_disc(0.3 + 0.03 * t, lat, 1e-3 if t in hidden else wide)
        image = np.roll(image, 5 * t, 1)  # the noise, too: so the camera turns
        labels = plain.step(image, t * FRAME).labels
        rolled = turned.step(np.roll(image, columns, 1), t * FRAME).labels
        assert np.array_equal(np.roll(labels, columns, 1), rolled), t
        assert labels.any() == (t not in hidden)


def test_the_shipped_network_sees_the_same_however_the_camera_is_turned() -> None:
    """Real pictures, whose corners are followed, and colours that are learned: nothing hangs on the seam."""
    config = SceneConfig(512, 256, frames=8, objects=(2, 2), camera_speed=0.05, full_rotation=1.0)
    scene, model, columns = Scene(config, AssetLibrary.shipped(Split.VAL), 7), build_model(), 131
    truth = scene.render(0)
    prompts = [Prompt(mask=truth.labels == obj_id) for obj_id in np.unique(truth.labels) if obj_id]
    plain, turned = (PanoTracker(model) for _ in range(2))
    plain.prompt(truth.image, 0, prompts)
    turned.prompt(np.roll(truth.image, columns, 1), 0, [rolled_prompt(p, columns, 512) for p in prompts])
    for t in range(1, config.frames):
        image = scene.render(t).image
        labels = plain.step(image, t * FRAME).labels
        rolled = turned.step(np.roll(image, columns, 1), t * FRAME).labels
        assert labels.any() and np.array_equal(np.roll(labels, columns, 1), rolled), t


@pytest.mark.parametrize("first", [0, 150, 400])
def test_an_object_that_was_lost_is_found_where_its_colours_are(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From whichever column the panorama is searched."""
    monkeypatch.setattr(Frame, "reference_column", first)
    model = network(colour_evidence=1e-3, colour_search=0.6)
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model)
    tracker.prompt(red_disc(0.0), 0, [Prompt(mask=disc(0.0, 0.0, 0.15))])
    for t in range(1, 3):
        tracker.step(red_disc(0.0), t * FRAME)
    for t in range(3, 3 + SEARCH_AFTER):
        frame = tracker.step(red_disc(0.0, 0.0, 1e-3), t * FRAME)
        assert frame.tracks[0].state is TrackState.OCCLUDED and not frame.labels.any()
    frame = tracker.step(red_disc(2.2, 0.4), (3 + SEARCH_AFTER) * FRAME)
    assert iou(frame.labels == 1, disc(2.2, 0.4, 0.15)) > 0.8


def same(one: InputView, other: InputView) -> bool:
    """Whether two regions show the same, to a twentieth of a degree."""
    one, other = region_of(one), region_of(other)
    return np.allclose(one.axes, other.axes, atol=1e-3) and one.fov == other.fov


def test_regions_go_ahead_of_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends up moving by more than half a region a frame is kept if it got there by and by."""
    model = network()
    sees_red(model, monkeypatch)
    tracker, lon, step = PanoTracker(model), 0.0, 0.1
    tracker.prompt(red_disc(lon), 0, [Prompt(mask=disc(lon, 0.0, 0.15))])
    for t in range(1, 12):
        lon, step = lon + step, step + 0.05
        frame = tracker.step(red_disc(lon), t * FRAME)
        assert iou(frame.labels == 1, disc(lon, 0.0, 0.15)) > 0.75, t
    assert step > region_of(tracker._live.objects[0].view).fov / 2
    for t in range(12, 15):  # it stands still, hidden: the region comes to rest, too
        tracker.step(red_disc(0.0, 0.0, 1e-3), t * FRAME)
    assert tracker.tracks()[0].state is TrackState.OCCLUDED


@pytest.mark.parametrize("lat", [0.0, 0.8, 1.1, -1.2, 1.3])
def test_a_box_says_how_large_an_object_is_also_near_a_pole(lat: float) -> None:
    found = prompted_extent(box_of(disc(0.4, lat, 0.2)), GRID)
    assert found.diameter == pytest.approx(0.4, rel=0.2)
    assert angle_between(found.direction, lonlat_to_vector(0.4, lat)) < 0.1


def test_a_box_round_a_pole_holds_what_may_be_in_it() -> None:
    found = prompted_extent(box_of(disc(0.4, 1.45, 0.2)), GRID)
    assert abs(found.direction[1]) > 0.99 and 0.4 < found.diameter < 0.7


def test_where_it_looks_next_is_as_large_as_what_a_prompt_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model)
    tracker.prompt(red_disc(0.0, 0.0, 0.3), 0, [box_of(disc(0.0, 0.0, 0.45))])
    assert region_of(tracker._live.objects[0].view).diameter == pytest.approx(0.6, rel=0.15)


def test_what_another_object_in_sight_covers_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(colour_evidence=1e-3, colour_search=0.6)
    tracker = PanoTracker(model)
    tracker.prompt(red_disc(0.0), 0, [Prompt(mask=disc(0.0, 0.0, 0.15)), Prompt(mask=disc(1.5, 0.0, 0.15))])
    lost, other = tracker._live.objects
    lost.view = SearchRegionView(replace(region_of(lost.view), unseen=SEARCH_AFTER))
    plan = planner_of(tracker).plan(live_batch(tracker), Frame(red_disc(0.0), FRAME))
    assert plan.away == [True, False]
    assert same(plan.views[1], other.view)
    plan = planner_of(tracker).plan(live_batch(tracker), Frame(red_disc(1.5), FRAME))
    assert not any(plan.away) and same(plan.views[0], lost.view)


@pytest.mark.parametrize("count", [3 * MAX_SEARCHED_PER_FRAME - 1, 2 * MAX_SEARCHED_PER_FRAME])
def test_of_many_lost_objects_some_are_searched_in_every_frame_and_all_after_some(count: int) -> None:
    tracker = PanoTracker(network(colour_evidence=1e-3, colour_search=0.6))
    tracker.prompt(red_disc(0.0), 0, [Prompt(mask=disc(0.0, 0.0, 0.15))] * count)
    group, searched = live_batch(tracker), torch.zeros(count, dtype=torch.bool)
    for turn in range(3):
        frame = SEARCH_EVERY * turn  # in the others none of those that were lost together is searched
        for item in group.objects:
            item.view = SearchRegionView(replace(region_of(item.view), unseen=SEARCH_AFTER + frame))
        away = planner_of(tracker).plan(group, Frame(red_disc(1.0), FRAME)).away
        assert sum(away) == MAX_SEARCHED_PER_FRAME
        searched |= torch.tensor(away)
    assert searched.all()


def test_what_is_seen_is_not_searched() -> None:
    tracker = PanoTracker(network(colour_evidence=1e-3, colour_search=0.6))
    tracker.prompt(red_disc(0.0), 0, [Prompt(mask=disc(0.0, 0.0, 0.15))])
    assert planner_of(tracker).plan(live_batch(tracker), Frame(red_disc(1.0), FRAME)).elsewhere == ()


def test_a_correction_inside_the_last_region_uses_it_and_one_outside_moves_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model)
    tracker.prompt(red_disc(0.0), 0, [Prompt(mask=disc(0.0, 0.0, 0.15))])
    image = red_disc(0.05)
    tracker.step(image, FRAME)
    seen = region_of(tracker._live.objects[0].last_view)
    looks = looked_at(monkeypatch)

    def click(lon: float) -> Prompt:
        u, v = GRID.lonlat_to_pixel(lon, 0.0)
        return Prompt(obj_id=1, points=np.array([[float(u), float(v)]]), point_labels=np.array([1]))

    assert tracker.prompt(image, FRAME, [click(0.06)])[0].success
    assert looks == [seen]
    far = red_disc(-2.0)
    tracker.step(far, 2 * FRAME)
    (outcome,) = tracker.prompt(far, 2 * FRAME, [click(-2.0)])
    assert outcome.mask is not None and iou(outcome.mask, disc(-2.0, 0.0, 0.15)) > 0.8
    assert angle_between(looks[-1].axes[2], lonlat_to_vector(-2.0, 0.0)) < 0.02
    assert iou(tracker.step(red_disc(-1.95), 3 * FRAME).labels == 1, disc(-1.95, 0.0, 0.15)) > 0.8


def test_what_is_remembered_goes_on_from_a_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = network(), TrackerConfig(camera_motion=False)  # seen from the second image on
    tracker, again = PanoTracker(model, config), PanoTracker(model, config)
    tracker.prompt(red_disc(0.5), 0, [Prompt(mask=disc(0.5, 0.0, 0.15)), box_of(disc(-1.0, 0.3, 0.3))])
    for t in range(1, 4):
        tracker.step(red_disc(0.5 + 0.03 * t), t * FRAME)
    save_snapshot(tmp_path / "m.safetensors", tracker.snapshot(), tracker.network)
    again.restore(load_snapshot(tmp_path / "m.safetensors", again.empty_banks(), again.network, 8))
    for t in range(4, 7):
        image = red_disc(0.5 + 0.03 * t)
        assert np.array_equal(tracker.step(image, t * FRAME).labels, again.step(image, t * FRAME).labels)


def test_what_is_recalled_is_not_seen_before_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker, again = PanoTracker(model), PanoTracker(model)
    tracker.prompt(red_disc(0.5), 0, [Prompt(mask=disc(0.5, 0.0, 0.15))])
    again.restore(tracker.snapshot(), red_disc(0.5))
    (before,), (first,) = tracker.tracks(), again.tracks()
    assert before.state is TrackState.VISIBLE and first.state is TrackState.OCCLUDED
    assert before.bearing.solid_angle > 0 == first.bearing.solid_angle and first.last_seen == before.last_seen
    assert again.step(red_disc(0.5), FRAME).tracks[0].state is TrackState.VISIBLE
    assert again.tracks()[0].bearing.solid_angle > 0


def test_a_prompt_on_an_older_image_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model)
    images = [red_disc(0.3 + 0.2 * t) for t in range(4)]
    for t, image in enumerate(images):
        tracker.step(image, t * FRAME)
    (outcome,) = tracker.prompt(images[0], 0, [box_of(disc(0.3, 0.0, 0.15))])
    assert outcome.success
    for t in range(1, 4):
        tracker.replay(images[t], t * FRAME)
    assert tracker.replay_stamp is None
    frame = tracker.step(red_disc(1.1), 4 * FRAME)
    assert iou(frame.labels == 1, disc(1.1, 0.0, 0.15)) > 0.8


def test_a_cropped_panorama_has_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.2 rad high: the same disc covers other rows."""
    model, fov = network(), 1.2
    sees_red(model, monkeypatch)
    grid = Equirect(512, 96, fov)
    tracker = PanoTracker(model, TrackerConfig(vertical_fov=fov))

    def cropped(lon: float) -> tuple[Image, NDArray[np.bool_]]:
        truth = disc(lon, 0.2, 0.15, grid)
        return np.where(truth[..., None], RED, BLUE).astype(np.uint8), truth

    image, truth = cropped(3.0)
    (outcome,) = tracker.prompt(image, 0, [box_of(truth)])
    assert outcome.mask is not None and iou(outcome.mask, truth) > 0.85
    image, truth = cropped(3.1)
    frame = tracker.step(image, FRAME)
    assert iou(frame.labels == 1, truth) > 0.85
    assert angle_between(frame.tracks[0].bearing.direction, lonlat_to_vector(3.1, 0.2)) < 0.02


def test_a_box_round_a_pole_is_looked_at_from_above() -> None:
    box = Prompt(box=(0.0, 0.0, 511.0, 30.0))
    region = region_of(RegionPlanner(network()).plan_prompt(box, None, GRID, newest=False).view)
    assert region.axes[2] @ np.array([0.0, -1.0, 0.0]) > 0.999
    assert region.diameter == pytest.approx(2 * 30 / 256 * math.pi, rel=0.1)


def landscape(columns: int, lon: float | None = None) -> Image:
    """Greens and blues after a turn of the camera by ``columns``; perhaps with a red disc there."""
    coarse = np.random.default_rng(1).uniform(40, 220, (32, 64, 3)).astype(np.float32)
    pixels = cv2.resize(np.concatenate([coarse] * 3, 1), (3 * 512, 256))[:, 512:1024]
    pixels[..., 0] = 20
    if lon is not None:
        pixels[disc(lon, 0.0, 0.15)] = RED
    return np.roll(pixels, columns, 1).astype(np.uint8)


def turned(lon: float, columns: int) -> NDArray[np.float64]:
    return lonlat_to_vector(lon + 2 * math.pi * columns / 512, 0.0)


def test_what_is_hidden_is_where_it_was_though_the_camera_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    sees, blind = PanoTracker(model), PanoTracker(model, TrackerConfig(camera_motion=False))
    for tracker in (sees, blind):
        tracker.prompt(landscape(0, 0.5), 0, [box_of(disc(0.5, 0.0, 0.15))])
        tracker.step(landscape(0, 0.5), FRAME)
    for t in range(2, 14):
        columns = 8 * (t - 1)
        (track,), (other,) = (x.step(landscape(columns), t * FRAME).tracks for x in (sees, blind))
        assert track.state is TrackState.OCCLUDED
        assert angle_between(track.bearing.direction, turned(0.5, columns)) < 0.03
    assert angle_between(other.bearing.direction, turned(0.5, columns)) > 1.0
    frame = sees.step(landscape(104, 0.5), 14 * FRAME)
    assert iou(frame.labels == 1, np.roll(disc(0.5, 0.0, 0.15), 104, 1)) > 0.7


def test_what_is_lost_is_looked_for_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model, TrackerConfig(state=StateConfig(lost_after=0.0)))
    tracker.prompt(landscape(0, 0.5), 0, [box_of(disc(0.5, 0.0, 0.15))])
    for t in range(1, 12):
        (track,) = tracker.step(landscape(8 * t), t * FRAME).tracks
    region = region_of(tracker._live.objects[0].view)
    assert track.state is TrackState.LOST and angle_between(region.axes[2], turned(0.5, 88)) < 0.05


def test_a_late_prompt_comes_along_with_the_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model)
    for t in range(6):
        tracker.step(landscape(8 * t), t * FRAME)
    tracker.prompt(landscape(0, 0.5), 0, [box_of(disc(0.5, 0.0, 0.15))])
    for t in range(1, 6):
        tracker.replay(landscape(8 * t), t * FRAME)
    (track,) = tracker.step(landscape(48), 6 * FRAME).tracks
    assert angle_between(track.bearing.direction, turned(0.5, 48)) < 0.03


def test_a_prompt_on_an_image_that_comes_next_turns_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model)
    tracker.prompt(landscape(0, 0.5), 0, [box_of(disc(0.5, 0.0, 0.15))])
    tracker.prompt(landscape(10, -1.0), FRAME, [box_of(np.roll(disc(-1.0, 0.0, 0.15), 10, 1))])
    for columns, track in zip((20, 20), tracker.step(landscape(20), 2 * FRAME).tracks, strict=True):
        lon = 0.5 if track.obj_id == 1 else -1.0
        assert angle_between(track.bearing.direction, turned(lon, columns)) < 0.03


def test_memory_from_a_file_is_not_turned_by_what_happened_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    sees_red(model, monkeypatch)
    tracker = PanoTracker(model)
    tracker.prompt(landscape(0, 0.5), 0, [box_of(disc(0.5, 0.0, 0.15))])
    memory = tracker.snapshot()
    tracker.step(landscape(30), FRAME)
    tracker.restore(memory)
    (track,) = tracker.step(landscape(0), 2 * FRAME).tracks
    assert angle_between(track.bearing.direction, turned(0.5, 0)) < 0.01


def test_a_planner_for_regions_refuses_a_view_of_the_panorama() -> None:
    with pytest.raises(TypeError, match="search regions"):
        RegionPlanner(network()).next_view(PanoramaView(), None, prompted=False)


def test_a_network_that_sees_panoramas_has_one_view_for_all() -> None:
    planner = make_view_planner(random_model(1), TrackerConfig())
    view = planner.plan_prompt(Prompt(box=(1.0, 1.0, 9.0, 9.0)), None, GRID, newest=True).view
    assert view == PanoramaView() and view_to_dict(view) is None


def test_published_patches_are_as_fine_as_the_masks_of_a_large_region() -> None:
    view = SearchRegionView(SearchRegion.around(TargetExtent(lonlat_to_vector(3.1, 0.1), 0.5, 0.5)))
    seen_by = NetworkInput(448, 448, 16, 4, 96, 0, math.pi)
    logits = np.full((112, 112), -4.0, np.float32)
    logits[10:102, 10:102] = 4.0
    fine, coarse = (view.to_panorama(logits, each) for each in (seen_by, replace(seen_by, outline_size=96)))
    assert isinstance(fine, MaskPatch) and isinstance(coarse, MaskPatch)
    pitch = [patch.window.height * math.pi / len(patch.logits) for patch in (fine, coarse)]
    assert pitch[0] <= view.region.pixel_angle(112) < pitch[1]
