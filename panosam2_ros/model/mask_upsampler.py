"""Masks at stride 2: what SAM2's decoder says at stride 4, sharpened by what the trunk's stem sees.

Ours, not the paper's: small inputs need it. At 448x224 an object of 8 degrees is two or three stride-4
pixels wide, and even the truth at that stride has a mean J of 0.88 on the benchmark. The last layer starts at
zero: untrained, the masks are those of stride 4, interpolated.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.geometry.circular import wrap_resize

_LOGIT_SCALE = 10.0  # logits are seen as tanh(logit / this), so that certain pixels look alike


class MaskUpsampler(nn.Module):
    """Doubles the resolution of mask logits."""

    def __init__(self, channels: int, wrap: bool, width: int = 16) -> None:
        super().__init__()
        self.wrap = wrap
        self.from_features = nn.Conv2d(channels, width, 3, padding=1)
        self.from_mask = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.residual = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)

    def forward(self, mask_logits: Tensor, stem: Tensor) -> Tensor:
        """Logits [N, 1, 8h, 8w] of masks [N, 1, 4h, 4w] in B images with stem features [B, C, 8h, 8w]."""
        height, width = stem.shape[-2:]
        finer = wrap_resize(mask_logits, height, width, self.wrap)
        context = self.from_features(stem)
        context = context.repeat_interleave(mask_logits.shape[0] // context.shape[0], 0)
        seen = self.from_mask(torch.tanh(finer / _LOGIT_SCALE))
        return finer + self.residual(F.relu(self.mix(F.relu(context + seen))))
