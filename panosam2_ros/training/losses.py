"""Losses of masks, of their predicted IoU, and of presence.

The Distortion-Guided Mask Loss is PanoSAM2's third part; the paper's text beyond its abstract is not
available and this is our reading: every pixel of the mask loss is weighted by how much the
equirectangular image stretches it, times a term for the outline. It works against measures on the
sphere, for which pixels near the poles count less: the weighting is therefore an option by name.

SAM2's recipe (20 x focal + dice) collapsed to empty masks when a small network was trained from
scratch; cross entropy with equal weights of object and background, plus dice, did not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.geometry.circular import cached_constant, wrap_pad
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.model.mask_decoder import MaskPrediction

LARGEST_STRETCH = 4.0  # of a row in the distortion weighting, at most: 1 / cos(75.5 degrees)
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # SAM2's
NEAR = 3  # mask pixels from an outline up to which pixels are near it
WEIGHTINGS = ("none", "distortion", "area")


@dataclass(frozen=True)
class LossConfig:
    """Choice and weights of the losses. The defaults train a small network from scratch."""

    mask: str = "balanced"  # balanced: cross entropy, see balanced_cross_entropy; focal: SAM2's
    weighting: str = "none"  # of pixels: distortion (1 / cos lat), area (cos lat) or none
    outline: float = 0.0  # additional weight of pixels at the target's outline
    iou_power: int = 2  # 1: absolute error of the predicted IoU, as SAM2; 2: squared error
    right_iou: float = 0.0  # IoU from which a mask is that of a present object, for the loss of presence
    absent_weight: float = 5.0  # of absent objects in the loss of presence: they are rare
    mask_weight: float = 2.0
    dice_weight: float = 1.0
    iou_weight: float = 0.5
    presence_weight: float = 0.5

    def __post_init__(self) -> None:
        if self.mask not in ("balanced", "focal") or self.weighting not in WEIGHTINGS:
            raise ValueError(
                f"the mask loss is balanced or focal and the weighting one of {', '.join(WEIGHTINGS)}; "
                f"got {self.mask!r} and {self.weighting!r}"
            )


SMALL_LOSS = LossConfig()
# The losses of SAM 2.1's training, with plain cross entropy for presence.
SAM2_LOSS = LossConfig(
    mask="focal",
    weighting="none",
    outline=0.0,
    iou_power=1,
    absent_weight=1.0,
    mask_weight=20.0,
    dice_weight=1.0,
    iou_weight=1.0,
    presence_weight=1.0,
)


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of a frame: scalars, means over the objects that they apply to."""

    mask: Tensor
    dice: Tensor
    iou: Tensor
    presence: Tensor

    def total(self, config: LossConfig) -> Tensor:
        """Return the weighted sum."""
        return (
            config.mask_weight * self.mask
            + config.dice_weight * self.dice
            + config.iou_weight * self.iou
            + config.presence_weight * self.presence
        )


@cached_constant
def _row_weights(weighting: str, height: int) -> Tensor:
    """Return row weights [H, 1] with mean 1: stretch or area of each row of a full sphere, or ones."""
    level = torch.from_numpy(Equirect(2 * height, height).row_latitudes()).cos()
    weights = {
        "distortion": (1 / level).clamp(max=LARGEST_STRETCH),
        "area": level,
        "none": torch.ones_like(level),
    }[weighting]
    return (weights / weights.mean())[:, None]


def pixel_weights(target: Tensor, config: LossConfig, *, near: float = 0.0) -> Tensor:
    """Return weights [N, 1, H, W], mean 1 over the frame, of pixels with target shares [N, 1, H, W].

    ``near``: share of all weights that pixels near the outline get, however small the object is.
    """
    weights = _row_weights(target.device, target.dtype, config.weighting, target.shape[-2])
    if config.outline > 0:
        weights = weights * (1 + config.outline * _outline(target, 1))
    weights = _mean_one(weights.expand_as(target))
    if near > 0:
        around = _mean_one(weights * _outline(target, NEAR))
        weights = _mean_one((1 - near) * weights + near * around)
    return weights


def _mean_one(weights: Tensor) -> Tensor:
    """Scale weights [N, 1, H, W] to mean 1 over the frame; weights of zero everywhere stay zero."""
    return weights / weights.mean((-2, -1), keepdim=True).clamp(min=1e-6)


def _outline(target: Tensor, reach: int) -> Tensor:
    """Return 1 where both object and background lie within ``reach`` pixels, also across the seam, else 0."""
    inside = wrap_pad((target > 0.5).to(target.dtype), reach, reach, 0, 0)
    padded = F.pad(inside, (0, 0, reach, reach), mode="replicate")
    return F.max_pool2d(padded, 2 * reach + 1, 1) + F.max_pool2d(-padded, 2 * reach + 1, 1)


def balanced_cross_entropy(
    logits: Tensor, target: Tensor, balance: float, weights: Tensor | None = None
) -> Tensor:
    """Return the cross entropy [N] of logits and soft targets [N, ..., H, W] with pixel ``weights``.

    ``balance`` 1: object and background have equal weights, however small the object is; 0: all pixels have
    equal weights.
    """
    logits, target = logits.flatten(1), target.flatten(1)
    pixels = torch.ones_like(target) if weights is None else weights.flatten(1)
    share = (pixels * target).mean(1, keepdim=True).clamp(1e-4, 1 - 1e-4)
    weight = target * (0.5 / share) ** balance + (1 - target) * (0.5 / (1 - share)) ** balance
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (pixels * weight * loss).sum(1) / (pixels * weight).sum(1)


def focal_loss(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean focal loss [N] of logits and targets [N, ..., H, W]: Lin et al. 2017, eq. 5."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    share = logits.sigmoid()
    missed = share * (1 - target) + (1 - share) * target
    alpha = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    return (weights * alpha * missed**FOCAL_GAMMA * loss).flatten(1).mean(1)


def dice_loss(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return 1 - soft dice [N] of logits and soft targets [N, ..., H, W]: Milletari et al. 2016."""
    pixels = torch.ones_like(target) if weights is None else weights
    share, target, pixels = (x.flatten(1) for x in (logits.sigmoid(), target, pixels))
    both, either = (pixels * share * target).sum(1), (pixels * (share + target)).sum(1)
    return 1 - (2 * both + 1) / (either + 1)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Return the IoU [N] of the masks logits > 0 and target > 1/2; 1 where both are empty."""
    a, b = (logits > 0).flatten(1), (target > 0.5).flatten(1)
    union = (a | b).sum(1)
    return torch.where(union > 0, (a & b).sum(1) / union.clamp(min=1), 1.0)


def presence_loss(logits: Tensor, present: Tensor, absent_weight: float) -> Tensor:
    """Return the weighted cross entropy, a scalar, of logits [N] and present [N] bool."""
    weight = torch.where(present, 1.0, absent_weight)
    return F.binary_cross_entropy_with_logits(logits, present.float(), weight)


def frame_losses(
    prediction: MaskPrediction,
    target: Tensor,
    present: Tensor,
    *,
    balance: float,
    config: LossConfig = SMALL_LOSS,
    near: float = 0.0,
) -> Losses:
    """Return the losses of one frame.

    target [N, 1, H', W']: shares of the object at the fine logits' size, present [N] bool. Masks count only
    where the object is present, as in SAM2. ``balance``: of the balanced cross entropy; ``near``: of
    ``pixel_weights``.
    """
    share = present.float() / present.sum().clamp(min=1)
    logits, pixels = prediction.fine_logits, pixel_weights(target, config, near=near)
    if config.mask == "focal":
        mask = focal_loss(logits, target, pixels)
    else:
        mask = balanced_cross_entropy(logits, target, balance, pixels)
    iou = mask_iou(logits.detach(), target)
    error, right = prediction.mask_iou - iou, present & (iou >= config.right_iou)
    return Losses(
        mask=(share * mask).sum(),
        dice=(share * dice_loss(logits, target, pixels)).sum(),
        iou=(share * error.abs() ** config.iou_power).sum(),
        presence=presence_loss(prediction.object_score_logits, right, config.absent_weight),
    )
