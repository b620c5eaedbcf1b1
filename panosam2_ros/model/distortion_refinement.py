"""The Pano-Aware Decoder's second half: iterative distortion refinement.

The paper's text beyond its abstract is not available; this is our reading. One light block, shared
over all steps, looks at every pixel of a mask and its neighbours on the tangent plane, which near
the poles lie many columns apart, and adds a residual. The features' neighbourhood is sampled
once per image, that of the mask at every step. The last layer starts at zero: untrained, the block
is the identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.geometry.circular import sum_of_neighbours, tangent_neighbours
from panosam2_ros.model.image_encoder import LatitudeEncoding

_LOGIT_SCALE = 10.0  # logits are seen as tanh(logit / this), so that certain pixels look alike
LATITUDE_WAVES = 4


class DistortionRefinement(nn.Module):
    """``steps`` residual updates of mask logits at stride 4."""

    def __init__(self, channels: int, steps: int, width: int = 16) -> None:
        super().__init__()
        self.steps = steps
        self.latitude = LatitudeEncoding(2 * LATITUDE_WAVES)
        self.from_features = nn.Conv2d(9 * channels, width, 1)
        self.from_place = nn.Conv2d(2 * LATITUDE_WAVES, width, 1, bias=False)
        self.from_mask = nn.Conv2d(9, width, 1, bias=False)
        self.mix = nn.Conv2d(width, width, 1)
        self.residual = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)

    def forward(self, mask_logits: Tensor, high_res_s4: Tensor) -> Tensor:
        """Logits [N, 1, 4h, 4w] of N objects in B images with features [B, C, 4h, 4w]."""
        if not self.steps:
            return mask_logits
        context = self._seen_nearby(high_res_s4) + self.from_place(self.latitude(high_res_s4[:1]))
        context = context.repeat_interleave(mask_logits.shape[0] // context.shape[0], 0)
        for _ in range(self.steps):
            near = self.from_mask(tangent_neighbours(torch.tanh(mask_logits / _LOGIT_SCALE)))
            hidden = F.relu(self.mix(F.relu(context + near)))
            mask_logits = mask_logits + self.residual(hidden)
        return mask_logits

    def _seen_nearby(self, features: Tensor) -> Tensor:
        """``from_features`` of the features' neighbourhoods, [B, width, H, W].

        Sampling and mixing channels commute; what is sampled last has half as many numbers.
        """
        weight = self.from_features.weight[..., 0, 0].unflatten(1, (-1, 9))  # [width, C, 9]
        mixed = F.conv2d(features, weight.permute(2, 0, 1).flatten(0, 1)[..., None, None])
        assert self.from_features.bias is not None
        return sum_of_neighbours(mixed.float()) + self.from_features.bias.view(-1, 1, 1)
