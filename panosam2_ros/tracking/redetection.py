"""Where lost objects may be, by their colours, and whether what was found there is really them.

Ours (SAM2 and the paper have none): the part of the panorama whose colours speak most for a lost object gets
the object's search region, in the place of the one where it was, so that a search takes no more time. The
network and the object's identity (``model/identity.py``) say whether that is the object. Small networks have
to know objects by their appearance for that: see ``mask_swap_prob`` in ``training/curriculum.py``.

No rule shuts an object out for ever. Some tries look where an object's colours are not, since light changes,
some in a larger or smaller region, since things come closer, and a network that is sure is believed. See
``search_schedule.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from panosam2_ros.geometry.circular import fit_image
from panosam2_ros.geometry.connected_components import connected_components
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import Floats, rotation_matrix
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.colour_histogram import (
    ColourBins,
    colour_bins,
    colour_evidence,
    histogram_intersection,
)
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.identity import OWN, identity_embeddings
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.search_schedule import SearchAttempt

SEARCH_WIDTH = 256  # columns of the panorama in which colours are searched
MIN_LOG_RATIO = 1.0  # evidence, a log ratio, from which a pixel may belong to a lost object
MAX_CANDIDATES = 4  # parts of the panorama that are compared, the largest
MIN_IOU = 0.4  # predicted, of what is taken for the object
# Presence logit and predicted IoU above which the network's word counts for more than colours, which change
# with the light. In 484 object-frames of val in which a mask has other colours than its object (intersection
# below 0.5) the network is as sure as that of none that is wrong.
SURE_SCORE, SURE_IOU = 6.0, 0.85
SHARES = (0.005, 0.4)  # of a search region, least and most, that is taken for the object in another place
_SAME = 1e-4  # difference of cosines that rounding explains: an object is among all that are known
_SIZE_WEIGHT = 0.1  # of the logarithm of the ratio of solid angles, beside the overlap of colours


def redetect(
    frame: Frame,
    colours: Tensor,  # [M, 2, K] of lost objects and of their surroundings, on the CPU
    regions: Sequence[SearchRegion],  # where they were last, [M]
    visible: Sequence[SearchRegion],  # of the objects that are seen: lost ones are not there
) -> list[Floats | None]:
    """Return a direction [3] for each lost object in which its colours are, another one in every try.

    Some tries look anywhere on the sphere, whatever the colours there; None: in this one there is no place.
    """
    fov = frame.grid.vertical_fov
    grid = frame.grid.of_width(SEARCH_WIDTH)
    first = frame.reference_column  # so that nothing depends on where the seam lies
    unroll = rotation_matrix([0.0, first / frame.grid.width * 2 * math.pi, 0.0])
    visible = [replace(region, axes=region.axes @ unroll) for region in visible]
    pixels = fit_image(np.roll(frame.image, -first, 1), 2 * grid.height, 2 * grid.width)
    bins = colour_bins(pixels, 2, planar=False)
    occupied = _occupied(grid, visible)
    evidence = colour_evidence(bins, colours).masked_fill(occupied, -MIN_LOG_RATIO)
    found: list[Floats | None] = []
    for region, own, known in zip(regions, evidence, colours, strict=True):
        attempt = SearchAttempt.of(region)
        if attempt.is_anywhere:
            found.append(unroll @ attempt.direction(fov))
            continue
        size = math.pi / 4 * region.diameter**2
        candidates = rank_candidates(bins, own, known, size, fov)
        likely = candidates[attempt.candidate(len(candidates)), 0]
        extent = TargetExtent.of_mask(likely.numpy() > 0, grid)
        found.append(None if extent is None else unroll @ extent.direction)
    return found


def _occupied(grid: Equirect, regions: Sequence[SearchRegion]) -> Tensor:
    """Return where visible objects are, [1, h, w] bool."""
    occupied, pixel = np.zeros((grid.height, grid.width), bool), 2 * math.pi / grid.width
    for region in regions:
        forward = grid.rotated_vectors(region.axes)[2]
        occupied |= forward > math.cos(region.diameter / 2 + pixel)
    return torch.from_numpy(occupied)[None]


def rank_candidates(
    bins: ColourBins,  # [1, h, w] colours of pixels
    evidence: Tensor,  # [1, h, w] how much each pixel speaks for the object
    colours: Tensor,  # [2, K] of the object and its surroundings
    size: float,  # sr, the object's last solid angle
    vertical_fov: float,  # rad
) -> Tensor:
    """Return masks [1 or more, 1, h, w] of +-1 where an object's colours are, the likeliest first.

    Where its colours are nowhere, one empty mask.
    """
    parts, angles = connected_components((evidence[0] > MIN_LOG_RATIO).cpu().numpy(), 8, vertical_fov)
    angles[0] = 0
    largest = [int(p) for p in np.argsort(-angles)[:MAX_CANDIDATES] if angles[p] > 0]
    if not largest:
        return torch.full_like(evidence, -1.0)[None]
    names = torch.tensor(largest, device=evidence.device)
    masks = torch.where(torch.from_numpy(parts).to(evidence.device) == names[:, None, None], 1.0, -1.0)[
        :, None
    ]
    alike = histogram_intersection(bins, colours.expand(len(names), -1, -1), masks)
    ratio = _solid_angles(masks, vertical_fov) / size
    return masks[(alike - _SIZE_WEIGHT * ratio.log().abs()).argsort(descending=True)]


def is_sure(prediction: MaskPrediction) -> Tensor:
    """Return whether the network is so sure of a mask that colours cannot overrule it, [N] bool."""
    return (prediction.object_score_logits > SURE_SCORE) & (prediction.mask_iou > SURE_IOU)


def is_wrong_match(
    config: ModelConfig,
    bank: MemoryBank,
    features: ImageFeatures,
    prediction: MaskPrediction,  # after the colours' veto
    known: Tensor,  # [M, C] what all objects look like
) -> Tensor:
    """Return whether what was found in other views is not the lost objects, [N] bool.

    Presence, predicted IoU and identity all have to agree. What was found is more like the object than like
    the object's surroundings or any other object, or, with colour evidence, has the object's colours unless
    the network is sure: the features of such small networks tell things apart worse than colours do (with
    both, 2 of 19 objects of val that come back are not found again). The last mask says nothing of the size:
    it may have been what the object was lost by.
    """
    share = (prediction.mask_logits > 0).float().mean((1, 2, 3))
    right = (prediction.object_score_logits > 0) & (prediction.mask_iou >= MIN_IOU)
    right = right & (share > SHARES[0]) & (share < SHARES[1])
    if features.bins is not None and config.colour_evidence:
        alike = histogram_intersection(features.bins, bank.colours, prediction.fine_logits)
        return ~(right & ((alike >= config.colour_search) | is_sure(prediction)))
    found = identity_embeddings(features.identity_maps, prediction.mask_logits)
    right = right & (bank.likeness_to_prompts(found[:, OWN]) >= config.search_likeness)
    return ~right | _is_another(bank, found, known)


def _is_another(bank: MemoryBank, found: Tensor, known: Tensor) -> Tensor:
    """Return whether what was found, [N, 2, C], looks more like something else than like the objects, [N]."""
    own = found[:, OWN]
    likeness = (own * bank.appearance).sum(-1)
    others = torch.cat([own @ known.T, (own * bank.surroundings).sum(-1, keepdim=True)], 1)
    unknown = ~bank.appearance.any(-1)
    return ~unknown & (likeness < others.max(1).values - _SAME)


def _solid_angles(mask_logits: Tensor, vertical_fov: float) -> Tensor:
    """Return the solid angles [N], sr, of masks [N, 1, H, W] of panoramas, which networks may see square."""
    height, width = mask_logits.shape[-2:]
    rows = torch.from_numpy(Equirect(2 * height, height, vertical_fov).pixel_solid_angles()).to(mask_logits)
    return (mask_logits[:, 0] > 0).sum(-1).to(rows) @ rows * (2 * height / width)
