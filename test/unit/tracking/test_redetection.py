"""Lost objects are looked for where their colours are; the network and their size say whether it is them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from helpers.coloured_shapes import BLUE, GREEN, HEIGHT, RED, WIDTH, disc, logits, painted
from helpers.red_things import red_disc, sees_red
from helpers.spherical_shapes import disc as spherical_disc
from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.memory.frame_memory import BankRules
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.colour_histogram import BINS, colour_bins, colour_evidence, colour_histograms
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.redetection import is_wrong_match, rank_candidates, redetect
from panosam2_ros.tracking.search_schedule import SEARCH_EVERY, searched_region
from panosam2_ros.tracking.tracker import PanoTracker

GRID = (4, 8)  # tokens; masks are 32x64, as the colours of test_colour


def prediction(mask_logits: Tensor, score: float, iou: float = 0.5) -> MaskPrediction:
    """Of N objects, from masks [N, 1, 16, 32]."""
    count = len(mask_logits)
    sure, token = torch.full((count,), score), torch.zeros(count, 2)
    fine = F.interpolate(mask_logits, scale_factor=2, mode="nearest")
    return MaskPrediction(mask_logits, torch.full((count,), iou), token, sure, fine)


def low(mask: NDArray[np.bool_]) -> Tensor:
    """A mask [32, 64] as the network's low-resolution logits [1, 1, 16, 32]."""
    return F.avg_pool2d(logits(mask), 2)


def known(count: int, radius: int = 6) -> MemoryBank:
    """Objects that were red discs on blue."""
    bank = MemoryBank.empty(
        count,
        BankRules(4, 4, 2),
        memory_dim=2,
        hidden_dim=4,
        grid=GRID,
        device=torch.device("cpu"),
        colours=BINS,
    )
    colours = colour_histograms(colour_bins(painted(disc(20), RED, BLUE), 1, planar=False), logits(disc(20)))
    masks = low(disc(40, radius))
    return replace(bank, mask_logits=masks.expand(count, -1, -1, -1), colours=colours.expand(count, -1, -1))


def region(lon: float, unseen: int = 0) -> SearchRegion:
    """Of an object of 0.3 rad on the horizon."""
    return replace(SearchRegion.around(TargetExtent(lonlat_to_vector(lon, 0.0), 0.3, 0.3)), unseen=unseen)


AROUND = np.concatenate([np.eye(3), -np.eye(3)])  # six directions


def directions(image: NDArray[np.uint8], unseen: int = 0, visible: Sequence[SearchRegion] = ()) -> list[Any]:
    lost = [region(2.5, unseen)]
    return redetect(Frame(image, 0), known(1).colours, lost, visible)


def scene(*places: tuple[float, float], colour: tuple[int, int, int] = RED) -> NDArray[np.uint8]:
    """Discs (longitude, radius) of a colour on blue."""
    image = np.full((128, 256, 3), BLUE, np.uint8)
    for lon, radius in places:
        image[spherical_disc(lon, 0.0, radius, Equirect(256, 128))] = colour
    return image


@pytest.mark.parametrize("lon", [-3.1, 0.0, 1.2, 3.1])
def test_a_lost_object_is_searched_where_its_colours_are(lon: float) -> None:
    (found,) = directions(scene((lon, 0.15)))
    assert angle_between(found, lonlat_to_vector(lon, 0.0)) < 0.05


def test_it_is_searched_nowhere_without_its_colours() -> None:
    assert directions(scene((0.0, 0.15), colour=GREEN)) == [None]


def test_what_another_object_in_sight_covers_is_not_searched() -> None:
    image = scene((0.0, 0.15), (1.5, 0.1))
    (found,) = directions(image, visible=[region(0.0)])
    assert angle_between(found, lonlat_to_vector(1.5, 0.0)) < 0.05
    assert directions(scene((0.0, 0.15)), visible=[region(0.0)]) == [None]


def test_every_try_looks_in_another_place_the_one_of_the_right_size_first() -> None:
    image = scene((0.0, 0.15), (1.5, 0.6))
    tries = [directions(image, unseen=SEARCH_EVERY * n)[0] for n in range(3)]
    for found, lon in zip(tries, (0.0, 1.5, 0.0), strict=True):
        assert angle_between(found, lonlat_to_vector(lon, 0.0)) < 0.05


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_whichever_tries_an_object_gets_it_is_searched_everywhere_and_in_every_size(stride: int) -> None:
    """With many lost objects each gets only some of the tries."""
    image = scene((0.0, 0.15), (1.5, 0.3), (-1.5, 0.2))
    tries = [(region(2.5, SEARCH_EVERY * stride * n), n) for n in range(120)]
    places = [directions(image, lost.unseen)[0] for lost, _ in tries]
    for lon in (0.0, 1.5, -1.5):
        near = [angle_between(found, lonlat_to_vector(lon, 0.0)) < 0.05 for found in places]
        assert sum(near) >= 10, lon
    widest = max(float(np.min([angle_between(found, way) for found in places])) for way in AROUND)
    assert widest < math.radians(50)
    sizes = {round(searched_region(lost, places[n]).diameter / lost.diameter, 3) for lost, n in tries}
    assert sizes == {0.5, 1.0, 2.0}


def test_a_try_without_its_colours_anywhere_still_looks_somewhere() -> None:
    tries = [directions(scene((0.0, 0.15), colour=GREEN), SEARCH_EVERY * n)[0] for n in range(40)]
    looked = [found for found in tries if found is not None]
    assert 5 <= len(looked) <= 15
    assert np.ptp([found[1] for found in looked]) > 1  # from far above the horizon to far below


@pytest.mark.parametrize(
    ("score", "iou", "radius", "before", "colour", "right"),
    [
        pytest.param(3.0, 0.9, 6, 6, RED, True, id="it is it"),
        pytest.param(3.0, 0.9, 6, 40, RED, True, id="its last mask had run over"),
        pytest.param(-0.1, 0.9, 6, 6, RED, False, id="not present"),
        pytest.param(3.0, 0.3, 6, 6, RED, False, id="a doubtful mask"),
        pytest.param(3.0, 0.9, 6, 6, GREEN, False, id="another colour"),
        pytest.param(8.0, 0.9, 6, 6, GREEN, True, id="another colour, and the network is sure"),
        pytest.param(3.0, 0.9, 100, 6, RED, False, id="far too large"),
        pytest.param(3.0, 0.9, 1, 6, RED, False, id="a speck"),
    ],
)
def test_what_is_found_in_a_region_elsewhere_has_to_be_like_the_object(
    score: float, iou: float, radius: int, before: int, colour: tuple[int, int, int], right: bool
) -> None:
    mask = disc(40, radius)
    found = prediction(low(mask), score, iou)
    features = replace(tokens(mask), bins=colour_bins(painted(mask, colour, BLUE), 1, planar=True))
    bank = known(1, before)
    wrong = is_wrong_match(
        ModelConfig(colour_evidence=1.0, colour_search=0.6), bank, features, found, bank.appearance
    )
    assert wrong.tolist() == [not right]


LOOK, OTHER = (F.normalize(torch.tensor(x), dim=0) for x in ([3.0, 1.0, 0.0, 0.0], [1.0, 3.0, 0.0, 0.0]))
WALL = F.normalize(torch.tensor([0.0, 0.0, 1.0, 1.0]), dim=0)


def tokens(mask: NDArray[np.bool_], look: Tensor = LOOK) -> ImageFeatures:
    """Features of an image in which a thing of a look stands before a wall."""
    share = F.adaptive_avg_pool2d(torch.from_numpy(mask).float()[None, None], GRID)
    embedding = share * look.view(1, -1, 1, 1) + (1 - share) * WALL.view(1, -1, 1, 1)
    return ImageFeatures(embedding=embedding, high_res_s4=embedding, high_res_s8=embedding)


@pytest.mark.parametrize(
    ("look", "others", "right"),
    [
        pytest.param(LOOK, [], True, id="it looks the same"),
        pytest.param(LOOK + 0.3 * WALL, [OTHER], True, id="in other light"),
        pytest.param(OTHER, [], True, id="somewhat like it, and nothing else is known"),
        pytest.param(OTHER, [OTHER], False, id="another known object"),
        pytest.param(WALL + 0.1 * LOOK, [], False, id="its surroundings"),
    ],
)
def test_what_is_found_has_to_look_like_the_object_more_than_like_anything_else(
    look: Tensor, others: list[Tensor], right: bool
) -> None:
    mask = disc(40, 8)
    bank = replace(known(1), identity=torch.stack([LOOK, LOOK, WALL])[None])
    found = prediction(low(mask), 9.0, 0.9)
    looks = torch.stack([LOOK, *others])
    wrong = is_wrong_match(ModelConfig(colour_search=0.6), bank, tokens(mask, look), found, looks)
    assert wrong.tolist() == [not right]


@pytest.mark.parametrize(("likeness", "right"), [(-1.0, True), (0.95, False)])
def test_what_is_found_elsewhere_has_to_look_as_what_was_prompted(likeness: float, right: bool) -> None:
    """However sure the network is, and however much it looks like what was seen recently."""
    mask = disc(40, 8)
    bank = replace(known(1), identity=torch.stack([LOOK, OTHER, WALL])[None])
    config = ModelConfig(colour_search=0.6, search_likeness=likeness)
    found = prediction(low(mask), 9.0, 0.9)
    wrong = is_wrong_match(config, bank, tokens(mask, OTHER), found, bank.appearance)
    assert wrong.tolist() == [not right]


@pytest.mark.parametrize("search", [0.6, 0.0])
def test_networks_without_colour_evidence_find_lost_objects_anywhere(
    search: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2, colour_search=search)
    tracker = PanoTracker(random_model(3, config=config).eval().requires_grad_(False))
    for pipeline in tracker._pipelines.values():
        sees_red(pipeline.model, monkeypatch)
    tracker.prompt(red_disc(0.3, 0.0, 0.2), 0, [Prompt(mask=spherical_disc(0.3, 0.0, 0.2))])
    for t in range(1, 9):
        tracker.step(np.zeros_like(red_disc(0.3, 0.0, 0.2)), t * 10**8)
    back = red_disc(-2.4, 0.5, 0.2)
    states = [tracker.step(back, t * 10**8).tracks[0].state for t in range(9, 40)]
    assert (TrackState.VISIBLE in states) == bool(search)


HIDDEN, BACK = 12, 10  # frames in another room, and then at most until it is found
SCENES, ENOUGH = 10, 8
ROOM = SceneConfig(
    width=448, height=224, frames=HIDDEN + BACK + 6, objects=(1, 1), camera_speed=0.0,
    size=(math.radians(25), math.radians(45)), object_speed=(0.0, 0.02), distractors=(1, 1),
    occlusion=0.0, look_alike=0.0, pole=0.0, seam=0.0,
)  # fmt: skip


def found_after_a_visit(seed: int) -> bool:
    """Whether an object is found after 1.2 s in another room, the camera then turned by a right angle."""
    library = AssetLibrary.shipped(Split.VAL)
    room, other = Scene(ROOM, library, seed), Scene(ROOM, library, 1000 + seed)
    tracker = PanoTracker(build_model("panosam2_nano"))
    box = mask_box(room.truth(0).labels == 1)
    assert box is not None
    (outcome,) = tracker.prompt(room.render(0).image, 0, [Prompt(box=box)])
    assert outcome.success
    for t in range(1, 5):
        tracker.step(room.render(t).image, t * 10**8)
    for t in range(5, 5 + HIDDEN):
        tracker.step(other.render(t).image, t * 10**8)
    for t in range(5 + HIDDEN, 5 + HIDDEN + BACK):
        image = np.roll(room.render(t).image, ROOM.width // 4, 1)
        truth = np.roll(room.truth(t).labels == 1, ROOM.width // 4, 1)
        mask = tracker.step(image, t * 10**8).labels == 1
        if (mask & truth).sum() >= 0.5 * (mask | truth).sum():
            return True
    return False


def test_the_shipped_network_finds_an_object_again_where_it_was_not() -> None:
    found = [found_after_a_visit(seed) for seed in range(SCENES)]
    print("found again:", found)
    assert sum(found) >= ENOUGH


def test_the_edges_of_a_cropped_panorama_are_no_poles() -> None:
    """Two parts at the upper edge: one through the pole of a sphere, two below a cropped one's edge."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:6, 2:10] = mask[:6, 34:42] = True
    bins, lost = colour_bins(painted(mask, RED, BLUE), 1, planar=False), known(1, 5)
    evidence = colour_evidence(bins, lost.colours)[0]
    whole, cropped = (rank_candidates(bins, evidence, lost.colours[0], 0.1, fov) for fov in (math.pi, 1.5))
    left, right = slice(0, 16), slice(32, 48)
    assert len(whole) == 1 and (whole[..., left] > 0).any() and (whole[..., right] > 0).any()
    assert len(cropped) == 2
    assert ((cropped[..., left] > 0).any((1, 2, 3)) != (cropped[..., right] > 0).any((1, 2, 3))).all()
