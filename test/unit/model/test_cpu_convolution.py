"""Convolutions by oneDNN: what they compute is what torch computes, whatever happens to their weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from panosam2_ros.model import cpu_convolution
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.cpu_convolution import PackedConv2d, pack_convolutions, pointwise
from panosam2_ros.model.image_encoder import WrapConv2d, pad_convolutions

SHAPES = [
    pytest.param({"kernel_size": 1}, id="1x1"),
    pytest.param({"kernel_size": 3, "padding": 1, "stride": 2, "bias": False}, id="3x3"),
    pytest.param({"kernel_size": 3, "padding": 1, "groups": 8}, id="each channel"),
    pytest.param({"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2}, id="dilated"),
]


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[PackedConv2d]:
    """The convolutions that packed weights, one entry each time."""
    done: list[PackedConv2d] = []
    pack = PackedConv2d._weight_for

    def noted(self: PackedConv2d, x: Tensor) -> Tensor:
        before = len(self._packed), list(self._packed)
        weight = pack(self, x)
        done.extend([self] * (before != (len(self._packed), list(self._packed))))
        return weight

    monkeypatch.setattr(PackedConv2d, "_weight_for", noted)
    return done


def pair(**settings: Any) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A convolution of 8 channels, and the same one in a module that was packed."""
    torch.manual_seed(2)
    plain = nn.Conv2d(8, 16, **settings).requires_grad_(False)
    holder = nn.Sequential(copy.deepcopy(plain))
    pack_convolutions(holder)
    packed = holder[0]
    assert isinstance(packed, PackedConv2d)
    return plain, packed


def maps(height: int = 6, *, count: int = 2, last: bool = True) -> Tensor:
    x = torch.randn(count, 8, height, 10, generator=torch.Generator().manual_seed(height + count))
    return x.contiguous(memory_format=torch.channels_last) if last else x


@torch.inference_mode()
@pytest.mark.parametrize("settings", SHAPES)
def test_the_answers_are_those_of_torch(settings: dict[str, Any], packs: list[PackedConv2d]) -> None:
    plain, packed = pair(**settings)
    for x in (maps(), maps(count=5), maps(12), maps(last=False), maps(count=0)):
        assert torch.allclose(packed(x), plain(x), atol=1e-5)
        assert packed(x).shape == plain(x).shape
    assert len(packs) == 2  # one for each size of the maps, not for each number of them


@torch.inference_mode()
def test_kept_weights_are_bounded() -> None:
    plain, packed = pair(kernel_size=1)
    for height in range(2, 9):
        assert torch.allclose(packed(maps(height)), plain(maps(height)), atol=1e-5)
    assert isinstance(packed, PackedConv2d) and len(packed._packed) == 2


@pytest.mark.parametrize("change", ["in place", "another tensor"])
def test_weights_that_change_are_packed_anew(change: str) -> None:
    plain, packed = pair(kernel_size=1)
    with torch.no_grad():
        before = packed(maps())
        if change == "in place":
            packed.weight.mul_(2)
        else:
            packed.weight = nn.Parameter(2 * packed.weight, requires_grad=False)
        plain.weight.mul_(2)
        assert torch.allclose(packed(maps()), plain(maps()), atol=1e-5)
        assert not torch.allclose(packed(maps()), before, atol=1e-2)


@torch.inference_mode()
def test_copies_share_weights_and_pack_their_own() -> None:
    plain, packed = pair(kernel_size=1)
    packed(maps())
    other = copy.deepcopy(packed, {id(packed.weight): packed.weight})
    assert other.weight is packed.weight and not other._packed
    assert torch.allclose(other(maps()), plain(maps()), atol=1e-5)


@pytest.mark.parametrize("wanted", ["gradients", "bfloat16", "autocast", "no oneDNN"])
def test_torch_computes_what_onednn_is_not_for(
    wanted: str, packs: list[PackedConv2d], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, packed = pair(kernel_size=1)
    x, compute = maps(), (lambda conv: conv(x))
    modes: list[Callable[[], Any]] = [torch.no_grad]
    if wanted == "gradients":
        modes = [torch.enable_grad]
        packed.requires_grad_(True)
    elif wanted == "bfloat16":
        x = x.bfloat16()
        plain, packed = plain.bfloat16(), packed.bfloat16()
    elif wanted == "autocast":
        modes.append(lambda: torch.autocast("cpu", torch.bfloat16))
    else:
        monkeypatch.setattr(cpu_convolution, "_HAS_ONEDNN", False)
    with modes[0](), modes[-1]():
        assert torch.equal(compute(packed), compute(plain)) and not packs
    if wanted == "gradients":
        packed(x).sum().backward()
        assert packed.weight.grad is not None


@torch.inference_mode()
def test_two_convolutions_that_became_one_are_computed_alike() -> None:
    weight, bias = torch.randn(4, 8, 1, 1), torch.randn(4)
    for x in (maps(), maps(last=False)):
        assert torch.allclose(pointwise(x, weight, bias), torch.conv2d(x, weight, bias), atol=1e-5)


def test_packed_convolutions_become_periodic_where_panoramas_are_seen() -> None:
    _, packed = pair(kernel_size=3, padding=1)
    holder = nn.Sequential(packed)
    pad_convolutions(holder, wrap=True)
    assert type(holder[0]) is WrapConv2d and holder[0].weight is packed.weight


def test_the_shipped_network_is_packed_and_the_one_in_training_is_not() -> None:
    shipped = build_model("panosam2_mobile", device="cpu")
    inside = [m for m in shipped.image_encoder.trunk.modules() if isinstance(m, nn.Conv2d)]
    assert inside and all(isinstance(conv, PackedConv2d) for conv in inside)
    trained = random_model(0, config=ModelConfig(input_height=64, input_width=64, regions=True))
    assert not any(isinstance(module, PackedConv2d) for module in trained.modules())
