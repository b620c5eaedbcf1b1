"""Matching of pixels with those of prompted frames, as evidence for the mask decoder.

Ours, after the global matching of FEELVOS (Voigtlaender et al. 2019, arXiv 1902.09513) and CFBI (Yang et al.
2020, arXiv 2003.08333). A mask that is only compared with the mask before creeps over what is next to the
object; the prompted frame says what belonged to it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.model.per_object import per_object

TEMPERATURE = 0.05  # of cosines
MOST_EVIDENCE = 3.9  # logit of the evidence, at most: 98 % or 2 %
_NOTHING = 1e-30  # in the place of sums of nothing, so that they say nothing
_LEAST = 1e-4  # share of a pixel that counts, so that nothing is infinitely unlike


def pixel_keys(s8: Tensor, s16: Tensor) -> Tensor:
    """Return unit vectors [B, C8 + C16, 2h, 2w] of the trunk's maps at strides 8 and 16, weighted alike."""
    coarse = F.interpolate(s16, size=s8.shape[-2:], mode="bilinear", align_corners=False)
    both: Tensor = torch.cat([F.normalize(x.detach().float(), dim=1) for x in (s8, coarse)], 1)
    return both * math.sqrt(0.5)


def match_evidence(keys: Tensor, references: Tensor, share: Tensor, valid: Tensor) -> Tensor:
    """Return how much pixels look like objects and not like what was round them, logits [N, 1, 2h, 2w].

    ``keys`` [B, C, 2h, 2w] of the present views, the objects of an image adjacent in N; ``references``
    [N, K, C, 2h, 2w] and ``share`` [N, K, 2h, 2w] of the objects' prompted frames, of which those that are
    ``valid`` [N, K] bool count. 0 for objects without any.
    """
    count, (height, width) = len(references), keys.shape[-2:]
    if valid.device.type == "cpu" and not valid.all():  # on a GPU this would wait for it
        used = valid.any(0)  # what nobody has adds nothing
        references, share, valid = references[:, used], share[:, used], valid[:, used]
    queries = per_object((keys / TEMPERATURE).flatten(2), count)
    kept = references.to(queries.dtype).transpose(1, 2).flatten(2)  # [N, C, K * pixels]
    # cosines are at most 1, so that exponents stay in range; one of them serves both sides
    similar = (queries.transpose(1, 2) @ kept).float().exp_()
    own = share.float() * valid[..., None, None]
    other = (1 - share.float()) * valid[..., None, None]
    least = _LEAST * valid[..., None, None]
    sides = torch.stack([own.maximum(least), other.maximum(least)], -1).flatten(1, 3)  # [N, K * pixels, 2]
    inside, outside = (similar @ sides).clamp(min=_NOTHING).log().unbind(-1)
    return (inside - outside).clamp(-MOST_EVIDENCE, MOST_EVIDENCE).view(count, 1, height, width)


class MatchingPrompt(nn.Module):
    """Evidence as a part of the mask decoder's dense prompt, and as a share of its logits."""

    def __init__(self, channels: int) -> None:
        """Make the prompt of ``channels``; it starts without effect on the decoder."""
        super().__init__()
        self.embed = nn.Conv2d(1, channels, 2, stride=2)
        self.weight = nn.Parameter(torch.ones(()))  # of the evidence in the logits
        for parameter in self.embed.parameters():
            nn.init.zeros_(parameter)

    def dense(self, evidence: Tensor) -> Tensor:
        """Return what is added to the dense prompt, [N, C, h, w]."""
        embedded: Tensor = self.embed(evidence / MOST_EVIDENCE)
        return embedded

    def logits(self, evidence: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what is added to the mask logits, [N, 1, *size]."""
        return self.weight * F.interpolate(evidence, size=size, mode="bilinear", align_corners=False)
