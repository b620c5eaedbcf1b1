"""Colours as evidence in masks, and as a veto against masks of other colours than the object's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.colour_histogram import (
    ColourBins,
    colour_evidence,
    colour_histograms,
    histogram_intersection,
)
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.propagation_result import CERTAIN
from panosam2_ros.tracking.redetection import is_sure

THIN_SHARE = 0.1  # of a mask's pixels, at most, that are inner ones of a thin object


def judge_colours(
    model: PanoSAM2, bank: MemoryBank, bins: ColourBins, prediction: MaskPrediction, relearned: Tensor
) -> tuple[MaskPrediction, Tensor]:
    """Let colours shift the mask logits, and veto masks of other colours than the object's.

    Neither is done for objects whose colours are ``relearned`` [N] bool, nor where the network is sure of a
    mask of other colours, so that the veto does not outlast its doubt. Returns the prediction and the
    presence logits [N].
    """
    scores = prediction.object_score_logits
    evidence = model.config.colour_evidence * colour_evidence(bins, bank.colours)
    alike = histogram_intersection(bins, bank.colours, prediction.fine_logits)
    left = histogram_intersection(bins, bank.colours, prediction.shifted(evidence).fine_logits)
    # a mask of few pixels spills over a thin object: what the colours leave of it is compared
    alike = torch.where(_is_thin(bank.mask_logits), left, alike)
    unlike = alike < model.config.colour_likeness
    overruled = relearned | (unlike & is_sure(prediction))
    scores = torch.where(unlike & ~overruled, scores.clamp(max=-CERTAIN), scores)
    return prediction.shifted(torch.where(overruled[:, None, None, None], 0.0, evidence)), scores


def _is_thin(mask_logits: Tensor) -> Tensor:
    """Return whether masks [N, 1, h, w] have hardly a pixel whose 3x3 neighbours all belong to them, [N]."""
    mask = (mask_logits > 0).float()
    inner = -F.max_pool2d(-mask, 3, 1, 1)
    return inner.sum((1, 2, 3)) <= THIN_SHARE * mask.sum((1, 2, 3))


def colours_now(
    model: PanoSAM2, bank: MemoryBank, bins: ColourBins, prediction: MaskPrediction, relearned: Tensor
) -> Tensor:
    """Return colours moved towards this frame's where the mask is likely right, since light changes.

    Those of objects that are ``relearned`` [N] bool are this frame's.
    """
    found = colour_histograms(bins, prediction.fine_logits)
    rate = torch.where(prediction.mask_iou >= model.config.colour_iou, model.config.colour_learning, 0.0)
    rate = torch.where(relearned, 1.0, rate)
    return torch.lerp(bank.colours, found.to(bank.colours), rate[:, None, None].to(bank.colours))
