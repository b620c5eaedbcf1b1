"""MobileNetV2 as a trunk: its maps, and that folded batch norms change nothing."""

from __future__ import annotations

import torch

from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import fold_batch_norm
from panosam2_ros.model.mobile_trunk import MOBILE_CHANNELS, STEM_CHANNELS, MobileTrunk, NormedConv

CONFIG = ModelConfig(
    trunk="mobilenet_v2",
    trunk_channels=MOBILE_CHANNELS,
    regions=True,
    input_height=64,
    input_width=64,
    mask_stride=2,
)


def lively() -> MobileTrunk:
    """A trunk whose batch norms do something."""
    torch.manual_seed(0)
    trunk = MobileTrunk().eval()
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.7, 1.4)
    return trunk


@torch.inference_mode()
def test_maps_have_the_strides_that_networks_need() -> None:
    trunk, image = lively(), torch.randn(2, 3, 96, 64)
    stem, maps = trunk.stem(image), trunk(image)
    assert stem.shape == (2, STEM_CHANNELS, 48, 32)
    assert [x.shape for x in maps] == [
        (2, channels, 96 // stride, 64 // stride)
        for channels, stride in zip(MOBILE_CHANNELS, (4, 8, 16, 32), strict=True)
    ]
    assert trunk.channel_list == [320, 96, 32, 24]


@torch.inference_mode()
def test_folded_batch_norms_change_nothing() -> None:
    trunk, image = lively(), torch.randn(1, 3, 64, 64)
    before = trunk(image)
    fold_batch_norm(trunk)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in trunk.modules())
    for ours, theirs in zip(trunk(image), before, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
    for module in trunk.modules():
        if isinstance(module, NormedConv):
            module.fold()  # once more does no harm


@torch.inference_mode()
def test_a_network_of_this_trunk_has_masks_at_stride_2() -> None:
    model = random_model(0, config=CONFIG).eval()
    assert model.is_small and model.detail is not None
    features = model.encode_image(torch.zeros(1, 3, 64, 64))
    assert features.stem is not None and features.stem.shape == (1, STEM_CHANNELS, 32, 32)
    assert ModelConfig.from_json(CONFIG.to_json()) == CONFIG
