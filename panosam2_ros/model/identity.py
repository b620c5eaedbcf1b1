"""Identity embeddings: features pooled under an object's mask, by which it is told from other things.

Pooled features of the image encoder say what a thing looks like, whatever memory the mask was found with.
Our addition; neither SAM2 nor the paper has it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OWN, AROUND = 0, 1  # of what ``identity_embeddings`` returns


def identity_embeddings(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Pool features [B, C, h, w] under masks [N, 1, H, W] and outside of them; return [N, 2, C] unit vectors.

    The objects of an image are adjacent in N. What covers nothing has a vector of zeros.
    """
    count, (height, width) = len(mask_logits), features.shape[-2:]
    inside = F.adaptive_avg_pool2d((mask_logits > 0).float(), (height, width))
    shares = torch.cat([inside, 1 - inside], 1).flatten(2)
    maps = features.detach().flatten(2).repeat_interleave(count // len(features), 0)
    # autocast may compute the product in another type
    return F.normalize((shares.to(maps) @ maps.transpose(1, 2)).float(), dim=-1)
