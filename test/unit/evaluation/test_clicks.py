"""What clicks gain is measured where a mask misses a part of its object, or has one too much."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers.fake_videos import FakeVideo, moving
from panosam2_ros.evaluation import clicks
from panosam2_ros.evaluation.clicks import click_gains
from panosam2_ros.model.build import random_model
from panosam2_ros.prompts.prompt import Prompt


def answers(*masks: np.ndarray):
    """A network that answers the first prompt and its correction with these masks, and what it is asked."""
    asked: list[list[Prompt]] = []

    def found(model, image, prompts):
        asked.append(list(prompts))
        return list(masks[: len(prompts)])

    return found, asked


@pytest.mark.parametrize("name", ["missed", "too_much"])
def test_a_click_goes_to_the_largest_mistake(name: str, monkeypatch) -> None:
    video = FakeVideo(moving(1, 0), {1: 0})
    truth = video.prompt_mask(1)
    mistake = truth.copy()
    rows, columns = np.nonzero(truth)
    if name == "missed":
        mistake[rows.min() : rows.min() + 6] = False
    else:
        mistake[rows.min() - 6 : rows.min(), columns.min() : columns.max() + 1] = True
    found, asked = answers(mistake, truth)
    monkeypatch.setattr(clicks, "_masks", found)
    (measured,) = click_gains(random_model(0), video, "box")
    assert set(measured) == {"first", name}
    assert measured["first"] + measured[name] == pytest.approx(1.0) and measured["first"] < 0.9
    (u, v), label = asked[1][1].points[0].astype(int), asked[1][1].point_labels[0]
    assert (mistake != truth)[v, u] and label == (1 if name == "missed" else 0)


def test_what_is_right_is_not_clicked(monkeypatch) -> None:
    video = FakeVideo(moving(1, 0), {1: 0})
    found, asked = answers(video.prompt_mask(1))
    monkeypatch.setattr(clicks, "_masks", found)
    assert list(click_gains(random_model(0), video, "click")) == [{"first": 1.0}]
    assert len(asked) == 1


def test_the_command_prints_the_gains(capsys) -> None:
    clicks.main(["--dataset", "staged:front", "--sequences", "1"])
    found = json.loads(capsys.readouterr().out)
    assert {"machine", "versions", "gain_of_click_on_missed_part", "gain_of_click_beside_object"} <= set(
        found
    )
    assert found["gain_of_click_beside_object"]["number"] >= 0
    first = found["first_mask_iou"]
    assert first["number"] == 2 and first["ci95"][0] <= first["mean"] <= first["ci95"][1]
    assert first["mean"] > 0.3
