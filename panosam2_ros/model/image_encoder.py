"""The image encoder: a small convolutional trunk under SAM2's feature pyramid, seamless.

``wrap_convolutions`` is what makes any convolutional part periodic over longitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleAttention, do_pool
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from panosam2_ros.geometry.circular import cached_constant, wrap_pad
from panosam2_ros.model.attention import attention
from panosam2_ros.model.config import ModelConfig

# ImageNet statistics, as SAM2 normalises its input.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class ImageFeatures:
    """What the image encoder knows of B images."""

    embedding: Tensor  # [B, C, h, w], stride 16
    high_res_s4: Tensor  # [B, C / 8, 4h, 4w], ready for the mask decoder
    high_res_s8: Tensor  # [B, C / 4, 2h, 2w]
    stem: Tensor | None = None  # [B, C_stem, 8h, 8w], where masks are made at stride 2
    bins: Tensor | None = None  # [B, H', W'] int64, colours of mask pixels where they are evidence


class WrapConv2d(nn.Conv2d):
    """A convolution whose horizontal padding comes from the other side of the seam."""

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W]
        vertical, horizontal = (int(p) for p in self.padding)
        x = wrap_pad(x, horizontal, horizontal, 0, 0)
        padding = (vertical, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def wrap_convolutions(module: nn.Module) -> nn.Module:
    """Make every padded convolution inside ``module`` periodic over longitude, in place.

    Names and parameters stay, so weights of the zero-padded part load.
    """
    for child in module.modules():
        if type(child) is nn.Conv2d and child.padding != (0, 0):
            child.__class__ = WrapConv2d
    return module


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W]
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


def _downsample(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class ConvTrunk(nn.Module):
    """Four stages at strides 4, 8, 16 and 32; the interface of SAM2's Hiera trunk."""

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.channel_list = list(reversed(channels))
        self.stem = _downsample(3, channels[0])
        self.stages = nn.ModuleList(
            nn.Sequential(_downsample(inputs, outputs), *(ConvBlock(outputs) for _ in range(count)))
            for (inputs, outputs), count in zip(pairwise((channels[0], *channels)), blocks, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [B, 3, H, W] -> maps at strides 4, 8, 16, 32."""
        return self.from_stem(self.stem(x))

    def from_stem(self, x: Tensor) -> list[Tensor]:
        """What ``forward`` gives, from the stem's map at stride 2."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def fold_batch_norm(trunk: nn.Module) -> None:
    """Merge every batch norm of a trunk in evaluation mode into the convolution before it."""
    for block in trunk.modules():
        if isinstance(block, ConvBlock):
            assert isinstance(block.norm1, nn.BatchNorm2d) and isinstance(block.norm2, nn.BatchNorm2d)
            block.conv1 = fuse_conv_bn_eval(block.conv1, block.norm1)
            block.conv2 = fuse_conv_bn_eval(block.conv2, block.norm2)
            block.norm1 = block.norm2 = nn.Identity()
        elif isinstance(block, nn.Sequential) and isinstance(block[1], nn.BatchNorm2d):
            conv = block[0]
            assert isinstance(conv, nn.Conv2d)
            block[0], block[1] = fuse_conv_bn_eval(conv, block[1]), nn.Identity()


class LatitudeEncoding(nn.Module):
    """A sine code of latitude alone, in the place of SAM2's code of row and column.

    Longitude has no origin on a sphere: it enters memory attention only as rotary angles.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Codes [N, channels, h, w] for maps of x's size; row r is at latitude pi (1/2 - (r + 1/2)/h)."""
        height, width = x.shape[-2:]
        lat = ((torch.arange(height, device=x.device) + 0.5) / height - 0.5) * math.pi
        waves = torch.arange(1, self.channels // 2 + 1, device=x.device)
        # Waves above one per two rows could not be told from lower ones.
        angles = lat * waves[:, None].clamp(max=16)
        code = torch.cat([angles.sin(), angles.cos()])
        return code[None, :, :, None].expand(x.shape[0], -1, -1, width)


class SineEncoding(PositionEmbeddingSine):
    """SAM2's code of row and column, callable while tracking and while training."""

    def forward(self, x: Tensor) -> Tensor:
        """Codes [N, channels, h, w] for maps of x's size."""
        with torch.inference_mode(False):  # upstream keeps what it made
            code: Tensor = super().forward(x)
        return code


class HieraAttention(MultiScaleAttention):
    """Hiera's attention, by the quickest way there is on the device."""

    def forward(self, x: Tensor) -> Tensor:  # [B, H, W, C]
        batch, height, width, _ = x.shape
        q, k, v = self.qkv(x).unflatten(-1, (3, -1)).unbind(-2)  # [B, H, W, C']
        if self.q_pool is not None:
            q = do_pool(q, self.q_pool)
            height, width = q.shape[1:3]
        parts = (y.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for y in (q, k, v))
        y = attention(*parts)
        return self.proj(y.transpose(1, 2).reshape(batch, height, width, -1))


class SteadyHiera(Hiera):
    """Hiera that interpolates its map of positions once, not for every image, while tracking."""

    _positions: tuple[tuple[object, ...], Tensor] | None = None

    def _get_pos_embed(self, hw: tuple[int, int]) -> Tensor:
        unsteady = torch.is_grad_enabled() or torch.compiler.is_compiling() or self.pos_embed.is_inference()
        if unsteady:  # weights that learn, code that is traced, tensors that do not count their changes
            return super()._get_pos_embed(hw)
        parameters = (self.pos_embed, self.pos_embed_window)
        key = (tuple(hw), *((p.data_ptr(), p._version) for p in parameters))
        if self._positions is None or self._positions[0] != key:
            self._positions = key, super()._get_pos_embed(hw).contiguous()
        return self._positions[1]


def build_position_code(kind: str, channels: int) -> nn.Module:
    """The code of place that memory attention adds to its input and its keys."""
    if kind == "sine":
        return SineEncoding(channels, warmup_cache=False)
    return LatitudeEncoding(channels)


def build_trunk(config: ModelConfig) -> nn.Module:
    """The convolutional trunk, or SAM2's Hiera."""
    if config.trunk == "conv":
        return ConvTrunk(config.trunk_channels, config.trunk_blocks)
    trunk = SteadyHiera(
        embed_dim=config.trunk_channels[0],
        num_heads=config.hiera_heads,
        stages=config.trunk_blocks,
        global_att_blocks=config.hiera_global_blocks,
        window_pos_embed_bkg_spatial_size=config.hiera_background,
        window_spec=config.hiera_windows,
    )
    for block in trunk.blocks:
        block.attn.__class__ = HieraAttention
    return trunk


def build_image_encoder(config: ModelConfig) -> ImageEncoder:
    """SAM2's image encoder."""
    trunk = build_trunk(config)
    neck = FpnNeck(
        position_encoding=LatitudeEncoding(2),  # discarded: memory attention makes its own
        d_model=config.hidden_dim,
        backbone_channel_list=trunk.channel_list,
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk, neck, scalp=1)


def encode_pyramid(
    encoder: ImageEncoder, maps: list[Tensor], to_s4: nn.Conv2d, to_s8: nn.Conv2d
) -> list[Tensor]:
    """The trunk's maps, at strides 4 to 32 -> maps at strides 4, 8 and 16, of which the mask decoder takes
    the first two as they are, through ``to_s4`` and ``to_s8``.

    What SAM2's neck and the decoder's convolutions give. Nothing lies between the neck's 1x1
    convolutions at strides 4 and 8 and the decoder's, so that the two are one, of fewer channels.
    """
    s4, s8, s16, s32 = maps
    of_s32, of_s16, of_s8, of_s4 = (level.conv for level in encoder.neck.convs)
    coarse = F.interpolate(of_s32(s32).float(), scale_factor=2.0, mode="nearest")
    return [_both(of_s4, to_s4, s4), _both(of_s8, to_s8, s8), of_s16(s16) + coarse]


def _both(first: nn.Conv2d, second: nn.Conv2d, x: Tensor) -> Tensor:
    """Two 1x1 convolutions of x, as one whose weights are their product."""
    assert first.bias is not None and second.bias is not None
    outer = second.weight.flatten(1)
    weight, bias = outer @ first.weight.flatten(1), outer @ first.bias + second.bias
    return F.conv2d(x, weight[..., None, None], bias)


@cached_constant
def _pixel_statistics() -> Tensor:
    return torch.tensor([PIXEL_MEAN, PIXEL_STD])[..., None, None]


def normalise_pixels(images: Tensor) -> Tensor:
    """uint8 or float pixels 0..255, [B, 3, H, W] RGB -> the network's float32 input."""
    mean, deviation = _pixel_statistics(images.device, torch.float32)
    return (images.float() - mean) / deviation
