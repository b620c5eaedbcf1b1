"""Objects that the network does not find in an image, looked for by their colours.

Our own aid to small networks (SAM2 and the paper have none): the part of the panorama whose colours
speak most for a lost object is shown to the decoder as if it were the last mask, or gets the object's
search region, and the network says whether that is the object. It has to know objects by what they are
for that: see ``mislead`` in ``training/curriculum.py``.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.geometry.connected_components import connected_components
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.colour_histogram import histogram_intersection, with_colours
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import DecoderPrompts, MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE, centre_token

MAX_SEARCHED_PER_FRAME = 4  # objects that are looked for in one image, so that its time is bounded
MIN_LOG_RATIO = 1.0  # evidence, a log ratio, from which a pixel may belong to a lost object
MOST_PARTS = 4  # of the panorama that are compared, the largest
LEAST_IOU = 0.4  # predicted, of what is taken for the object
SIZE_RATIO = 6.0  # largest ratio of its solid angles, now and when it was last seen
SHARES = (0.005, 0.4)  # of a search region, least and most, that is taken for the object in another place
MOST_SHARED = 0.5  # less than this share of it belongs to objects that are in sight
_SIZE_WEIGHT = 0.1  # of the logarithm of that ratio, beside the overlap of colours


def redetect(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,  # with colours
    conditioned: Tensor,  # [N, C, h, w], the image as memory has it
    evidence: Tensor,  # [N, 1, H', W']
    prediction: MaskPrediction,
    scores: Tensor,  # [N] logits of presence
    vertical_fov: float,  # rad
) -> tuple[MaskPrediction, Tensor]:
    """Prediction and scores, replaced for objects that were not found and are now."""
    assert features.bins is not None
    seen = (scores > 0) & (prediction.mask_logits > 0).flatten(1).any(1)
    rows = _missing(bank, seen)
    if not len(rows) or len(features.bins) > 1:  # several: clips of a batch, in training
        return prediction, scores
    taken = (prediction.fine_logits[seen] > 0).any(0)  # by other objects
    lost = bank.select(rows)
    free = evidence[rows].masked_fill(taken, -MIN_LOG_RATIO)
    each = zip(free, lost.colours, _solid_angles(lost.mask_logits, vertical_fov), strict=True)
    places = [rank_candidates(features.bins, *one, vertical_fov)[0] for one in each]
    shown = F.avg_pool2d(torch.stack(places), LOW_RES_STRIDE // model.config.mask_stride)
    yes = torch.ones_like(rows, dtype=torch.bool)
    prompts = DecoderPrompts.of_masks(shown * model.config.prompt_logit, yes)
    again = model.decode(conditioned[rows], features, prompts, centre_token(shown, lost.centre), yes)
    again = with_colours(again, model.config.colour_evidence * evidence[rows])
    ratio = _solid_angles(again.mask_logits, vertical_fov) / _solid_angles(lost.mask_logits, vertical_fov)
    found = _are_they(lost, again, features.bins, taken, model.config.colour_search)
    found &= (ratio < SIZE_RATIO) & (ratio > 1 / SIZE_RATIO)
    rows = rows[found]
    parts = {
        f.name: getattr(prediction, f.name).index_copy(0, rows, getattr(again, f.name)[found])
        for f in fields(MaskPrediction)
    }
    return MaskPrediction(**parts), scores.index_copy(0, rows, again.object_score_logits[found])


def is_wrong_match(
    scores: Tensor, bank: MemoryBank, prediction: MaskPrediction, bins: Tensor, least: float
) -> Tensor:
    """[N] bool: what was found in search regions elsewhere and is not the objects that were lost.

    ``scores`` [N]: logits of presence; ``bins`` [N, h, w] of the regions; ``least``: overlap of colours. The
    last mask says nothing of the size: it may have been what the object was lost by.
    """
    share = (prediction.mask_logits > 0).float().mean((1, 2, 3))
    right = (scores > 0) & (prediction.mask_iou >= LEAST_IOU) & (share > SHARES[0]) & (share < SHARES[1])
    return ~(right & (histogram_intersection(bins, bank.colours, prediction.fine_logits) >= least))


def _are_they(lost: MemoryBank, again: MaskPrediction, bins: Tensor, taken: Tensor, least: float) -> Tensor:
    """[M] bool: whether what was found are the objects that were lost.

    ``taken`` [1, H', W'] bool: where others are; ``least``: overlap of colours.
    """
    own = again.fine_logits > 0
    return (
        (again.object_score_logits > 0)
        & (again.mask_iou >= LEAST_IOU)
        & (histogram_intersection(bins, lost.colours, again.fine_logits) >= least)
        & ((own & taken).sum((1, 2, 3)) < MOST_SHARED * own.sum((1, 2, 3)))
    )


def _missing(bank: MemoryBank, seen: Tensor) -> Tensor:
    """Rows [M] of objects of known colours that are not ``seen`` [N] bool, in turns where they are many."""
    known = (bank.colours[:, 0].sum(1) > 0) & (bank.mask_logits > 0).flatten(1).any(1)
    rows = (known & ~seen).nonzero()[:, 0]
    if len(rows) > MAX_SEARCHED_PER_FRAME:
        rows = rows.roll(-MAX_SEARCHED_PER_FRAME * int(bank.frame.max()))[:MAX_SEARCHED_PER_FRAME]
    return rows


def rank_candidates(
    bins: Tensor, evidence: Tensor, colours: Tensor, size: Tensor | float, vertical_fov: float
) -> Tensor:
    """Where an object's colours are most, first: [1 or more, 1, H', W'], 1 there and -1 elsewhere.

    ``bins`` and ``evidence`` [1, H', W'], ``colours`` [2, K]; ``size``: its last solid angle, sr. Where its
    colours are nowhere that is nowhere, too.
    """
    parts, angles = connected_components((evidence[0] > MIN_LOG_RATIO).cpu().numpy(), 8, vertical_fov)
    angles[0] = 0
    largest = [int(p) for p in np.argsort(-angles)[:MOST_PARTS] if angles[p] > 0]
    if not largest:
        return torch.full_like(evidence, -1.0)[None]
    names = torch.tensor(largest, device=bins.device)
    masks = torch.where(torch.from_numpy(parts).to(bins.device) == names[:, None, None], 1.0, -1.0)[:, None]
    alike = histogram_intersection(bins, colours.expand(len(names), -1, -1), masks)
    ratio = _solid_angles(masks, vertical_fov) / size
    return masks[(alike - _SIZE_WEIGHT * ratio.log().abs()).argsort(descending=True)]


def _solid_angles(mask_logits: Tensor, vertical_fov: float) -> Tensor:
    """Of masks [N, 1, H, W], in sr."""
    height, width = mask_logits.shape[-2:]
    rows = torch.from_numpy(Equirect(2 * height, height, vertical_fov).pixel_solid_angles()).to(mask_logits)
    return (mask_logits[:, 0] > 0).sum(-1).to(rows) @ rows * (2 * height / width)  # networks may be square
