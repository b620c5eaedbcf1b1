"""RepViT-M1, the trunk of EdgeTAM: a convolutional network whose training branches merge for inference.

Architecture: Wang et al., "RepViT: Revisiting Mobile CNN From ViT Perspective" (arXiv 2307.09283), in the
variant whose blocks sum three depthwise branches. Names of parameters are those of EdgeTAM's checkpoint.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from panosam2_ros.model.stages import maps_of_stages

_EXPANSION = 2  # hidden channels of a channel mixer per channel
_REDUCTION, _DIVISOR = 4, 8  # channels per hidden channel of a gate, which are a multiple of _DIVISOR


class ConvNorm(nn.Module):
    """A convolution without bias, then batch norm."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        """Make a convolution of ``size`` x ``size`` taps."""
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise a map [B, C, H, W]."""
        y: Tensor = self.bn(self.c(x))
        return y

    def folded(self) -> nn.Conv2d:
        """Return the convolution with the batch norm in evaluation mode merged into it."""
        return fuse_conv_bn_eval(self.c, self.bn)


class TokenMixer(nn.Module):
    """The sum of a 3x3 and a 1x1 depthwise convolution and of the input itself."""

    def __init__(self, channels: int) -> None:
        """Make a mixer that keeps the number of channels."""
        super().__init__()
        self.conv: nn.Module = ConvNorm(channels, channels, 3, groups=channels)
        self.conv1: nn.Module | None = ConvNorm(channels, channels, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Mix a map [B, C, H, W] over its places."""
        mixed: Tensor = self.conv(x)
        return mixed if self.conv1 is None else mixed + self.conv1(x) + x

    @torch.no_grad()
    def fold(self) -> None:
        """Merge the three branches into one 3x3 convolution."""
        if not isinstance(self.conv, ConvNorm) or not isinstance(self.conv1, ConvNorm):
            return
        conv, point = self.conv.folded(), self.conv1.folded()
        centre = point.weight + torch.ones_like(point.weight)
        conv.weight.add_(F.pad(centre, (1, 1, 1, 1)))
        if conv.bias is not None and point.bias is not None:
            conv.bias.add_(point.bias)
        self.conv, self.conv1 = conv, None


class ChannelGate(nn.Module):
    """Squeeze and excitation: every channel is scaled by a share that depends on the means of all."""

    def __init__(self, channels: int) -> None:
        """Make a gate."""
        super().__init__()
        hidden = max(_DIVISOR, (channels // _REDUCTION + _DIVISOR // 2) // _DIVISOR * _DIVISOR)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale a map [B, C, H, W]."""
        share: Tensor = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * share.sigmoid()


class ChannelMixer(nn.Module):
    """Two 1x1 convolutions with a GELU between, and a residual connection."""

    def __init__(self, channels: int) -> None:
        """Make a mixer that keeps the number of channels."""
        super().__init__()
        self.conv1: nn.Module = ConvNorm(channels, _EXPANSION * channels)
        self.conv2: nn.Module = ConvNorm(_EXPANSION * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of a map [B, C, H, W]."""
        mixed: Tensor = self.conv2(F.gelu(self.conv1(x)))
        return x + mixed


class RepViTBlock(nn.Module):
    """A token mixer and a channel mixer, in every other block with a gate between."""

    def __init__(self, channels: int, *, gated: bool) -> None:
        """Make a block that keeps the number of channels."""
        super().__init__()
        self.token_mixer = TokenMixer(channels)
        self.se = ChannelGate(channels) if gated else nn.Identity()
        self.channel_mixer = ChannelMixer(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Compute a map [B, C, H, W] of the size of x."""
        y: Tensor = self.channel_mixer(self.se(self.token_mixer(x)))
        return y


class Downsample(nn.Module):
    """Half the resolution, in more channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Make the layers between two stages."""
        super().__init__()
        self.pre_block = RepViTBlock(inputs, gated=False)
        self.spatial_downsample: nn.Module = ConvNorm(inputs, inputs, 3, stride=2, groups=inputs)
        self.channel_downsample: nn.Module = ConvNorm(inputs, outputs)
        self.ffn = ChannelMixer(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Compute a map [B, outputs, H / 2, W / 2] of a map [B, inputs, H, W]."""
        y: Tensor = self.ffn(self.channel_downsample(self.spatial_downsample(self.pre_block(x))))
        return y


class Stem(nn.Module):
    """Two convolutions with stride 2."""

    def __init__(self, channels: int) -> None:
        """Make a stem for RGB images."""
        super().__init__()
        self.conv1: nn.Module = ConvNorm(3, channels // 2, 3, stride=2)
        self.conv2: nn.Module = ConvNorm(channels // 2, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Compute a map at stride 4 of images [B, 3, H, W]."""
        y: Tensor = self.conv2(F.gelu(self.conv1(x)))
        return y


class RepViT(nn.Module):
    """A trunk of four stages at strides 4, 8, 16 and 32, with the interface of SAM2's Hiera."""

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        """Make a trunk with these numbers of channels and blocks in its stages."""
        super().__init__()
        self.channel_list = list(reversed(channels))
        self.body = nn.ModuleDict({"stem": Stem(channels[0])})
        for i, ((inputs, outputs), count) in enumerate(
            zip(pairwise((channels[0], *channels)), blocks, strict=True)
        ):
            stage = nn.Sequential()
            if i:
                stage.add_module("downsample", Downsample(inputs, outputs))
            rows = (RepViTBlock(outputs, gated=k % 2 == 0) for k in range(count))
            stage.add_module("blocks", nn.Sequential(*rows))
            self.body[f"stages_{i}"] = stage

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute maps at strides 4, 8, 16 and 32 of images [B, 3, H, W]."""
        stem, *stages = self.body.values()
        x = stem(x.contiguous(memory_format=torch.channels_last))  # a tenth faster, in bfloat16 a third
        return maps_of_stages(stages, x)

    def fold(self) -> None:
        """Merge batch norms in evaluation mode, and the branches of token mixers, into convolutions."""
        for module in list(self.modules()):
            if isinstance(module, TokenMixer):
                module.fold()
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, ConvNorm):
                    setattr(module, name, child.folded())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)
