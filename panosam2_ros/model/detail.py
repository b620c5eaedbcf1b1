"""Masks at stride 2: what SAM2's decoder says at stride 4, sharpened by what the trunk's stem sees.

Ours, not the paper's: small inputs need it. At 448x224 an object of 8 degrees is two or three stride-4
pixels wide, and even the truth at that stride has a mean J of 0.88 on the benchmark. The last layer starts at
zero: untrained, the masks are those of stride 4, interpolated.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.periodic import wrap_resize

LOGIT_SCALE = 10.0  # logits are seen as tanh(logit / this), so that certain pixels look alike


class MaskDetail(nn.Module):
    """Doubles the resolution of mask logits.

    ``colours``: also from what colours say of every pixel (``colour.log_ratios``): those that the object is
    known by, and those inside the very mask that is sharpened beside those around it.
    """

    def __init__(self, channels: int, wrap: bool, width: int = 16, colours: bool = False) -> None:
        super().__init__()
        self.wrap = wrap
        self.from_features = nn.Conv2d(channels, width, 3, padding=1)
        self.from_mask = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.residual = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)
        if colours:
            self.from_colours = nn.Conv2d(2, width, 3, padding=1, bias=False)
            self.wider = nn.Conv2d(width, width, 3, padding=2, dilation=2, bias=False)
            nn.init.zeros_(self.from_colours.weight)
            nn.init.zeros_(self.wider.weight)

    def finer(self, mask_logits: Tensor, stem: Tensor) -> Tensor:
        """Logits [N, 1, 4h, 4w] interpolated to the size of stem features [B, C, 8h, 8w]."""
        height, width = stem.shape[-2:]
        return wrap_resize(mask_logits, height, width, self.wrap)

    def forward(self, finer: Tensor, stem: Tensor, ratios: Tensor | None = None) -> Tensor:
        """Logits [N, 1, 8h, 8w] of ``finer`` ones in B images with stem features [B, C, 8h, 8w].

        ``ratios`` [N, 2, 8h, 8w]: log ratios of colours, where the network takes them.
        """
        context = self.from_features(stem)
        context = context.repeat_interleave(finer.shape[0] // context.shape[0], 0)
        seen = context + self.from_mask(torch.tanh(finer / LOGIT_SCALE))
        if ratios is None:
            return finer + self.residual(F.relu(self.mix(F.relu(seen))))
        mixed = self.mix(F.relu(seen + self.from_colours(ratios)))
        return finer + self.residual(F.relu(mixed + self.wider(F.relu(mixed))))
