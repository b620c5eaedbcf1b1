"""Position codes of feature maps: by latitude alone, or SAM2's by row and column."""

from __future__ import annotations

import math

import torch
from sam2.modeling.position_encoding import PositionEmbeddingSine
from torch import Tensor, nn


class LatitudeEncoding(nn.Module):
    """A sine encoding of latitude alone, instead of SAM2's encoding of row and column.

    Longitude has no origin on a sphere: it enters memory attention only as rotary angles.
    """

    def __init__(self, channels: int) -> None:
        """Make an encoding of ``channels`` / 2 frequencies."""
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Compute codes [N, channels, h, w] of maps of x's size.

        Row r has the latitude pi (1/2 - (r + 1/2) / h).
        """
        height, width = x.shape[-2:]
        lat = ((torch.arange(height, device=x.device) + 0.5) / height - 0.5) * math.pi
        waves = torch.arange(1, self.channels // 2 + 1, device=x.device)
        # frequencies above one wave per two rows are aliased
        angles = lat * waves[:, None].clamp(max=16)
        code = torch.cat([angles.sin(), angles.cos()])
        return code[None, :, :, None].expand(x.shape[0], -1, -1, width)


class SineEncoding(PositionEmbeddingSine):
    """SAM2's encoding of row and column, which can be used in tracking and then in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute codes [N, channels, h, w] of maps of x's size."""
        size = (x.shape[-2], x.shape[-1])
        with torch.inference_mode(False):  # upstream caches the tensor, which training may need
            if size in self.cache:  # made on another device, it would be copied in every frame
                self.cache[size] = self.cache[size].to(x.device)
            code: Tensor = super().forward(x)
        return code


def build_position_code(kind: str, channels: int) -> nn.Module:
    """Build the position encoding that memory attention adds to its input and its keys."""
    if kind == "sine":
        return SineEncoding(channels, warmup_cache=False)
    return LatitudeEncoding(channels)
