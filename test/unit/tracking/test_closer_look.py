"""A closer look at what prompts found: when there is one, and that its mask is published and remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from helpers.tracker_inputs import live_batch, mask_prompt, picture
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking import closer_look, prompting
from panosam2_ros.tracking.tracker import PanoTracker

BOX = Prompt(box=(50, 30, 70, 50))
CLICK = Prompt(points=np.array([[60.0, 40.0]]), point_labels=np.array([1]))


def tracker(zoom: float) -> PanoTracker:
    config = ModelConfig(input_height=128, input_width=128, regions=True, prompt_zoom=zoom)
    return PanoTracker(random_model(3, config=config).eval().requires_grad_(False))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Let each pass over prompts find a square of so many pixels in the middle of its view; return them."""

    def finding(*sides: int) -> list[Any]:
        found: list[Any] = []
        real = prompting.segment_prompts

        def square(*args: Any, **options: Any) -> Any:
            result = real(*args, **options)
            side = sides[min(len(found), len(sides) - 1)]
            for logits in (result.fine_logits, result.mask_logits):
                middle = logits.shape[-1] // 2
                logits.fill_(-5.0)
                logits[..., middle - side : middle + side, middle - side : middle + side] = 5.0
            found.append(args[3])
            return result

        for module in (prompting, closer_look):
            monkeypatch.setattr(module, "segment_prompts", square)
        return found

    return finding


def test_a_zoomed_region_has_a_share_of_the_field_of_view_where_its_object_fits() -> None:
    region = SearchRegion.around(TargetExtent(lonlat_to_vector(3.1, 0.3), 0.3, 0.3))
    closer = region.zoomed(0.5)
    assert closer is not None and closer.fov == pytest.approx(0.5 * region.fov)
    assert np.array_equal(closer.axes, region.axes)
    assert region.zoomed(1.0) is None
    assert SearchRegion.around(TargetExtent(lonlat_to_vector(0, 0), 2.0, 2.0)).zoomed(0.5) is None


@pytest.mark.parametrize(("prompt", "zoom", "number"), [
    (BOX, 0.5, 2), (BOX, 1.0, 1),
    (CLICK, 0.5, 3), (CLICK, 1.0, 2),  # a click says nothing of the size: that is a pass of its own
    (mask_prompt(60, 40), 0.5, 1),
])  # fmt: skip
def test_what_was_not_given_as_a_mask_is_looked_at_from_closer(
    passes: Callable[..., list[Any]], prompt: Prompt, zoom: float, number: int
) -> None:
    found = passes(6)
    (outcome,) = tracker(zoom).prompt(picture(), 0, [prompt])
    assert outcome.success and len(found) == number
    if zoom < 1 and prompt.mask is None:  # the first mask is refined
        assert found[-1].decoder.has_mask.all() and (found[-1].decoder.mask_input > 0).any()


def test_corrections_are_outlined_from_closer_too(passes: Callable[..., list[Any]]) -> None:
    found, here = passes(6, 12, 6, 14), tracker(0.5)
    (first,) = here.prompt(picture(), 0, [BOX])
    assert first.track is not None and first.mask is not None
    click = Prompt(obj_id=first.track.obj_id, points=np.array([[60.0, 40.0]]), point_labels=np.array([0]))
    (second,) = here.prompt(picture(), 0, [click])
    assert len(found) == 4 and second.mask is not None
    assert second.mask.sum() > 1.1 * first.mask.sum()


def test_the_mask_from_closer_is_published_and_remembered(passes: Callable[..., list[Any]]) -> None:
    passes(6, 14)  # seen from closer the object is a little larger: 14 pixels there are 7 here
    closer = tracker(0.5)
    (outcome,) = closer.prompt(picture(), 0, [BOX])
    plain = tracker(1.0)
    passes(6)
    (before,) = plain.prompt(picture(), 0, [BOX])
    assert outcome.mask is not None and before.mask is not None
    assert 1.15 < outcome.mask.sum() / before.mask.sum() < 1.6
    remembered = live_batch(closer).bank.mask_logits > 0  # in the region, not in the closer one
    assert int(remembered.sum()) == pytest.approx(14**2, rel=0.15)


@pytest.mark.parametrize(("side", "counts"), [(5, False), (11, True)])
def test_a_closer_look_that_shows_something_else_does_not_count(
    passes: Callable[..., list[Any]], side: int, counts: bool
) -> None:
    passes(6)
    (plain,) = tracker(1.0).prompt(picture(), 0, [BOX])
    passes(6, side)
    (outcome,) = tracker(0.5).prompt(picture(), 0, [BOX])
    assert outcome.mask is not None and plain.mask is not None
    assert np.array_equal(outcome.mask, plain.mask) is not counts
