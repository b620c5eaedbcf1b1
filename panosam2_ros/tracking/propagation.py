"""One frame for all objects: read memory, attend, decode, encode, remember.

The tracker and the training drive the same two functions, so what is trained is what runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce

import torch
from torch import Tensor

from panosam2_ros.geometry.circular import wrap_resize
from panosam2_ros.memory.memory_bank import BankRules, FrameMemory, MemoryBank
from panosam2_ros.model.colour_histogram import (
    BINS,
    colour_evidence,
    colour_histograms,
    histogram_intersection,
    with_colours,
)
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import DecoderPrompts, MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import EncodedPrompts, centre_token
from panosam2_ros.tracking.redetection import is_wrong_match, redetect

NO_OBJ_SCORE = -1024.0  # SAM2's logits of the mask of an absent object
CERTAIN = 10.0  # presence logit of a prompted object


@dataclass(frozen=True)
class PropagationResult:
    """What one frame gave for N objects."""

    prediction: MaskPrediction
    mask_logits: Tensor  # [N, 1, 4h, 4w]: a prompt's mask where one was given, else the decoder's
    fine_logits: Tensor  # [N, 1, H', W'], the same at the stride of the masks that come out
    scores: Tensor  # [N] logits of presence; a prompt says that its object is present
    bank: MemoryBank  # after this frame

    def select(self, rows: Tensor) -> PropagationResult:
        """The same of these objects, [M] int64, in this order."""
        prediction = MaskPrediction(*(getattr(self.prediction, f.name)[rows] for f in fields(MaskPrediction)))
        own = (self.mask_logits[rows], self.fine_logits[rows], self.scores[rows])
        return PropagationResult(prediction, *own, self.bank.select(rows))

    @classmethod
    def joined(cls, parts: Sequence[PropagationResult]) -> PropagationResult:
        """The objects of all parts, in this order."""
        if len(parts) == 1:
            return parts[0]
        predictions = [part.prediction for part in parts]
        return cls(
            MaskPrediction(
                *(torch.cat([getattr(p, f.name) for p in predictions]) for f in fields(MaskPrediction))
            ),
            torch.cat([part.mask_logits for part in parts]),
            torch.cat([part.fine_logits for part in parts]),
            torch.cat([part.scores for part in parts]),
            reduce(MemoryBank.append, [part.bank for part in parts]),
        )


def empty_bank(model: PanoSAM2, count: int) -> MemoryBank:
    """A bank for ``count`` new objects of ``model``."""
    config = model.config
    grid = (model.input_size[0] // config.stride, model.input_size[1] // config.stride)
    rules = BankRules(
        config.slots, config.max_obj_ptrs, config.max_cond_slots, config.anchors,
        config.anchor_interval, config.anchor_similarity, config.confident_iou, config.recreate_slots,
    )  # fmt: skip
    dtype = getattr(torch, config.memory_dtype)
    colours = BINS if config.colour_evidence else 0
    return MemoryBank.empty(
        count, rules, config.memory_dim, config.hidden_dim, grid, model.device, dtype, colours
    )


def propagate(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    use_previous: Tensor | None = None,  # [N] bool; training hides some previous masks
    present: Tensor | None = None,  # [N] bool; training knows which objects are in the image
    elsewhere: Tensor | None = None,  # [N] bool: objects that were lost and are looked for in another region
    vertical_fov: float = math.pi,  # rad
) -> PropagationResult:
    """Find every object of ``bank`` in an image; remember it where it is present."""
    conditioned = model.condition(features, bank.read())
    prediction = model.decode(
        conditioned,
        features,
        _previous_mask_prompt(model, bank, use_previous),
        bank.centre,
        torch.ones(len(bank), dtype=torch.bool, device=model.device),
    )
    scores = prediction.object_score_logits
    colours = None
    if features.bins is not None:
        evidence = colour_evidence(features.bins, bank.colours)
        alike = histogram_intersection(features.bins, bank.colours, prediction.fine_logits)
        scores = torch.where(alike < model.config.colour_likeness, scores.clamp(max=-CERTAIN), scores)
        prediction = with_colours(prediction, model.config.colour_evidence * evidence)
        if elsewhere is not None:
            wrong = is_wrong_match(scores, bank, prediction, features.bins, model.config.colour_search)
            scores = torch.where(elsewhere & wrong, scores.clamp(max=-CERTAIN), scores)
        if present is None and model.config.colour_search and not model.config.regions:
            prediction, scores = redetect(
                model, bank, features, conditioned, evidence, prediction, scores, vertical_fov
            )
        if model.config.colour_learning:
            colours = _colours_now(model, bank, features.bins, prediction)
    if present is None:
        present = (scores > 0) & (prediction.mask_logits > 0).flatten(1).any(1)
    after = _remember(model, bank, features, prediction, prediction.mask_logits, present, False, colours)
    return PropagationResult(prediction, prediction.mask_logits, prediction.fine_logits, scores, after)


def _colours_now(model: PanoSAM2, bank: MemoryBank, bins: Tensor, prediction: MaskPrediction) -> Tensor:
    """What is known of colours, a little more like this frame's where that is likely right: light changes."""
    found = colour_histograms(bins, prediction.fine_logits)
    rate = torch.where(prediction.mask_iou >= model.config.colour_iou, model.config.colour_learning, 0.0)
    return torch.lerp(bank.colours, found.to(bank.colours), rate[:, None, None].to(bank.colours))


def segment_prompts(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    prompts: EncodedPrompts,
    remembered: bool,
) -> PropagationResult:
    """Segment prompted objects, the rows of ``bank``; ``to_dict``: correct them from memory."""
    embedding = model.without_memory(features, len(bank))
    if remembered:
        known = bank.maskmem.valid.any(1)[:, None, None, None]
        embedding = torch.where(known, model.condition(features, bank.read()), embedding)
    decoder_prompts = prompts.decoder
    if prompts.mask_pixels is not None:
        embedding, decoder_prompts = _as_sam2_takes_masks(model, embedding, features, prompts)
    prediction = model.decode(embedding, features, decoder_prompts, prompts.centre, prompts.ambiguous)
    given = prompts.is_given[:, None, None, None]
    mask_logits = torch.where(given, prompts.given, prediction.mask_logits)
    given_fine = _resized(prompts.given, prediction.fine_logits, model.config.wrap)
    fine = torch.where(given, given_fine, prediction.fine_logits)
    present = torch.ones_like(prompts.is_given)
    colours = None if features.bins is None else colour_histograms(features.bins, fine)
    after = _remember(model, bank, features, prediction, mask_logits, present, True, colours)
    sure = torch.full_like(prediction.object_score_logits, CERTAIN)
    return PropagationResult(prediction, mask_logits, fine, sure, after)


def _resized(masks: Tensor, like: Tensor, wrap: bool) -> Tensor:
    """Masks [N, 1, 4h, 4w] at the size of ``like``."""
    height, width = like.shape[-2:]
    return wrap_resize(masks, height, width, wrap)


def _as_sam2_takes_masks(
    model: PanoSAM2, embedding: Tensor, features: ImageFeatures, prompts: EncodedPrompts
) -> tuple[Tensor, DecoderPrompts]:
    """Embedding and prompts with which SAM2 makes the pointer of an object whose mask is given."""
    assert prompts.mask_pixels is not None
    given = prompts.is_given[:, None, None, None]
    count = embedding.shape[0] // features.embedding.shape[0]
    plain = features.embedding.repeat_interleave(count, 0)
    mask_input = torch.where(given, model.mask_downsample(prompts.mask_pixels), prompts.decoder.mask_input)
    return torch.where(given, plain, embedding), replace(prompts.decoder, mask_input=mask_input)


def _previous_mask_prompt(model: PanoSAM2, bank: MemoryBank, allowed: Tensor | None) -> DecoderPrompts:
    """The last mask as a dense prompt, where the object was seen in the last frame."""
    fresh = bank.seen if model.config.previous_mask_prompt else torch.zeros_like(bank.seen)
    if allowed is not None:
        fresh = fresh & allowed
    clamp = model.config.prompt_logit
    return DecoderPrompts.of_masks(bank.mask_logits.detach().clamp(-clamp, clamp), fresh)


def _remember(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    prediction: MaskPrediction,
    mask_logits: Tensor,
    present: Tensor,
    prompted: bool,
    colours: Tensor | None = None,
) -> MemoryBank:
    """Write the frame into the bank for the objects that are present, beyond doubt."""
    cond = torch.full_like(present, prompted)
    confidence = torch.where(cond, 1.0, prediction.mask_iou)
    keep = present & (confidence >= model.config.doubtful_iou)
    if model.config.remember_absent:
        keep = keep | ~present
        mask_logits = torch.where(present[:, None, None, None], mask_logits, NO_OBJ_SCORE)
    return bank.write(
        FrameMemory(
            maskmem_features=model.encode_memory(features, mask_logits, present, prompted),
            obj_ptrs=model.object_pointer(prediction.sam_token, present),
            mask_logits=mask_logits,
            centre=centre_token(mask_logits, bank.centre),
            keep=keep,
            cond=cond,
            present=present,
            confidence=confidence,
            colours=colours,
        )
    )
