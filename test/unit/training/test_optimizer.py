"""Muon's updates have one size and find a minimum; averages follow the weights."""

from __future__ import annotations

import pytest
import torch
from torch.optim import AdamW

from panosam2_ros.model.build import random_model
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


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_trunk_is_learned_by_adamw_at_its_own_rate(kind: str) -> None:
    model = random_model(1)
    parameters = dict(model.named_parameters())
    trunk = {id(p) for name, p in parameters.items() if name.startswith("image_encoder.trunk.")}
    found = build_optimizers(model, kind, 0.02, trunk_rate=0.1)
    groups = [(type(optimizer), group) for optimizer in found for group in optimizer.param_groups]
    assert {id(p) for _, g in groups if g.get("share") == 0.1 for p in g["params"]} == trunk
    assert all(kind is AdamW for kind, group in groups if group.get("share") == 0.1)
    assert sorted(id(p) for _, g in groups for p in g["params"]) == sorted(id(p) for p in model.parameters())
    flat = [p for _, g in groups if g["weight_decay"] == 0 for p in g["params"]]
    assert all(p.dim() < 2 for p in flat if id(p) in trunk)


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
