"""Limits of prompts, and text from outside in messages."""

from __future__ import annotations

import numpy as np
import pytest

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.printable import listed, printable
from panosam2_ros.prompts.limits import MAX_LABEL_LENGTH, MAX_POINTS, PromptLimits
from panosam2_ros.prompts.prompt import Prompt, PromptError
from panosam2_ros.prompts.validation import check_prompt

GRID = Equirect(128, 64)


@pytest.mark.faults
def test_what_is_too_long_is_refused() -> None:
    """By a user's limits, and by those of the tracker, which hold without ROS too."""
    limits = PromptLimits(points=2, label=3)
    limits.check(label="mug", points=2)
    with pytest.raises(PromptError, match="at most 3 characters, got 4: shorten it"):
        limits.check(label="mugs", points=0)
    with pytest.raises(PromptError, match="at most 2 points and directions, got 3: give fewer"):
        limits.check(label="", points=3)
    for count, label in ((MAX_POINTS + 1, ""), (1, "x" * (MAX_LABEL_LENGTH + 1))):
        prompt = Prompt(label=label, points=np.ones((count, 2)), point_labels=np.ones(count, np.int64))
        with pytest.raises(PromptError, match="has at most 1000"):
            check_prompt(prompt, GRID, corrects=False)


def test_points_outside_are_named_but_not_all_of_them() -> None:
    points = np.full((900, 2), 500.0)
    points[7] = (3.0, 4.0)
    prompt = Prompt(points=points, point_labels=np.ones(900, np.int64))
    with pytest.raises(PromptError, match=r"got \[\[500.0, 500.0\], .* and 896 more\]") as refused:
        check_prompt(prompt, GRID, corrects=False)
    assert len(str(refused.value)) < 200


@pytest.mark.faults
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mug", "mug"),
        ("Bär 1", "Bär 1"),
        ("a\nb\x1b[2J\0", "a\\nb\\x1b[2J\\x00"),
        ("\u202emug\ud800", "\\u202emug\\ud800"),
        ("x" * 12, "x" * 10 + "... (12 characters)"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text, most=10) == shown and shown.isprintable()


def test_long_lists_are_cut() -> None:
    assert listed([1, 2], most=2) == "[1, 2]" and listed([1, 2, 3], most=2) == "[1, 2 and 1 more]"
