"""Masks at stride 2: those of SAM2's decoder at stride 4, refined with the features of the trunk's stem.

Ours, not the paper's: small inputs need it. At 448x224 an object of 8 degrees is two or three stride-4
pixels wide, and even the ground truth at that stride has a mean J of 0.88 on the benchmark. The last layer is
initialised to zero, so that the untrained masks are those of stride 4, interpolated.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.geometry.circular import wrap_resize
from panosam2_ros.model.per_object import per_object

_LOGIT_SCALE = 10.0  # the input is tanh(logit / this), so that all certain pixels are similar


class MaskUpsampler(nn.Module):
    """A residual block that doubles the resolution of mask logits."""

    def __init__(self, channels: int, *, wrap: bool, width: int = 16) -> None:
        """Make a block of ``width`` channels for stems of ``channels``; ``wrap``: across the seam."""
        super().__init__()
        self.wrap = wrap
        self.from_features = nn.Conv2d(channels, width, 3, padding=1)
        self.from_mask = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.residual = nn.Conv2d(width, 1, 1)
        for parameter in self.residual.parameters():
            nn.init.zeros_(parameter)

    def forward(self, mask_logits: Tensor, stem: Tensor) -> Tensor:
        """Upsample logits [N, 1, 4h, 4w] to [N, 1, 8h, 8w], in B images with stem features [B, C, 8h, 8w]."""
        height, width = stem.shape[-2:]
        finer = wrap_resize(mask_logits, height, width, wrap=self.wrap)
        context = self.from_features(stem)
        context = per_object(context, len(mask_logits))
        seen = self.from_mask(torch.tanh(finer / _LOGIT_SCALE))
        residual: Tensor = self.residual(F.relu(self.mix(F.relu(context + seen))))
        return finer + residual
