"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import pytest

from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig


@pytest.fixture(scope="module")
def model():
    """Return a small network with random weights."""
    network = random_model(1, config=ModelConfig(input_height=64, input_width=128))
    return network.eval().requires_grad_(False)
