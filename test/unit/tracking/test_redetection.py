"""Lost objects are looked for where their colours are; the network and their size say whether it is them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from helpers.coloured_shapes import BLUE, GREEN, HEIGHT, RED, WIDTH, disc, logits, painted
from panosam2_ros.geometry.equirect import mask_box
from panosam2_ros.memory.memory_bank import BankRules, MemoryBank
from panosam2_ros.model.build import build_model, random_model, reconfigured
from panosam2_ros.model.colour_histogram import BINS, colour_bins, colour_evidence, colour_histograms
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import DecoderPrompts, MaskPrediction
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig
from panosam2_ros.tracking.redetection import MAX_SEARCHED_PER_FRAME, is_wrong_match, redetect
from panosam2_ros.tracking.tracker import PanoTracker

GRID = (4, 8)  # tokens; masks are 32x64, as the colours of test_colour
CONFIG = ModelConfig(colour_evidence=1e-3, colour_search=0.6, mask_stride=2)


@dataclass
class Echo:
    """A decoder that takes every mask it is shown for the object, and is as sure as it is told.

    ``spread``: what it finds in the place of that, [1, 1, 16, 32].
    """

    score: float = 3.0
    iou: float = 0.9
    spread: Tensor | None = None
    config: ModelConfig = CONFIG
    centres: list[list[int]] = field(default_factory=list)

    def decode(
        self, embedding: Tensor, _: ImageFeatures, prompts: DecoderPrompts, centre: Tensor, __: Tensor
    ) -> MaskPrediction:
        assert len(embedding) == len(centre)
        self.centres.append(centre.tolist())
        mask = prompts.mask_input if self.spread is None else self.spread
        return prediction(mask, self.score, self.iou)


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
    bank = MemoryBank.empty(count, BankRules(4, 4, 2), 2, 4, GRID, torch.device("cpu"), colours=BINS)
    colours = colour_histograms(colour_bins(painted(disc(20), RED, BLUE), 1), logits(disc(20)))
    masks = low(disc(40, radius))
    return replace(
        bank,
        mask_logits=masks.expand(count, -1, -1, -1),
        colours=colours.expand(count, -1, -1),
    )


def searched(
    image: Tensor,
    bank: MemoryBank,
    model: Echo,
    before: MaskPrediction,
    vertical_fov: float = math.pi,
) -> tuple[MaskPrediction, Tensor]:
    bins = colour_bins(image, 1)
    maps = torch.zeros(1, 2, *GRID)
    features = ImageFeatures(maps, maps, maps, bins=bins)
    evidence = colour_evidence(bins, bank.colours)
    conditioned = maps.expand(len(bank), -1, -1, -1)
    scores = before.object_score_logits
    return redetect(model, bank, features, conditioned, evidence, before, scores, vertical_fov)  # type: ignore[arg-type]


def absent(count: int) -> MaskPrediction:
    return prediction(torch.full((count, 1, 16, 32), -2.0), -4.0)


@pytest.mark.parametrize("column", [0, 20, 63])
def test_it_is_found_where_its_colours_are_and_others_stay_as_they_were(column: int) -> None:
    image = painted(disc(column), RED, BLUE)
    before = absent(2)
    before.mask_logits[1, 0, 2:6, 3:9] = 5.0  # the second is in sight
    seen = replace(before, object_score_logits=torch.tensor([-4.0, 2.0]))
    model = Echo()
    after, scores = searched(image, known(2), model, seen)
    truth = torch.from_numpy(disc(column))
    found = after.fine_logits[0, 0] > 0
    assert float((found & truth).sum() / (found | truth).sum()) > 0.7
    assert model.centres == [[column // 8]]
    assert scores.tolist() == [3.0, 2.0]
    for item in fields(MaskPrediction):
        assert torch.equal(getattr(after, item.name)[1], getattr(seen, item.name)[1]), item.name


@pytest.mark.parametrize(
    ("image", "model", "radius"),
    [
        pytest.param(painted(disc(20), RED, BLUE), Echo(score=-0.1), 6, id="the network says no"),
        pytest.param(painted(disc(20), RED, BLUE), Echo(iou=0.3), 6, id="a doubtful mask"),
        pytest.param(painted(disc(20), GREEN, BLUE), Echo(), 6, id="nothing of its colours"),
        pytest.param(painted(disc(20, 3), RED, GREEN), Echo(spread=low(disc(20))), 6, id="other colours too"),
        pytest.param(painted(disc(20, 15), RED, BLUE), Echo(), 4, id="far too large"),
        pytest.param(painted(disc(20, 4), RED, BLUE), Echo(), 15, id="far too small"),
    ],
)
def test_it_is_not_found(image: Tensor, model: Echo, radius: int) -> None:
    before = absent(1)
    after, scores = searched(image, known(1, radius), model, before)
    assert scores.tolist() == [-4.0] and torch.equal(after.fine_logits, before.fine_logits)


def test_what_belongs_to_another_object_in_sight_is_not_taken() -> None:
    image = painted(disc(20) | disc(50, 4), RED, BLUE)
    other = prediction(low(disc(20)), 2.0)
    both = [torch.cat([getattr(x, f.name) for x in (absent(1), other)]) for f in fields(MaskPrediction)]
    after, scores = searched(image, known(2), Echo(), MaskPrediction(*both))
    found, small = after.fine_logits[0, 0] > 0, torch.from_numpy(disc(50, 4))
    assert scores.tolist() == [3.0, 2.0]
    assert float((found & small).sum() / (found | small).sum()) > 0.6
    _, scores = searched(painted(disc(20), RED, BLUE), known(2), Echo(), MaskPrediction(*both))
    assert scores.tolist() == [-4.0, 2.0]


def test_what_spreads_onto_another_object_in_sight_is_not_taken() -> None:
    """Where it begins beside the other's mask, which misses a part of that object."""
    image = painted(disc(20), RED, BLUE)
    part = disc(20)
    part[:, :18] = False
    both = prediction(torch.cat([torch.full((1, 1, 16, 32), -2.0), low(part)]), 2.0)
    both = replace(both, object_score_logits=torch.tensor([-4.0, 2.0]))
    assert searched(image, known(2), Echo(), both)[1].tolist() == [3.0, 2.0]
    assert searched(image, known(2), Echo(spread=low(disc(20))), both)[1].tolist() == [-4.0, 2.0]


def test_what_is_in_sight_or_of_unknown_colours_is_not_looked_for() -> None:
    model, image = Echo(), painted(disc(20), RED, BLUE)
    searched(image, known(1), model, prediction(torch.ones(1, 1, 16, 32), 2.0))
    unknown = replace(known(1), colours=torch.zeros(1, 2, BINS))
    searched(image, unknown, model, absent(1))
    assert not model.centres


def test_of_many_lost_objects_some_are_looked_for_in_every_image_and_all_in_turn() -> None:
    count, image = 3 * MAX_SEARCHED_PER_FRAME - 1, painted(disc(20), RED, BLUE)
    found = torch.zeros(count, dtype=torch.bool)
    for frame in range(3):
        bank = replace(known(count), frame=torch.full((count,), frame))
        scores = searched(image, bank, Echo(), absent(count))[1]
        assert int((scores > 0).sum()) == MAX_SEARCHED_PER_FRAME
        found |= scores > 0
    assert found.all()


@pytest.mark.parametrize(
    ("score", "iou", "radius", "before", "colour", "right"),
    [
        pytest.param(3.0, 0.9, 6, 6, RED, True, id="it is it"),
        pytest.param(3.0, 0.9, 6, 40, RED, True, id="its last mask had run over"),
        pytest.param(-0.1, 0.9, 6, 6, RED, False, id="not present"),
        pytest.param(3.0, 0.3, 6, 6, RED, False, id="a doubtful mask"),
        pytest.param(3.0, 0.9, 6, 6, GREEN, False, id="another colour"),
        pytest.param(3.0, 0.9, 100, 6, RED, False, id="far too large"),
        pytest.param(3.0, 0.9, 1, 6, RED, False, id="a speck"),
    ],
)
def test_what_is_found_in_a_region_elsewhere_has_to_be_like_the_object(
    score: float, iou: float, radius: int, before: int, colour: tuple[int, int, int], right: bool
) -> None:
    mask = disc(40, radius)
    found = prediction(low(mask), score, iou)
    bins = colour_bins(painted(mask, colour, BLUE), 1)
    wrong = is_wrong_match(found.object_score_logits, known(1, before), found, bins, 0.6)
    assert wrong.tolist() == [not right]


def test_the_tracker_looks_for_what_its_network_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    model = reconfigured(random_model(3), {"colour_evidence": 1e-3, "colour_search": 0.6})
    model.set_input_size(64, 128)
    decode, shown = model.decode, []

    def sees_nothing_at_first(*args: Any) -> MaskPrediction:
        shown.append(args[2])
        found = decode(*args)
        if len(shown) < 2:
            return replace(found, object_score_logits=torch.full((1,), -4.0))
        return replace(
            found,
            object_score_logits=torch.full((1,), 3.0),
            mask_iou=torch.full((1,), 0.9),
            mask_logits=shown[1].mask_input,
            fine_logits=F.interpolate(shown[1].mask_input, found.fine_logits.shape[-2:]),
        )

    def picture(column: int) -> NDArray[np.uint8]:
        image = painted(disc(column, 20, (64, 128)), RED, BLUE)[0].permute(1, 2, 0)
        return image.numpy().astype(np.uint8)

    tracker = PanoTracker(model)
    tracker.prompt(picture(40), 0, [Prompt(mask=disc(40, 20, (64, 128)))])
    monkeypatch.setattr(model, "decode", sees_nothing_at_first)
    truth = disc(100, 20, (64, 128))
    mask = tracker.step(picture(100), 10**8).labels == 1
    assert (mask & truth).sum() > 0.6 * (mask | truth).sum()
    assert len(shown) == 2


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
    image, before = painted(mask, RED, BLUE), absent(1)
    whole, _ = searched(image, known(1, 5), Echo(), before)
    cropped, _ = searched(image, known(1, 5), Echo(), before, vertical_fov=1.5)
    left, right = slice(0, 16), slice(32, 48)
    assert (whole.fine_logits[..., left] > 0).any() and (whole.fine_logits[..., right] > 0).any()
    assert (cropped.fine_logits[..., left] > 0).any() != (cropped.fine_logits[..., right] > 0).any()
