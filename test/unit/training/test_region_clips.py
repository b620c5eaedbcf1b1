"""Clips of search regions follow one object each, as a tracker does."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.tiny_training import (
    TinyMaterial,
    region_clips,
)
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.training.clips import RenderedClips
from panosam2_ros.training.curriculum import read_config
from panosam2_ros.training.lost_search import LostSearch
from panosam2_ros.training.region_clips import (
    PanoramaVideos,
    RegionClips,
    SceneVideos,
    _predicted_region,
    render_regions,
)


def test_search_regions_follow_one_object_each(small: Path) -> None:
    source = region_clips(small)
    middles = []
    for number in range(12):
        images, labels = source.clip(number)
        assert images.shape == (5, 64, 64, 3) and images.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1} and labels[0].any()
        middles.append(np.argwhere(labels[0]).mean(0))
        region = labels[0] > 0
        assert 0.004 < region.mean() < 0.5
        colour = images[0][region].mean(0)  # one of the two sprites, on grey noise
        assert np.abs(colour - colour.mean()).max() > 20
    assert np.abs(np.array(middles) - 31.5).max() < 20  # a region lies round its object
    again = region_clips(small)
    for number in (7, 2):
        assert all(map(np.array_equal, source.clip(number), again.clip(number)))
    assert not np.array_equal(source.clip(0)[0], source.clip(1)[0])


def test_some_clips_have_a_second_object_of_their_first_region(small: Path) -> None:
    single, paired = region_clips(small), replace(region_clips(small), pairs=True)
    found = 0
    for number in range(24):
        (images, alone), (same, labels) = single.clip(number), paired.clip(number)
        assert np.array_equal(images, same) and np.array_equal(alone == 1, labels == 1)
        second = labels == 2
        assert not second.any() or second[0].any()
        found += bool(second.any())
    assert 1 <= found < 24


def test_some_regions_are_degraded(small: Path) -> None:
    good, poor = region_clips(small, poor=0.0), region_clips(small, poor=1.0)
    images, labels = good.clip(3)
    (sharp, here), (blurred, there) = (
        source.augment(np.random.default_rng(1), images, labels, 0.0) for source in (good, poor)
    )
    assert np.array_equal(here, there) and not np.array_equal(sharp, blurred)
    assert abs(sharp.astype(float).mean() - blurred.mean()) < 3


def test_regions_cut_from_panoramas_equal_rendered_ones(small: Path) -> None:
    stage = replace(read_config(small).stages[0], size=(128, 256), diameter=(20, 40))
    scenes = replace(stage.scene_config(), width=1024, height=512, noise=0.0)
    cut = RegionClips(PanoramaVideos(RenderedClips(scenes, TinyMaterial())), 64)
    drawn = RegionClips(SceneVideos(scenes, TinyMaterial()), 64)
    for number in (0, 1, 4):
        (cut_images, cut_labels), (images, labels) = cut.clip(number), drawn.clip(number)
        both, either = (cut_labels & labels).sum((1, 2)), (cut_labels | labels).sum((1, 2))
        assert (both > 0.85 * either).all()  # where things are is known to a degree for the ones drawn
        assert np.abs(cut_images.astype(float) - images).mean() < 12


def test_regions_predict_the_motion_of_objects() -> None:
    """Before they are perturbed, they lie on the way from where the object was to where it is."""
    before, now = (TargetExtent(lonlat_to_vector(lon, 0.0), 0.3, 0.3) for lon in (0.0, 0.1))
    region, rng, shares = SearchRegion.around(before), np.random.default_rng(0), []
    for _ in range(50):
        middle = _predicted_region(rng, region, before, now).axes[2]
        shares.append(math.atan2(middle[0], middle[2]) / 0.1)
        assert middle[1] == pytest.approx(0, abs=1e-9)
    assert 0.49 < min(shares) < 0.6 and 0.9 < max(shares) < 1.01


def test_jumps_are_not_predicted() -> None:
    before, now = (TargetExtent(lonlat_to_vector(lon, 0.0), 0.3, 0.3) for lon in (0.0, 0.3))
    region = SearchRegion.around(before)
    assert np.array_equal(_predicted_region(np.random.default_rng(0), region, before, now).axes, region.axes)


class OneDirection:
    """A video of a dark sphere with an object, id 1, in the direction of the optical axis."""

    def __len__(self) -> int:
        return 12

    def labels(self, index: int) -> tuple[np.ndarray, Equirect]:
        raise NotImplementedError("its regions are asked for alone")

    def __init__(self) -> None:
        self.centres: list[np.ndarray] = []

    def region(self, index: int, view: SearchRegion, size: int) -> tuple[np.ndarray, np.ndarray]:
        self.centres.append(view.axes[2])
        labels = (view.directions(size)[..., 2] > math.cos(0.15)).astype(np.uint8)
        return np.repeat(labels[..., None] * 255, 3, -1), labels


def test_a_lost_object_is_looked_for_elsewhere_until_it_is_found() -> None:
    there = TargetExtent(lonlat_to_vector(0.0, 0.0), 0.3, 0.3)
    other = TargetExtent(lonlat_to_vector(2.0, 0.3), 0.3, 0.3)
    absent = np.zeros(12)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        search = LostSearch(rng, range(4, 9), [[other] * 12])
        _, masks = render_regions(rng, OneDirection(), range(12), [there] * 12, size=32, search=search)
        absent += ~masks.any((1, 2))
    before, during, after = absent[:4].mean(), absent[4:8].mean(), absent[9:].mean()
    assert during > 20 and max(before, after) < 8  # a few regions lie elsewhere at all times


def test_regions_of_zoomed_clips_show_their_object_from_closer() -> None:
    there = TargetExtent(lonlat_to_vector(0.0, 0.0), 0.3, 0.3)
    areas = [
        np.mean(
            [
                render_regions(np.random.default_rng(seed), OneDirection(), [0], [there], size=64, zoom=zoom)[
                    1
                ].sum()
                for seed in range(20)
            ]
        )
        for zoom in (1.0, 0.5)
    ]
    assert 3.3 < areas[1] / areas[0] < 4.5


def test_only_some_clips_are_zoomed(small: Path) -> None:
    plain, all_zoomed = (region_clips(small, zoomed=share, zoom=(0.5, 0.5)) for share in (0.0, 1.0))
    larger = [all_zoomed.clip(n)[1][0].sum() / plain.clip(n)[1][0].sum() for n in range(6)]
    assert np.median(larger) > 2


def test_only_some_clips_are_searches(small: Path) -> None:
    plain, lost = (region_clips(small, lost=share) for share in (0.0, 1.0))
    views = [[source.clip(number)[0] for number in range(6)] for source in (plain, lost)]
    assert not all(np.array_equal(a, b) for a, b in zip(*views, strict=True))
    assert all(source.clip(number)[1][0].any() for source in (plain, lost) for number in range(6))


def test_another_object_is_followed_in_its_place_for_a_while() -> None:
    places = [TargetExtent(lonlat_to_vector(0.1 * t, 0.3), 0.5, 0.5) for t in range(40)]
    there = TargetExtent(lonlat_to_vector(-2.0, 0.0), 0.2, 0.2)
    last, followed, found = SearchRegion.around(there), 0, 0
    for seed in range(30):
        search = LostSearch(np.random.default_rng(seed), range(2, 40), [places])
        assert search.region(1, last, there) is None and not search.lost
        at_other = False
        for t in range(2, 40):
            region = search.region(t, last, there)
            if not search.lost:
                assert region is None or angle_between(region.axes[2], there.direction) < 1e-6
                found += 1
                break
            assert region is not None
            was, at_other = at_other, angle_between(region.axes[2], places[t].direction) < 1e-6
            followed += was and at_other
    assert found > 25 and followed > 20


def test_a_lost_object_is_looked_for_where_it_was_seen_last() -> None:
    """Not where it went meanwhile, which a tracker does not know."""
    places = [TargetExtent(lonlat_to_vector(0.4 * max(t - 3, 0), 0.0), 0.3, 0.3) for t in range(8)]
    video, at_last = OneDirection(), 0
    for seed in range(30):
        video.centres.clear()
        rng = np.random.default_rng(seed)
        render_regions(rng, video, range(8), places, size=16, search=LostSearch(rng, range(4, 8), ()))
        at_last += angle_between(video.centres[6], places[3].direction) < 0.4
    assert at_last >= 5
