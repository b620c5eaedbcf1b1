"""Which prompts of a request take effect: each refusal has its reason and its status."""

from __future__ import annotations

import numpy as np
import pytest

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.memory.memory_header import MAX_OBJ_ID
from panosam2_ros.prompts.prompt import Prompt, PromptError, PromptStatus
from panosam2_ros.prompts.validation import KnownIds, check_prompt, validate_prompts

GRID = Equirect(640, 322)


def points(*uv: tuple[float, float], labels: tuple[int, ...] = (1,)) -> Prompt:
    return Prompt(points=np.array(uv, float).reshape(-1, 2), point_labels=np.array(labels))


MASK = np.zeros((322, 640), bool)
MASK[100:150, 630:] = True

BAD = [
    (Prompt(), "empty"),
    (points((640, 5)), "must lie in the image"),
    (points((5, -1)), "must lie in the image"),
    (points((np.nan, 5)), "must lie in the image"),
    (points((5, 5), labels=(1, 0)), "a label each"),
    (points((5, 5), labels=(2,)), "1 .object. or 0"),
    (points((5, 5), (5.2, 5), labels=(1, 0)), "both object and background"),
    (points((5, 5), labels=(0,)), "at least one point"),
    (Prompt(box=(10, 10, 20, 10)), "no area"),
    (Prompt(box=(10, 10, 700, 20)), "must lie in the image"),
    (Prompt(box=(10, float("nan"), 20, 20)), "must lie in the image"),
    (Prompt(mask=np.ones((322, 600), bool)), "640x322, got 600x322"),
    (Prompt(mask=np.zeros((322, 640), bool)), "mask is empty"),
    (Prompt(mask=MASK, box=(1, 1, 5, 5)), "cannot be combined"),
]


@pytest.mark.parametrize(("prompt", "reason"), BAD)
def test_bad_prompts_are_refused_with_the_reason(prompt: Prompt, reason: str) -> None:
    with pytest.raises(PromptError, match=reason) as error:
        check_prompt(prompt, GRID, corrects=False)
    assert error.value.status is PromptStatus.INVALID


def test_good_prompts_pass() -> None:
    for prompt in (points((5, 5)), Prompt(box=(630, 10, 20, 60)), Prompt(mask=MASK)):
        check_prompt(prompt, GRID, corrects=False)
    check_prompt(points((5, 5), labels=(0,)), GRID, corrects=True)


def known(next_id: int = 9, max_objects: int = 8) -> KnownIds:
    return KnownIds(frozenset({1, 2, 3}), frozenset({3, 4}), next_id, max_objects)


def test_new_objects_and_corrections_are_told_apart() -> None:
    click = points((5, 5)).points, points((5, 5)).point_labels
    replaced = Prompt(obj_id=2, points=click[0], point_labels=click[1], replace=True)
    found = validate_prompts([points((5, 5)), Prompt(obj_id=1, box=(1, 1, 9, 9)), replaced], GRID, known())
    assert (found.new, found.corrections, found.refused) == ([0, 2], [1], {})


@pytest.mark.parametrize(
    ("prompt", "status", "reason"),
    [
        (Prompt(obj_id=7, box=(1, 1, 9, 9)), PromptStatus.UNKNOWN_OBJECT, "known are .1, 2, 3, 4."),
        (Prompt(obj_id=3, box=(1, 1, 9, 9)), PromptStatus.BUSY, "call again"),
        (Prompt(obj_id=1), PromptStatus.INVALID, "empty"),
    ],
)
def test_a_refusal_has_a_status(prompt: Prompt, status: PromptStatus, reason: str) -> None:
    found = validate_prompts([prompt, Prompt(box=(1, 1, 9, 9))], GRID, known())
    assert found.new == [1] and list(found.refused) == [0]
    assert found.refused[0].status is status
    with pytest.raises(PromptError, match=reason):
        raise found.refused[0]


def test_one_object_prompted_twice_in_a_request_is_refused_the_second_time() -> None:
    twice = [Prompt(obj_id=1, box=(1, 1, 9, 9))] * 2
    found = validate_prompts(twice, GRID, known())
    assert found.corrections == [0] and found.refused[1].status is PromptStatus.INVALID


@pytest.mark.parametrize("limited", [known(max_objects=5), known(next_id=MAX_OBJ_ID)])
def test_there_is_room_for_one_object_more(limited: KnownIds) -> None:
    found = validate_prompts([Prompt(box=(1, 1, 9, 9))] * 3, GRID, limited)
    assert found.new == [0] and set(found.refused) == {1, 2}
    assert {error.status for error in found.refused.values()} == {PromptStatus.LIMIT_REACHED}
