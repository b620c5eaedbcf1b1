"""Boxes of one image: what can be used, what is wanted, and halves at the seam."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.fuzzing import examples
from panosam2_ros.detections.boxes import (
    MOST_BOXES,
    DetectedBoxes,
    Wanted,
    best,
    centred_edges,
    clipped,
    ends_at_border,
    joined_at_seam,
    usable,
)

WIDTH, HEIGHT = 1000, 500
anything = st.floats(allow_nan=True, allow_infinity=True)


def boxes(
    *edges: tuple[float, float, float, float], classes: str = "", scores: tuple[float, ...] = ()
) -> DetectedBoxes:
    """Return boxes of classes of one letter each; scores fall from 0.9 where none are given."""
    count = len(edges)
    ranked = scores or tuple(0.9 - 0.01 * i for i in range(count))
    names = tuple(classes or "a" * count)
    return DetectedBoxes(np.array(edges, float).reshape(-1, 4), np.array(ranked, float), names)


def test_rotated_boxes_become_the_upright_ones_round_them() -> None:
    centres, sizes = np.array([[50.0, 40.0]] * 3), np.array([[20.0, 10.0]] * 3)
    found = centred_edges(centres, sizes, np.array([0, math.pi / 2, math.pi / 4]))
    assert found[0].tolist() == [40, 35, 60, 45]
    assert found[1] == pytest.approx([45, 30, 55, 50])
    half = 15 / math.sqrt(2)
    assert found[2] == pytest.approx([50 - half, 40 - half, 50 + half, 40 + half])


@pytest.mark.parametrize(
    ("edges", "good"),
    [
        ((10, 10, 30, 40), True),
        ((-20, 10, 30, 40), True),  # goes on across the seam
        ((980, 10, 1040, 40), True),
        ((10, -5, 30, 505), True),
        ((10, 10, 11, 40), False),  # a pixel wide
        ((30, 10, 10, 40), False),
        ((10, 10, 30, math.nan), False),
        ((-math.inf, 10, math.inf, 40), False),
        ((10, 510, 30, 540), False),  # below the image
        ((1e9, 10, 2e9, 40), False),
        ((1100, 10, 1200, 40), False),
    ],
)
def test_boxes_that_are_none_are_told_apart(edges: tuple[float, ...], good: bool) -> None:
    assert usable(boxes(edges), WIDTH, HEIGHT).tolist() == [good]  # type: ignore[arg-type]


def test_scores_that_are_no_numbers_are_told_apart() -> None:
    found = usable(boxes((10, 10, 30, 40), (10, 10, 30, 40), scores=(math.nan, 0.5)), WIDTH, HEIGHT)
    assert found.tolist() == [False, True]


@examples(100)
@given(st.lists(st.tuples(anything, anything, anything, anything), max_size=8), st.booleans())
def test_any_usable_box_is_cut_to_one_in_the_image(rows: list[tuple[float, ...]], wraps: bool) -> None:
    given_boxes = boxes(*rows)  # type: ignore[arg-type]
    kept = given_boxes.of(np.flatnonzero(usable(given_boxes, WIDTH, HEIGHT)))
    cut = clipped(kept, WIDTH, HEIGHT, wraps=wraps)
    assert np.isfinite(cut.edges).all() and (cut.sizes > 0).all() and (cut.sizes <= (WIDTH, HEIGHT)).all()
    assert (cut.edges[:, 1] >= -0.5).all() and (cut.edges[:, 3] <= HEIGHT - 0.5).all()
    middle = cut.edges[:, ::2].mean(1)
    assert ((middle >= -0.5) & (middle < WIDTH - 0.5)).all()


def test_only_what_is_wanted_is_kept_best_first() -> None:
    given_boxes = boxes(*[(10, 10, 30, 40)] * 4, classes="abca", scores=(0.6, 0.9, 0.95, 0.7))
    assert best(given_boxes, Wanted(0.65)).classes == ("c", "b", "a")
    assert best(given_boxes, Wanted(0.0, frozenset("a"))).scores.tolist() == [0.7, 0.6]
    assert len(
        best(boxes(*[(10, 10, 30, 40)] * (MOST_BOXES + 20), scores=(0.5,) * (MOST_BOXES + 20)), Wanted())
    ) == (MOST_BOXES)


def test_halves_of_a_thing_on_the_seam_are_joined() -> None:
    found = joined_at_seam(boxes((-0.5, 100, 40, 200), (300, 0, 400, 90), (950, 105, 999, 210)), WIDTH)
    assert found.edges.tolist() == [[950, 100, 1040, 210], [300, 0, 400, 90]]
    assert found.scores.tolist() == [0.9, 0.89]


def test_large_things_may_miss_the_seam_by_more_pixels() -> None:
    """A detector's error grows with its box."""
    for wide, high in ((40, 100), (250, 400)):
        left, right = (0.06 * wide, 50, wide, 50 + high), (999 - wide, 52, 999 - 0.06 * wide, 50 + high)
        assert len(joined_at_seam(boxes(left, right), WIDTH)) == 1


@pytest.mark.parametrize(
    "right",
    [
        ((950, 300, 999, 400), "aa"),  # in other rows
        ((950, 105, 999, 210), "ab"),  # of another class
        ((900, 105, 960, 210), "aa"),  # ends before the last column
    ],
)
def test_what_is_not_the_other_half_is_not_joined(right: tuple[tuple[float, ...], str]) -> None:
    edges, classes = right
    found = joined_at_seam(boxes((-0.5, 100, 40, 200), edges, classes=classes), WIDTH)  # type: ignore[arg-type]
    assert len(found) == 2


def test_each_half_is_joined_once_with_the_best_fit() -> None:
    left, first, second = (-0.5, 100, 40, 200), (950, 140, 999, 240), (940, 100, 999, 200)
    found = joined_at_seam(boxes(left, first, second), WIDTH)
    assert sorted(found.edges.tolist()) == [[940, 100, 1040, 200], [950, 140, 999, 240]]


def test_boxes_at_a_border_of_their_image_are_told() -> None:
    found = ends_at_border(boxes((0, 10, 30, 40), (50, 50, 90, 90), (50, 450, 90, 498)), WIDTH, HEIGHT)
    assert found.tolist() == [True, False, True]
