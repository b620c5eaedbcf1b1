"""One frame for all objects: read memory, attend, decode, encode, remember.

The tracker and the training drive the same two functions, so what is trained is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.geometry.circular import wrap_resize
from panosam2_ros.geometry.window import Logits
from panosam2_ros.memory.memory_bank import BankRules, FrameMemory, MemoryBank
from panosam2_ros.model.colour_histogram import (
    BINS,
    ColourBins,
    colour_evidence,
    colour_histograms,
    histogram_intersection,
)
from panosam2_ros.model.identity import identity_embeddings
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import DecoderPrompts, MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE, EncodedPrompts, centre_token
from panosam2_ros.tracking.redetection import is_sure, is_wrong_match

NO_OBJ_SCORE = -1024.0  # SAM2's logits of the mask of an absent object
CERTAIN = 10.0  # presence logit of a prompted object
# Frames without a memory, after which a doubtful one is kept: what is never remembered stays doubtful.
MOST_DOUBTFUL = 10
THIN_SHARE = 0.1  # of a mask's pixels, at most, that are inner ones of a thin object


@dataclass(frozen=True, eq=False)
class PropagationResult:
    """What a network found of N objects in one frame."""

    prediction: MaskPrediction
    mask_logits: Tensor  # [N, 1, 4h, 4w]: a prompt's mask where one was given, else the decoder's
    fine_logits: Tensor  # [N, 1, H', W'], the same at the stride of the masks that come out
    scores: Tensor  # [N] logits of presence; a prompt says that its object is present
    bank: MemoryBank  # after this frame

    def select(self, rows: Tensor | slice) -> PropagationResult:
        """Return the result of these objects, [M] int64, in this order."""
        prediction = MaskPrediction(*(getattr(self.prediction, f.name)[rows] for f in fields(MaskPrediction)))
        own = (self.mask_logits[rows], self.fine_logits[rows], self.scores[rows])
        return PropagationResult(prediction, *own, self.bank.select(rows))

    def with_masks(self, fine_logits: Tensor, stride: int) -> PropagationResult:
        """Return the result with other masks, logits [N, 1, H', W'] at a stride in pixels; memory stays.

        Objects whose mask is empty are not present.
        """
        mask_logits = F.avg_pool2d(fine_logits, LOW_RES_STRIDE // stride)
        prediction = replace(self.prediction, mask_logits=mask_logits, fine_logits=fine_logits)
        empty = ~(fine_logits > 0).flatten(1).any(1)
        scores = torch.where(empty, self.scores.clamp(max=-CERTAIN), self.scores)
        return PropagationResult(prediction, mask_logits, fine_logits, scores, self.bank)

    def replaced(self, rows: Mapping[int, int], other: PropagationResult) -> PropagationResult:
        """Return the result with some rows of another one in the place of its own: own row -> other's row."""
        if not rows:
            return self
        count = len(self.scores)
        chosen = [count + rows[row] if row in rows else row for row in range(count)]
        return PropagationResult.concatenated([self, other]).select(
            torch.tensor(chosen, device=self.scores.device)
        )

    def found_logits(self, rows: Sequence[int], *, vetoed: bool = False) -> list[Logits | None]:
        """Return the fine logits [h, w] of these objects on the CPU; None for those that are not present.

        ``vetoed``: also of those that the network sees and a rule does not believe.
        """
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.scores.device)
        logits = self.fine_logits[chosen, 0].float().cpu().numpy()
        scores = self.prediction.object_score_logits if vetoed else self.scores
        present = (scores[chosen] > 0).tolist()
        return [
            own if there and (own > 0).any() else None for own, there in zip(logits, present, strict=True)
        ]

    @classmethod
    def concatenated(cls, parts: Sequence[PropagationResult]) -> PropagationResult:
        """Return the objects of all parts, in this order."""
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
    stamp: int | None = None,  # ns, of the image; None: by the count of frames
) -> PropagationResult:
    """Find every object of ``bank`` in an image; remember it where it is present."""
    aligned = _aligned_to(model, bank, reach)
    prediction = model.decode(
        model.condition(features, bank.read(aligned)),
        features,
        _previous_mask_prompt(model, bank, use_previous, aligned),
        bank.centre,
        torch.ones(len(bank), dtype=torch.bool, device=model.device),
    )
    scores = prediction.object_score_logits
    colours = None
    if features.bins is not None:
        relearned = torch.zeros_like(bank.seen) if outdated is None else outdated & (scores > 0)
        if model.config.colour_evidence:
            prediction, scores = _judge_colours(model, bank, features.bins, prediction, relearned)
        if model.config.colour_learning:
            colours = _colours_now(model, bank, features.bins, prediction, relearned)
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
    return PropagationResult(prediction, prediction.mask_logits, prediction.fine_logits, scores, after)


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
        colours = _colours_now(model, bank, features.bins, prediction, torch.zeros_like(present))
    seen = _Sighting(
        prediction, found.mask_logits, present, prompted=False, colours=colours, reach=reach, stamp=stamp
    )
    return replace(found, scores=scores, bank=_remember(model, bank, features, seen))


def _judge_colours(
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


def _colours_now(
    model: PanoSAM2, bank: MemoryBank, bins: ColourBins, prediction: MaskPrediction, relearned: Tensor
) -> Tensor:
    """Return colours moved towards this frame's where the mask is likely right, since light changes.

    Those of objects that are ``relearned`` [N] bool are this frame's.
    """
    found = colour_histograms(bins, prediction.fine_logits)
    rate = torch.where(prediction.mask_iou >= model.config.colour_iou, model.config.colour_learning, 0.0)
    rate = torch.where(relearned, 1.0, rate)
    return torch.lerp(bank.colours, found.to(bank.colours), rate[:, None, None].to(bank.colours))


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
    return PropagationResult(prediction, mask_logits, fine, sure, after)


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
    training split, is 0.65 for 0.97.
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
    stamp: int | None  # ns, of the image


def _remember(model: PanoSAM2, bank: MemoryBank, features: ImageFeatures, new: _Sighting) -> MemoryBank:
    """Write a frame into the bank for objects that are present, with enough confidence."""
    mask_logits, present = new.mask_logits, new.present
    cond = torch.full_like(present, new.prompted)
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
            identity=identity_embeddings(features.embedding, mask_logits),
            reach=new.reach,
            pixels=features.pixels,
            stamp=None if new.stamp is None else torch.full_like(bank.frame, new.stamp),
        )
    )
