"""One frame for all objects: read memory, attend, decode, encode, remember.

The tracker and the training drive the same two functions, so what is trained is what runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from panosam2_ros.geometry.circular import wrap_resize
from panosam2_ros.memory.frame_memory import BankRules, FrameMemory
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.colour_histogram import (
    BINS,
    colour_histograms,
    histogram_intersection,
)
from panosam2_ros.model.identity import OWN, identity_embeddings
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import DecoderPrompts, MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.per_object import per_object
from panosam2_ros.model.pixel_matching import match_evidence
from panosam2_ros.prompts.encoding import EncodedPrompts, centre_token
from panosam2_ros.tracking.colour_veto import colours_now, judge_colours
from panosam2_ros.tracking.propagation_result import CERTAIN, PropagationResult
from panosam2_ros.tracking.redetection import is_wrong_match

NO_OBJ_SCORE = -1024.0  # SAM2's logits of the mask of an absent object
# Frames without a memory, after which a doubtful one is kept: what is never remembered stays doubtful.
MOST_DOUBTFUL = 10


def empty_bank(model: PanoSAM2, count: int) -> MemoryBank:
    """Return a bank for ``count`` new objects of ``model``."""
    config = model.config
    grid = (model.input_size[0] // config.stride, model.input_size[1] // config.stride)
    rules = BankRules(
        slots=config.slots,
        max_obj_ptrs=config.max_obj_ptrs,
        max_cond=config.max_cond_slots,
        anchors=config.anchors,
        anchor_period=config.anchor_period,
        anchor_similarity=config.anchor_similarity,
        confident=config.confident_iou,
        keyframes=config.keeps_pixels,
    )
    dtype = getattr(torch, config.memory_dtype)
    colours = BINS if config.sees_colours else 0
    return MemoryBank.empty(
        count,
        rules,
        memory_dim=config.memory_dim,
        hidden_dim=config.hidden_dim,
        grid=grid,
        memory_grid=model.memory_grid,
        device=model.device,
        dtype=dtype,
        colours=colours,
        matched=(config.matched_frames, sum(model.image_encoder.trunk.channel_list[1:3])),
    )


def propagate(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    *,
    use_previous: Tensor | None = None,  # [N] bool; training hides some previous masks
    present: Tensor | None = None,  # [N] bool; training knows which objects are in the image
    elsewhere: Tensor | None = None,  # [N] bool: lost objects that are searched in another region
    outdated: Tensor | None = None,  # [N] bool: objects whose remembered colours do not count
    known: Tensor | None = None,  # [M, C] what all objects look like; None: those of the bank
    reach: Tensor | None = None,  # [N] of the views, as ``InputView.reach``; None: memories stay as they are
    stamp: int | Tensor | None = None,  # ns, of the image, [N]; None: by the count of frames
) -> PropagationResult:
    """Find every object of ``bank`` in an image; remember it where it is present."""
    aligned = _aligned_to(model, bank, reach)
    evidence = _evidence(bank, features)
    prediction = model.decode(
        model.condition(features, bank.read(aligned)),
        features,
        _previous_mask_prompt(model, bank, use_previous, aligned),
        bank.centre,
        torch.ones(len(bank), dtype=torch.bool, device=model.device),
        evidence=evidence,
    )
    prediction = _checked(model, bank, features, prediction, evidence)
    scores = prediction.object_score_logits
    colours = None
    if features.bins is not None:
        relearned = torch.zeros_like(bank.seen) if outdated is None else outdated & (scores > 0)
        if model.config.colour_evidence:
            prediction, scores = judge_colours(model, bank, features.bins, prediction, relearned)
        if model.config.colour_learning:
            colours = colours_now(model, bank, features.bins, prediction, relearned)
    if elsewhere is not None:
        known = bank.appearance if known is None else known
        judged = replace(prediction, object_score_logits=scores)
        wrong = is_wrong_match(model.config, bank, features, judged, known)
        scores = torch.where(elsewhere & wrong, scores.clamp(max=-CERTAIN), scores)
    if present is None:
        present = (scores > 0) & (prediction.mask_logits > 0).flatten(1).any(1)
    seen = _Sighting(
        prediction, prediction.mask_logits, present, prompted=False, colours=colours, reach=reach, stamp=stamp
    )
    after = _remember(model, bank, features, seen)
    own = (prediction.mask_logits, prediction.fine_logits, scores, bank.mask_logits)
    return PropagationResult(prediction, *own, after)


def _evidence(bank: MemoryBank, features: ImageFeatures) -> Tensor | None:
    """Return how much pixels match those of prompted frames; None for networks that do not compare them."""
    if features.keys is None:
        return None
    known = bank.references
    return match_evidence(features.keys, known.keys, known.share, known.valid)


def _checked(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    prediction: MaskPrediction,
    evidence: Tensor | None,
) -> MaskPrediction:
    """Return a prediction whose presence follows identity, too, in networks that check that.

    What is unlike an object that was not seen is not learned to be it or not: its score had no gradient.
    """
    if model.identity_check is None or evidence is None:
        return prediction
    own = identity_embeddings(features.identity_maps, prediction.mask_logits)[:, OWN]
    scores = model.identity_check(own, bank.identity, evidence, prediction)
    if not model.training:
        unlike = bank.likeness_to_prompts(own) < model.config.return_likeness
        scores = torch.where(unlike & ~bank.seen, scores.clamp(max=-CERTAIN), scores)
    return replace(prediction, object_score_logits=scores)


def remember_instead(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    found: PropagationResult,
    *,
    reach: Tensor | None = None,
    stamp: int | None = None,
) -> PropagationResult:
    """Return what was found with the memory of it; ``bank`` is the memory before the frame.

    ``reach`` and ``stamp`` as in ``propagate``. Masks that were vetoed for their colours are judged again.
    """
    prediction, scores, colours = found.prediction, found.scores, None
    if features.bins is not None and model.config.colour_evidence:
        alike = histogram_intersection(features.bins, bank.colours, prediction.fine_logits)
        right = (alike >= model.config.colour_likeness) & (prediction.fine_logits > 0).flatten(1).any(1)
        scores = torch.where(right, prediction.object_score_logits, scores)
    present = scores > 0
    if features.bins is not None and model.config.colour_learning:
        colours = colours_now(model, bank, features.bins, prediction, torch.zeros_like(present))
    seen = _Sighting(
        prediction, found.mask_logits, present, prompted=False, colours=colours, reach=reach, stamp=stamp
    )
    return replace(found, scores=scores, bank=_remember(model, bank, features, seen))


def remember_prompted(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    found: PropagationResult,
    *,
    reach: Tensor | None = None,
    stamp: int | None = None,
) -> PropagationResult:
    """Return what was found of prompts with the memory of it; ``bank`` is the memory before the frame."""
    colours = None if features.bins is None else colour_histograms(features.bins, found.fine_logits)
    seen = _Sighting(
        found.prediction,
        found.mask_logits,
        torch.ones_like(found.scores, dtype=torch.bool),
        prompted=True,
        colours=colours,
        reach=reach,
        stamp=stamp,
    )
    return replace(found, bank=_remember(model, bank, features, seen))


def segment_prompts(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    prompts: EncodedPrompts,
    *,
    corrects: bool,  # known objects, whose memory speaks, too
    reach: Tensor | None = None,  # [N] of the views, as in ``propagate``
    stamp: int | None = None,
) -> PropagationResult:
    """Segment prompted objects, the rows of ``bank``."""
    embedding = model.without_memory(features, len(bank))
    if corrects:
        known = bank.maskmem.valid.any(1)[:, None, None, None]
        embedding = torch.where(
            known, model.condition(features, bank.read(_aligned_to(model, bank, reach))), embedding
        )
    decoder_prompts = prompts.decoder
    if prompts.mask_pixels is not None:
        embedding, decoder_prompts = _as_sam2_takes_masks(
            model, embedding, features, prompts, prompts.mask_pixels
        )
    prediction = model.decode(embedding, features, decoder_prompts, prompts.centre, prompts.ambiguous)
    given = prompts.is_given[:, None, None, None]
    mask_logits = torch.where(given, prompts.given, prediction.mask_logits)
    given_fine = _resized(prompts.given, prediction.fine_logits, wrap=model.config.wraps)
    fine = torch.where(given, given_fine, prediction.fine_logits)
    present = torch.ones_like(prompts.is_given)
    colours = None if features.bins is None else colour_histograms(features.bins, fine)
    seen = _Sighting(
        prediction, mask_logits, present, prompted=True, colours=colours, reach=reach, stamp=stamp
    )
    after = _remember(model, bank, features, seen)
    sure = torch.full_like(prediction.object_score_logits, CERTAIN)
    return PropagationResult(prediction, mask_logits, fine, sure, bank.mask_logits, after)


def _resized(masks: Tensor, like: Tensor, *, wrap: bool) -> Tensor:
    """Return masks [N, 1, 4h, 4w] at the size of ``like``."""
    height, width = like.shape[-2:]
    return wrap_resize(masks, height, width, wrap=wrap)


def _as_sam2_takes_masks(
    model: PanoSAM2,
    embedding: Tensor,
    features: ImageFeatures,
    prompts: EncodedPrompts,
    mask_pixels: Tensor,  # [N, 1, H, W] of ``prompts``
) -> tuple[Tensor, DecoderPrompts]:
    """Return embedding and prompts with which SAM2 makes the pointer of an object whose mask is given."""
    given = prompts.is_given[:, None, None, None]
    count = embedding.shape[0] // features.embedding.shape[0]
    plain = features.embedding.repeat_interleave(count, 0)
    mask_input = torch.where(given, model.mask_downsample(mask_pixels), prompts.decoder.mask_input)
    return torch.where(given, plain, embedding), replace(prompts.decoder, mask_input=mask_input)


def _aligned_to(model: PanoSAM2, bank: MemoryBank, reach: Tensor | None) -> Tensor | None:
    """Return the reach [N] to which memories are resampled; None for a network whose memories are not.

    An object that was not seen in the last frame may come back at any size: its memory stays as it is. With
    it resampled to widened regions, J of objects that come back at twice their size, in staged scenes of the
    training split, is 0.74 for 0.97.
    """
    if reach is None or not model.config.align_memory or model.config.memory_tokens != "map":
        return None
    return torch.where(bank.seen, reach, 0.0)


def _previous_mask_prompt(
    model: PanoSAM2, bank: MemoryBank, allowed: Tensor | None, reach: Tensor | None
) -> DecoderPrompts:
    """Return the last mask as a dense prompt, where the object was seen in the last frame."""
    fresh = bank.seen if model.config.previous_mask_prompt else torch.zeros_like(bank.seen)
    if allowed is not None:
        fresh = fresh & allowed
    clamp = model.config.prompt_logit
    last = bank.last_masks(reach, outside=-clamp)
    return DecoderPrompts.of_masks(last.detach().clamp(-clamp, clamp), fresh)


@dataclass(frozen=True, eq=False)
class _Sighting:
    """What is to be remembered of one frame."""

    prediction: MaskPrediction
    mask_logits: Tensor  # [N, 1, 4h, 4w], of the prediction or given by prompts
    present: Tensor  # [N] bool
    prompted: bool
    colours: Tensor | None  # [N, 2, K]; None: as before
    reach: Tensor | None  # [N] of the views
    stamp: int | Tensor | None  # ns, of the image


def _remember(model: PanoSAM2, bank: MemoryBank, features: ImageFeatures, new: _Sighting) -> MemoryBank:
    """Write a frame into the bank for objects that are present, with enough confidence."""
    mask_logits, present = new.mask_logits, new.present
    cond = torch.ones_like(present) if new.prompted else torch.zeros_like(present)
    confidence = torch.where(cond, 1.0, new.prediction.mask_iou)
    unwritten = bank.frame - 1 - bank.maskmem.written.max(1).values
    keep = present & ((confidence >= model.config.doubtful_iou) | (unwritten >= MOST_DOUBTFUL))
    if model.config.remember_absent:
        keep = keep | ~present
        mask_logits = torch.where(present[:, None, None, None], mask_logits, NO_OBJ_SCORE)
    return bank.write(
        FrameMemory(
            maskmem_features=model.encode_memory(features, mask_logits, present, prompted=new.prompted),
            obj_ptrs=model.object_pointer(new.prediction.sam_token, present),
            mask_logits=mask_logits,
            centre=centre_token(mask_logits, bank.centre),
            keep=keep,
            cond=cond,
            present=present,
            confidence=confidence,
            colours=new.colours,
            identity=identity_embeddings(features.identity_maps, mask_logits),
            reach=new.reach,
            pixels=features.pixels,
            keys=_of_objects(features.keys, len(bank)),
            stamp=None if new.stamp is None else torch.zeros_like(bank.frame) + new.stamp,
        )
    )


def _of_objects(maps: Tensor | None, count: int) -> Tensor | None:
    """Repeat the maps [B, ...] of images for each of their objects, [count, ...]."""
    return None if maps is None else per_object(maps, count)
