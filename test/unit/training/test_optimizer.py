"""Muon's updates have one size and find a minimum; averages follow the weights."""

from __future__ import annotations

import pytest
import torch

from panosam2_ros.training.optimizer import build_average, build_optimizers, orthogonalise


def test_muon_makes_updates_of_one_size_and_finds_a_least_square() -> None:
    torch.manual_seed(0)
    both = torch.randn(2, 24, 60)
    torch.testing.assert_close(orthogonalise(both)[1], orthogonalise(both[1]))
    values = torch.linalg.svdvals(orthogonalise(torch.randn(24, 60)))
    assert values.min() > 0.5 and values.max() < 1.5
    layer, x = torch.nn.Conv2d(12, 16, 1), torch.randn(64, 12, 1, 1)
    wanted = torch.nn.Conv2d(12, 16, 1)(x).detach()
    muon, rest = build_optimizers(layer, "muon", 0.0)
    assert [p.dim() for g in muon.param_groups for p in g["params"]] == [4]
    for step in range(300):
        loss = (layer(x) - wanted).square().mean()
        if step == 0:
            before = loss.item()
        loss.backward()
        for optimizer in (muon, rest):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - step / 300)
            optimizer.step()
            optimizer.zero_grad()
    assert loss < 0.01 * before
    with pytest.raises(ValueError, match="muon or adamw"):
        build_optimizers(layer, "sgd", 0.0)


def test_the_average_follows_weights_and_buffers_and_copies_counters() -> None:
    layer = torch.nn.BatchNorm1d(3)
    average = build_average(layer, 0.9)
    expected = layer.weight.detach().clone()
    for update in range(1, 30):
        with torch.no_grad():
            layer.weight.normal_()
        layer(torch.randn(8, 3))
        average.update_parameters(layer)
        decay = min(0.9, update / (update + 10))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
        torch.testing.assert_close(average.module.weight.detach(), expected)
    assert average.module.num_batches_tracked == 29
    assert not torch.equal(average.module.running_mean, layer.running_mean)
    assert not average.module.training and not average.module.weight.requires_grad
