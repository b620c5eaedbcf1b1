"""Identity embeddings: features pooled under an object's mask, by which it is told from other things.

Pooled features of the image encoder say what a thing looks like, whatever memory the mask was found with.
Our addition; neither SAM2 nor the paper has it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.model.per_object import per_object
from panosam2_ros.model.pixel_matching import MOST_EVIDENCE

OWN, AROUND = 0, 1  # of what ``identity_embeddings`` returns
_PROMPTED, _RECENT, _SURROUNDINGS = range(3)  # of what a memory bank knows of an object
_HIDDEN = 32
_SCORE_SCALE = 8.0  # of presence logits, so that they are about as large as the other measures
_BEST_SHARE = 0.02  # of the pixels: those that match best


def identity_embeddings(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Pool features [B, C, h, w] under masks [N, 1, H, W] and outside of them; return [N, 2, C] unit vectors.

    The objects of an image are adjacent in N. What covers nothing has a vector of zeros.
    """
    count, (height, width) = len(mask_logits), features.shape[-2:]
    inside = F.adaptive_avg_pool2d((mask_logits > 0).float(), (height, width))
    shares = torch.cat([inside, 1 - inside], 1).flatten(2)
    maps = per_object(features.detach().flatten(2), count)
    # autocast may compute the product in another type
    return F.normalize((shares.to(maps) @ maps.transpose(1, 2)).float(), dim=-1)


class IdentityCheck(nn.Module):
    """Whether a mask covers the object and not another thing, by what it looks like.

    Corrects the decoder's presence logit, which follows where the mask was and what memory says. It learns
    from how alike things are, not from what they look like.
    """

    def __init__(self, fine_channels: int) -> None:
        """Take how many of a pixel's channels are those of stride 8; it starts without effect."""
        super().__init__()
        self.fine_channels = fine_channels
        last = nn.Linear(_HIDDEN, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(12, _HIDDEN), nn.GELU(), last)

    def forward(self, own: Tensor, known: Tensor, evidence: Tensor, prediction: MaskPrediction) -> Tensor:
        """Return presence logits [N].

        ``own`` [N, C] is what the masks of ``prediction`` cover, ``known`` [N, 3, C] what the bank knows of
        the objects, both as of ``identity_embeddings``; ``evidence`` [N, 1, 2h, 2w] as of ``match_evidence``.
        """
        score = prediction.object_score_logits
        measures = [
            *self._likeness(own, known),
            *_matched(evidence, prediction.mask_logits),
            score.detach() / _SCORE_SCALE,
            prediction.mask_iou.detach(),
        ]
        change: Tensor = self.layers(torch.stack(measures, 1).float())[:, 0]
        return score + change

    def _likeness(self, own: Tensor, known: Tensor) -> list[Tensor]:
        """Return six cosines [N]: at strides 8 and 16, with prompts, recent frames and the surroundings."""
        found = []
        for part in (slice(self.fine_channels), slice(self.fine_channels, None)):
            cosines = F.cosine_similarity(own[:, None, part], known[..., part], dim=-1)
            found += [cosines[:, _PROMPTED], cosines[:, _RECENT], cosines[:, _SURROUNDINGS]]
        return found


def _matched(evidence: Tensor, mask_logits: Tensor) -> list[Tensor]:
    """Return measures [N] of evidence [N, 1, 2h, 2w] under masks: mean, share matched, best, size."""
    height, width = evidence.shape[-2:]
    inside = F.adaptive_avg_pool2d((mask_logits.detach() > 0).float(), (height, width)).flatten(1)
    scaled = evidence.detach().flatten(1) / MOST_EVIDENCE
    area = inside.sum(1).clamp(min=1e-3)
    best = scaled.topk(max(round(_BEST_SHARE * scaled.shape[1]), 1), dim=1).values[:, -1]
    mean, matched = (inside * scaled).sum(1) / area, (inside * (scaled > 0)).sum(1) / area
    return [mean, matched, best, inside.mean(1).sqrt()]
