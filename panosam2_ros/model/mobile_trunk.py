"""MobileNetV2 as a trunk: Sandler et al. 2018, arXiv 1801.04381, without its last 1x1 convolution.

Our own code. Its parameters have names of their own; ``training/imagenet_trunk.py`` fills them with weights
that were trained on ImageNet.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from panosam2_ros.model.stages import maps_of_stages

STEM_CHANNELS = 16  # at stride 2
MOBILE_CHANNELS = (24, 32, 96, 320)  # at strides 4, 8, 16, 32
# Of each stage: the factor of the inner channels, the channels, the number of blocks, the first one's stride.
_GROUPS = (
    ((6, 24, 2, 2),),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class NormedConv(nn.Module):
    """A convolution and its batch norm, which ``fold`` merges."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> None:
        """Make a convolution of a size with zero padding that keeps the map's size, but for its stride."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise a map [N, C, H, W]."""
        normalised: Tensor = self.norm(self.conv(x))
        return normalised

    def fold(self) -> None:
        """Merge a batch norm in evaluation mode into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class InvertedResidual(nn.Module):
    """A block that widens, filters each channel, and narrows without a non-linearity."""

    def __init__(self, inputs: int, outputs: int, *, factor: int, stride: int) -> None:
        """Make a block whose inner channels are ``factor`` times its inputs."""
        super().__init__()
        inner = factor * inputs
        self.widen = NormedConv(inputs, inner, 1) if factor > 1 else None
        self.filter = NormedConv(inner, inner, 3, stride=stride, groups=inner)
        self.narrow = NormedConv(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Compute a map [N, C', H / stride, W / stride] of a map [N, C, H, W]."""
        # in place: a quarter of the trunk's time on a CPU, otherwise
        y = x if self.widen is None else F.relu6(self.widen(x), inplace=True)
        y = self.narrow(F.relu6(self.filter(y), inplace=True))
        narrowed: Tensor = x + y if self.residual else y
        return narrowed


class MobileTrunk(nn.Module):
    """A trunk at strides 4, 8, 16 and 32, with the interface of SAM2's Hiera, and a stem at stride 2."""

    def __init__(self) -> None:
        """Make a trunk with random weights."""
        super().__init__()
        self.channel_list, self.stem_channels = list(reversed(MOBILE_CHANNELS)), STEM_CHANNELS
        self.first = NormedConv(3, 32, 3, stride=2)
        self.second = InvertedResidual(32, STEM_CHANNELS, factor=1, stride=1)
        self.stages, inputs = nn.ModuleList(), STEM_CHANNELS
        for groups in _GROUPS:
            blocks: list[nn.Module] = []
            for factor, outputs, count, stride in groups:
                for k in range(count):
                    blocks.append(InvertedResidual(inputs, outputs, factor=factor, stride=1 if k else stride))
                    inputs = outputs
            self.stages.append(nn.Sequential(*blocks))

    def stem(self, x: Tensor) -> Tensor:
        """Compute the map [B, 16, H / 2, W / 2] of images [B, 3, H, W]."""
        x = x.contiguous(memory_format=torch.channels_last)  # three times as fast on CPUs
        stem: Tensor = self.second(F.relu6(self.first(x), inplace=True))
        return stem

    def from_stem(self, x: Tensor) -> list[Tensor]:
        """Compute maps at strides 4, 8, 16 and 32 from the stem's."""
        return maps_of_stages(self.stages, x)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute maps at strides 4, 8, 16 and 32 of images [B, 3, H, W]."""
        return self.from_stem(self.stem(x))

    def fold(self) -> None:
        """Merge batch norms in evaluation mode into convolutions."""
        for module in self.modules():
            if isinstance(module, NormedConv):
                module.fold()
                module.conv.weight.data = module.conv.weight.contiguous(memory_format=torch.channels_last)
