"""Lost objects are looked for where the panorama looks like them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.spherical_shapes import disc
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.appearance_search import (
    MOST_PLACES,
    directions_to_try,
    likeliest,
    panorama_likeness,
)
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import BearingMotionModel
from panosam2_ros.tracking.object_group import ObjectBatch
from panosam2_ros.tracking.propagation import empty_bank
from panosam2_ros.tracking.search_schedule import SEARCH_EVERY, SearchAttempt
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import SearchRegionView
from panosam2_ros.tracking.view_planner import SEARCH_AFTER, RegionPlanner

GRID = Equirect(512, 256)
PLACES = {"red": (1.0, 0.2), "green": (-2.0, -0.3)}  # longitude and latitude, rad


@pytest.fixture(scope="module")
def model() -> PanoSAM2:
    config = ModelConfig(input_height=64, input_width=64, regions=True, matched_frames=1)
    return random_model(0, config=config).eval()


def picture() -> ImageArray:
    """A grey panorama with a red and a green disc."""
    image = np.full((GRID.height, GRID.width, 3), 110, np.uint8)
    image[:, : GRID.width // 2] += 40  # so that the picture has a column of reference
    for colour, (lon, lat) in zip(((220, 30, 30), (30, 220, 30)), PLACES.values(), strict=True):
        image[disc(lon, lat, 0.25, GRID)] = colour
    return image


def looks(model: PanoSAM2, image: ImageArray, place: str) -> torch.Tensor:
    """What the middle of a disc looks like, [1, C]."""
    frame = Frame(image, 0)
    channels = sum(model.image_encoder.trunk.channel_list[1:3])
    vectors, every = panorama_likeness(model, frame, torch.eye(channels))
    nearest = int((vectors @ lonlat_to_vector(*PLACES[place])).argmax())
    return torch.from_numpy(every[:, nearest])[None]


@pytest.mark.parametrize("place", list(PLACES))
def test_the_likeliest_place_looks_like_the_object(model: PanoSAM2, place: str) -> None:
    image = picture()
    vectors, likeness = panorama_likeness(model, Frame(image, 0), looks(model, image, place))
    best = likeliest(vectors, likeness[0], apart=0.3)[0]
    assert angle_between(best, lonlat_to_vector(*PLACES[place])) < 0.3


@pytest.mark.parametrize(("size", "fov"), [((640, 322), math.pi), ((1000, 500), math.pi), ((1024, 200), 1.2)])
def test_panoramas_of_any_size_are_searched(model: PanoSAM2, size: tuple[int, int], fov: float) -> None:
    """Not exactly two to one, as of real drivers, and cropped above and below."""
    grid = Equirect(*size, fov)
    image = np.full((size[1], size[0], 3), 110, np.uint8)
    image[disc(1.0, 0.1, 0.25, grid)] = (220, 30, 30)
    frame = Frame(image, 0, fov)
    channels = sum(model.image_encoder.trunk.channel_list[1:3])
    vectors, every = panorama_likeness(model, frame, torch.eye(channels))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1) and np.abs(vectors[:, 1]).max() <= math.sin(
        fov / 2
    )
    there = lonlat_to_vector(1.0, 0.1)
    own = torch.from_numpy(every[:, int((vectors @ there).argmax())])[None]
    vectors, likeness = panorama_likeness(model, frame, own)
    assert angle_between(likeliest(vectors, likeness[0], apart=0.3)[0], there) < 0.3


def test_nothing_depends_on_the_seam(model: PanoSAM2) -> None:
    image, columns = picture(), 136
    appearance = looks(model, image, "red")
    (vectors, plain), (turned, rolled) = (
        panorama_likeness(model, Frame(own, 0), appearance) for own in (image, np.roll(image, columns, 1))
    )
    assert np.array_equal(plain, rolled)
    turn = columns / GRID.width * 2 * math.pi
    lon, back = (np.arctan2(v[:, 0], v[:, 2]) for v in (vectors, turned))
    assert np.allclose(np.cos(back - lon), math.cos(turn), atol=1e-6)


def test_features_go_on_across_the_seam(model: PanoSAM2) -> None:
    """Wherever the picture is cut, features are the same, but for what reaches far beyond the margin."""
    image = picture()
    appearance = looks(model, image, "red")
    found = []
    for column in (0, 352):  # the second cut goes through the red disc
        frame = Frame(image, 0)
        frame.__dict__["reference_column"] = column
        vectors, likeness = panorama_likeness(model, frame, appearance)
        order = np.lexsort(np.round(np.arctan2(vectors[:, 0], vectors[:, 2]), 4)[None])
        found.append((np.round(vectors[order], 4), likeness[0, order]))
    (_, one), (_, other) = found
    assert np.abs(one - other).max() < 0.02


def test_candidates_lie_apart() -> None:
    vectors = np.stack([lonlat_to_vector(lon, 0.0) for lon in np.linspace(-3, 3, 200)])
    found = likeliest(vectors, np.linspace(0, 1, 200, dtype=np.float32), apart=0.4)
    assert len(found) == MOST_PLACES
    assert all(angle_between(a, b) >= 0.4 - 1e-6 for i, a in enumerate(found) for b in found[:i])
    assert len(likeliest(vectors, np.ones(200, np.float32), apart=math.pi)) == 1


def test_every_candidate_gets_its_share_of_the_tries() -> None:
    counts = np.bincount([SearchAttempt(n).candidate(MOST_PLACES) for n in range(120)], minlength=MOST_PLACES)
    assert counts.min() >= 18 and counts.max() <= 22


def test_tries_go_to_what_looks_like_the_object_and_never_to_what_is_seen(model: PanoSAM2) -> None:
    image = picture()
    bank = replace(empty_bank(model, 2), identity=looks(model, image, "red").expand(2, 3, -1))
    red, green = (TargetExtent(lonlat_to_vector(*place), 0.5, 0.5) for place in PLACES.values())
    last = SearchRegion.around(green)
    tries = [replace(last, unseen=SEARCH_EVERY * n) for n in range(3, 43)]
    free = [directions_to_try(model, bank, Frame(image, 0), {1: own}, [])[1] for own in tries]
    near = [angle_between(place, red.direction) < 0.4 for place in free]
    by_looks = [not SearchAttempt.of(own).is_anywhere for own in tries]
    assert sum(near) >= 0.1 * len(tries) and 0.6 < np.mean(by_looks) < 0.9
    seen = [SearchRegion.around(red)]
    taken = [directions_to_try(model, bank, Frame(image, 0), {1: own}, seen)[1] for own in tries]
    inside = [
        angle_between(place, red.direction) < 0.24
        for place, looked in zip(taken, by_looks, strict=True)
        if looked
    ]
    assert not any(inside)


def test_the_planner_searches_without_colours(model: PanoSAM2) -> None:
    assert not model.config.colour_search
    image, (red, green) = picture(), (lonlat_to_vector(*place) for place in PLACES.values())
    bank = replace(empty_bank(model, 1), identity=looks(model, image, "red").expand(1, 3, -1))
    found = []
    for unseen in range(SEARCH_AFTER, SEARCH_AFTER + 30 * SEARCH_EVERY, SEARCH_EVERY):
        last = replace(SearchRegion.around(TargetExtent(green, 0.4, 0.4)), unseen=unseen)
        item = TrackedObject(1, "", BearingMotionModel(), SearchRegionView(last))
        plan = RegionPlanner(model).plan(ObjectBatch([item], bank), Frame(image, 0))
        assert plan.away == [True]
        (view,) = plan.views
        assert isinstance(view, SearchRegionView)
        found.append(angle_between(view.region.axes[2], red) < 0.4)
    assert any(found) and not all(found)
