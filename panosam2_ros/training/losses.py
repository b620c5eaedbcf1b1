"""What the network is trained for: masks, their predicted IoU, and presence.

SAM2's recipe (20 x focal + dice) collapsed to empty masks when a small network was trained from
scratch; cross entropy in which object and background weigh the same, plus dice, did not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.model.mask_decoder import MaskPrediction

ABSENT_WEIGHT = 5.0  # of an absent object in the loss of presence: they are rare
MASK_WEIGHT, DICE_WEIGHT, IOU_WEIGHT, PRESENCE_WEIGHT = 2.0, 1.0, 0.5, 0.5


@dataclass(frozen=True)
class Losses:
    """Scalars, mean over the objects they apply to."""

    mask: Tensor
    dice: Tensor
    iou: Tensor
    presence: Tensor

    @property
    def total(self) -> Tensor:
        return (
            MASK_WEIGHT * self.mask
            + DICE_WEIGHT * self.dice
            + IOU_WEIGHT * self.iou
            + PRESENCE_WEIGHT * self.presence
        )


def balanced_cross_entropy(logits: Tensor, target: Tensor, balance: float) -> Tensor:
    """Cross entropy [N] of logits and soft targets [N, ..., H, W].

    ``balance`` 1: object and background weigh the same however small the object; 0: every pixel
    weighs the same.
    """
    logits, target = logits.flatten(1), target.flatten(1)
    share = target.mean(1, keepdim=True).clamp(1e-4, 1 - 1e-4)
    weight = target * (0.5 / share) ** balance + (1 - target) * (0.5 / (1 - share)) ** balance
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * loss).sum(1) / weight.sum(1)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft dice [N] of logits and soft targets [N, ..., H, W]."""
    share, target = logits.sigmoid().flatten(1), target.flatten(1)
    return 1 - (2 * (share * target).sum(1) + 1) / (share.sum(1) + target.sum(1) + 1)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU [N] of the masks logits > 0 and target > 1/2; 1 where both are empty."""
    a, b = (logits > 0).flatten(1), (target > 0.5).flatten(1)
    union = (a | b).sum(1)
    return torch.where(union > 0, (a & b).sum(1) / union.clamp(min=1), 1.0)


def presence_loss(logits: Tensor, present: Tensor) -> Tensor:
    """Weighted cross entropy, a scalar, of logits [N] and present [N] bool."""
    weight = torch.where(present, 1.0, ABSENT_WEIGHT)
    return F.binary_cross_entropy_with_logits(logits, present.float(), weight)


def frame_losses(prediction: MaskPrediction, target: Tensor, present: Tensor, balance: float) -> Losses:
    """Losses of one frame: target [N, 1, 4h, 4w] shares of object, present [N] bool.

    Masks are judged only where the object is present, as SAM2 does.
    """
    weight = present.float() / present.sum().clamp(min=1)
    logits = prediction.mask_logits
    iou = mask_iou(logits.detach(), target)
    return Losses(
        (weight * balanced_cross_entropy(logits, target, balance)).sum(),
        (weight * dice_loss(logits, target)).sum(),
        (weight * (prediction.mask_iou - iou) ** 2).sum(),
        presence_loss(prediction.object_score_logits, present),
    )
