"""The measure of what a switch does is zero where nothing changes, and sees what does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from panosam2_ros.evaluation import switches
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2

RNG = np.random.default_rng(0)
FRAMES = [RNG.integers(0, 255, (64, 128, 3), np.uint8) for _ in range(2)]


@pytest.fixture
def seamless() -> PanoSAM2:
    config = replace(ModelConfig(), input_height=64, input_width=128)
    return random_model(0, config).eval().requires_grad_(False)


def test_a_seamless_network_does_not_mind_rolls_and_one_that_is_not_does(seamless: PanoSAM2) -> None:
    still = switches.track(seamless, FRAMES)
    assert still.shape == (2, 16, 32)
    rolled = switches.difference(switches.track(seamless, FRAMES, 96), still)
    assert rolled["mean"] < 1e-3 and rolled["iou"] > 0.99
    padded = switches.switched(seamless, {"wrap": False})
    found = switches.track(padded, FRAMES)
    assert switches.difference(found, still)["mean"] > 1e-3
    assert switches.difference(switches.track(padded, FRAMES, 96), found)["mean"] > 1e-3


def test_differences_are_in_standard_deviations() -> None:
    expected = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    found = expected + torch.tensor([[[0.0, 0.0], [0.0, 2.0]]])
    measured = switches.difference(found, expected)
    deviation = float(expected.std())
    assert measured["mean"] == pytest.approx(0.5 / deviation)
    assert measured["largest"] == pytest.approx(2 / deviation)
    assert measured["iou"] == pytest.approx(2 / 3)


def test_every_switch_is_measured(seamless: PanoSAM2, monkeypatch) -> None:
    monkeypatch.setattr(switches, "ROLLS", (32,))
    some = {"none (upstream)": {}, "wrap": {"wrap": False}}
    monkeypatch.setattr(switches, "SWITCHES", some)
    rows = switches.measure(seamless, FRAMES)
    assert rows["none (upstream)"]["against_upstream"] == {"mean": 0.0, "largest": 0.0, "iou": 1.0}
    assert rows["wrap"]["against_upstream"]["mean"] > 0
    assert all(row["under_rolls"].keys() == {"32"} for row in rows.values())
