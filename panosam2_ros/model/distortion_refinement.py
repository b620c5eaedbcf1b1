"""The Pano-Aware Decoder's second half: iterative distortion refinement.

The paper's text beyond its abstract is not available; this is our interpretation. One light block,
shared by all steps, takes every pixel of a mask with its neighbours on the tangent plane, which near the
poles lie many columns apart, and adds a residual. The features' neighbourhood is sampled once per image,
that of the mask at every step. The last layer is initialised to zero, so that the untrained block is the
identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.geometry.circular import sum_of_neighbours, tangent_neighbours
from panosam2_ros.model.image_encoder import bias_of
from panosam2_ros.model.per_object import per_object
from panosam2_ros.model.position_codes import LatitudeEncoding

_LOGIT_SCALE = 10.0  # the input is tanh(logit / this), so that all certain pixels are similar
LATITUDE_WAVES = 4


class DistortionRefinement(nn.Module):
    """Residual updates of mask logits at stride 4."""

    def __init__(self, channels: int, steps: int, *, width: int = 16) -> None:
        """Make ``steps`` updates of one block with ``width`` channels, for features of ``channels``."""
        super().__init__()
        self.steps = steps
        self.latitude = LatitudeEncoding(2 * LATITUDE_WAVES)
        self.from_features = nn.Conv2d(9 * channels, width, 1)
        self.from_place = nn.Conv2d(2 * LATITUDE_WAVES, width, 1, bias=False)
        self.from_mask = nn.Conv2d(9, width, 1, bias=False)
        self.mix = nn.Conv2d(width, width, 1)
        self.residual = nn.Conv2d(width, 1, 1)
        for parameter in self.residual.parameters():
            nn.init.zeros_(parameter)

    def forward(self, mask_logits: Tensor, high_res_s4: Tensor) -> Tensor:
        """Refine logits [N, 1, 4h, 4w] of N objects in B images with features [B, C, 4h, 4w]."""
        if not self.steps:
            return mask_logits
        context = self._neighbourhood(high_res_s4) + self.from_place(self.latitude(high_res_s4[:1]))
        context = per_object(context, len(mask_logits))
        for _ in range(self.steps):
            near = self.from_mask(tangent_neighbours(torch.tanh(mask_logits / _LOGIT_SCALE)))
            hidden = F.relu(self.mix(F.relu(context + near)))
            mask_logits = mask_logits + self.residual(hidden)
        return mask_logits

    def _neighbourhood(self, features: Tensor) -> Tensor:
        """Apply ``from_features`` to the neighbourhoods of features [B, C, H, W], [B, width, H, W].

        Sampling and mixing of channels commute; mixing first halves the number of sampled values.
        """
        weight = torch.unflatten(self.from_features.weight[..., 0, 0], 1, (-1, 9))  # [width, C, 9]
        mixed = F.conv2d(features, weight.permute(2, 0, 1).flatten(0, 1)[..., None, None])
        return sum_of_neighbours(mixed.float()) + bias_of(self.from_features).view(-1, 1, 1)
