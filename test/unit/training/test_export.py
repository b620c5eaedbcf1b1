"""Weights of several stages are mixed, and training time is counted."""

from __future__ import annotations

import pytest
import torch

from panosam2_ros.model.build import random_model, reconfigured
from panosam2_ros.training.export import mix_weights, training_hours


def test_weights_of_several_stages_can_be_mixed() -> None:
    last, *others = reconfigured(random_model(1), {"mask_stride": 2}), random_model(2), random_model(3)
    (first, second), kept = (m.state_dict() for m in others), dict(last.state_dict())
    kept = {name: value.clone() for name, value in kept.items()}
    for name, value in mix_weights(last, list(zip(others, (0.25, 0.3), strict=True))).state_dict().items():
        wanted = kept[name].float()
        if name in first and value.is_floating_point():
            wanted = 0.45 * wanted + 0.25 * first[name] + 0.3 * second[name]
        assert torch.allclose(value.float(), wanted, atol=1e-6), name
    with pytest.raises(ValueError, match=r"add up to 0\.\.1, got \[0\.7, 0\.6\]"):
        mix_weights(last, list(zip(others, (0.7, 0.6), strict=True)))


def test_pauses_between_sessions_are_no_training_time() -> None:
    assert training_hours([{"time": t} for t in (0.0, 30.0, 4000.0, 4042.0)]) == pytest.approx(72 / 3600)
