"""The image encoder: our convolutional trunk, SAM2's Hiera or EdgeTAM's RepViT, under a feature pyramid.

Another trunk with maps at strides 4 to 32 takes a file and a line in ``build_trunk``; one with a neck of its
own also a ``PyramidEncoder`` of its own in ``build_image_encoder``.
``pad_convolutions`` makes any convolutional part periodic over longitude.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleAttention, do_pool
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from panosam2_ros.geometry.circular import cached_constant, wrap_pad
from panosam2_ros.model.attention import attention
from panosam2_ros.model.colour_histogram import ColourBins
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.cpu_convolution import PackedConv2d, pointwise
from panosam2_ros.model.mobile_trunk import MobileTrunk
from panosam2_ros.model.position_codes import LatitudeEncoding
from panosam2_ros.model.repvit import RepViT
from panosam2_ros.model.stages import maps_of_stages

# ImageNet statistics, with which SAM2 normalises its input.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
_CONV_SETTINGS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The image encoder's features of B images."""

    embedding: Tensor  # [B, C, h, w], stride 16
    high_res_s4: Tensor  # [B, C / 8, 4h, 4w], the mask decoder's input
    high_res_s8: Tensor  # [B, C / 4, 2h, 2w]
    stem: Tensor | None = None  # [B, C_stem, 8h, 8w], of networks with masks at stride 2
    bins: ColourBins | None = None  # of mask pixels, [B, H', W'], with colour evidence
    pixels: Tensor | None = None  # [B, 3, H, W] 0..255, of networks that keep them in their memory
    keys: Tensor | None = None  # [B, C_key, 2h, 2w], of networks that compare pixels, as ``pixel_keys``

    @property
    def identity_maps(self) -> Tensor:
        """[B, C, h', w'] features by which things are told apart: the trunk's, where these are kept."""
        return self.embedding if self.keys is None else self.keys

    def select(self, rows: Tensor) -> ImageFeatures:
        """Return the features of some images, [M] int64."""
        return ImageFeatures(
            self.embedding[rows],
            self.high_res_s4[rows],
            self.high_res_s8[rows],
            stem=None if self.stem is None else self.stem[rows],
            bins=None if self.bins is None else replace(self.bins, index=self.bins.index[rows]),
            pixels=None if self.pixels is None else self.pixels[rows],
            keys=None if self.keys is None else self.keys[rows],
        )


class WrapConv2d(nn.Conv2d):
    """A convolution whose horizontal padding comes from the other side of the seam."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a map [N, C, H, W]."""
        vertical, horizontal = (int(p) for p in self.padding)
        x = wrap_pad(x, horizontal, horizontal, 0, 0)
        padding = (vertical, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def pad_convolutions(module: nn.Module, *, wrap: bool) -> None:
    """Make every padded convolution inside a module periodic over longitude, or pad with zeros.

    Names and parameters stay the same.
    """
    before: tuple[type[nn.Conv2d], ...] = (nn.Conv2d, PackedConv2d) if wrap else (WrapConv2d,)
    after = WrapConv2d if wrap else nn.Conv2d
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and type(child) in before and child.padding != (0, 0):
                setattr(parent, name, _with_parameters(after, child))


def _with_parameters(kind: type[nn.Conv2d], conv: nn.Conv2d) -> nn.Conv2d:
    """Make a convolution of a kind with the parameters of another one."""
    settings: dict[str, Any] = {name: getattr(conv, name) for name in _CONV_SETTINGS}
    # on the meta device no weights are made and no random numbers are drawn
    made = kind(**settings, bias=conv.bias is not None, device="meta")
    made.weight, made.bias = conv.weight, conv.bias
    return made


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a residual connection."""

    def __init__(self, channels: int) -> None:
        """Make a block that keeps the number of channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Compute a map [N, C, H, W] of the size of x."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


def _downsample(inputs: int, outputs: int) -> nn.Sequential:
    """Make a convolution with stride 2, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class ConvTrunk(nn.Module):
    """A trunk of four stages at strides 4, 8, 16 and 32, with the interface of SAM2's Hiera."""

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        """Make a trunk with these numbers of channels and blocks in its stages."""
        super().__init__()
        self.channel_list, self.stem_channels = list(reversed(channels)), channels[0]
        self.stem = _downsample(3, channels[0])
        self.stages = nn.ModuleList(
            nn.Sequential(_downsample(inputs, outputs), *(ConvBlock(outputs) for _ in range(count)))
            for (inputs, outputs), count in zip(pairwise((channels[0], *channels)), blocks, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute maps at strides 4, 8, 16 and 32 of images [B, 3, H, W]."""
        return self.from_stem(self.stem(x))

    def from_stem(self, x: Tensor) -> list[Tensor]:
        """Compute the same maps from the stem's map [B, C, H / 2, W / 2]."""
        return maps_of_stages(self.stages, x)


def fold_batch_norm(trunk: nn.Module) -> None:
    """Merge every batch norm of a trunk in evaluation mode into the convolution before it."""
    if isinstance(trunk, RepViT | MobileTrunk):
        trunk.fold()
        return
    for block in trunk.modules():
        if isinstance(block, ConvBlock):
            block.conv1 = _folded(block.conv1, block.norm1)
            block.conv2 = _folded(block.conv2, block.norm2)
            block.norm1 = block.norm2 = nn.Identity()
        elif isinstance(block, nn.Sequential) and len(block) > 1 and isinstance(block[1], nn.BatchNorm2d):
            block[0], block[1] = _folded(block[0], block[1]), nn.Identity()


def _folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """Merge a batch norm into the convolution before it; raise TypeError for other modules."""
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(f"needed are a convolution and its batch norm, got {conv} and {norm}")
    return fuse_conv_bn_eval(conv, norm)


class HieraAttention(MultiScaleAttention):
    """Hiera's attention in the implementation that is fastest on the device."""

    @classmethod
    def of(cls, upstream: MultiScaleAttention) -> HieraAttention:
        """Make the attention with the parameters of upstream's module."""
        with torch.device("meta"):  # makes no weights and draws no random numbers
            made = cls(upstream.dim, upstream.dim_out, upstream.num_heads, upstream.q_pool)
        made.qkv, made.proj = upstream.qkv, upstream.proj
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Attend within maps [B, H, W, C], [B, H', W', C']."""
        batch, height, width, _ = x.shape
        q, k, v = self.qkv(x).unflatten(-1, (3, -1)).unbind(-2)  # [B, H, W, C']
        if self.q_pool is not None:
            q = do_pool(q, self.q_pool)
            height, width = q.shape[1:3]
        parts = (y.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for y in (q, k, v))
        y = attention(*parts)
        projected: Tensor = self.proj(y.transpose(1, 2).reshape(batch, height, width, -1))
        return projected


class SteadyHiera(Hiera):
    """Hiera that caches its interpolated position map while tracking."""

    _positions: tuple[tuple[object, ...], Tensor] | None = None

    # upstream's private method and Tensor._version, since neither has a public equivalent
    def _get_pos_embed(self, hw: tuple[int, int]) -> Tensor:
        """Return the position map [1, h, w, C], computed again only for another size or other weights."""
        changing = torch.is_grad_enabled() or torch.compiler.is_compiling() or self.pos_embed.is_inference()
        if changing:  # in training, in traced code, and with tensors that do not count their changes
            uncached: Tensor = super()._get_pos_embed(hw)
            return uncached
        parameters = (self.pos_embed, self.pos_embed_window)
        key = (tuple(hw), *((p.data_ptr(), p._version) for p in parameters))
        if self._positions is None or self._positions[0] != key:
            self._positions = key, super()._get_pos_embed(hw).contiguous()
        return self._positions[1]


class PyramidEncoder(ImageEncoder):
    """SAM2's image encoder: a trunk and a neck."""

    def pyramid(
        self, maps: list[Tensor], to_s4: nn.Conv2d, to_s8: nn.Conv2d
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute maps at strides 4, 8 and 16 from the trunk's; see ``encode_pyramid``."""
        return encode_pyramid(self, maps, to_s4, to_s8)


def build_trunk(config: ModelConfig) -> nn.Module:
    """Build the trunk of a config, whose maps have strides 4, 8, 16 and 32."""
    if config.trunk == "conv":
        return ConvTrunk(config.trunk_channels, config.trunk_blocks)
    if config.trunk == "mobilenet_v2":
        return MobileTrunk()
    if config.trunk == "repvit":
        return RepViT(config.trunk_channels, config.trunk_blocks)
    trunk = SteadyHiera(
        embed_dim=config.trunk_channels[0],
        num_heads=config.hiera_heads,
        stages=config.trunk_blocks,
        global_att_blocks=config.hiera_global_blocks,
        window_pos_embed_bkg_spatial_size=config.hiera_background,
        window_spec=config.hiera_windows,
    )
    for block in trunk.blocks:
        block.attn = HieraAttention.of(block.attn)
    return trunk


def build_image_encoder(config: ModelConfig) -> PyramidEncoder:
    """Build the image encoder of a config: SAM2's neck on its trunk."""
    trunk = build_trunk(config)
    neck = FpnNeck(
        position_encoding=LatitudeEncoding(2),  # unused: memory attention has its own
        d_model=config.hidden_dim,
        backbone_channel_list=trunk.channel_list,
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return PyramidEncoder(trunk, neck, scalp=1)


def encode_pyramid(
    encoder: ImageEncoder, maps: list[Tensor], to_s4: nn.Conv2d, to_s8: nn.Conv2d
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the pyramid's maps at strides 4, 8 and 16 from the trunk's at strides 4 to 32.

    The first two have passed the mask decoder's convolutions ``to_s4`` and ``to_s8``. The result is that
    of SAM2's neck and decoder. Nothing lies between the neck's 1x1 convolutions at strides 4 and 8 and the
    decoder's, so that each pair is computed as one convolution with fewer channels.
    """
    s4, s8, s16, s32 = maps
    of_s32, of_s16, of_s8, of_s4 = (level.conv for level in encoder.neck.convs)
    coarse = F.interpolate(of_s32(s32).float(), scale_factor=2.0, mode="nearest")
    return _composed(of_s4, to_s4, s4), _composed(of_s8, to_s8, s8), of_s16(s16) + coarse


def _composed(first: nn.Conv2d, second: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply two 1x1 convolutions to x, as one whose weights are their product."""
    outer = second.weight.flatten(1)
    weight, bias = outer @ first.weight.flatten(1), outer @ bias_of(first) + bias_of(second)
    return pointwise(x, weight[..., None, None], bias)


def bias_of(conv: nn.Conv2d) -> Tensor:
    """Return the bias of a convolution; raise TypeError for one without."""
    if conv.bias is None:
        raise TypeError(f"needed is a convolution with a bias, got {conv}")
    return conv.bias


@cached_constant
def _pixel_statistics() -> Tensor:
    """Make the means and the standard deviations [2, 3, 1, 1] of pixels."""
    return torch.tensor([PIXEL_MEAN, PIXEL_STD])[..., None, None]


def normalise_pixels(images: Tensor) -> Tensor:
    """Convert uint8 or float pixels 0..255, [B, 3, H, W] RGB, to the network's float32 input."""
    mean, deviation = _pixel_statistics(images.device, torch.float32)
    normalised: Tensor = (images.float() - mean) / deviation
    return normalised
