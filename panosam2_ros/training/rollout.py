"""Loss of a batch of clips, tracked as the tracker does, with clicks that correct mistakes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import ImageSize, PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.propagation import empty_bank, propagate, segment_prompts
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.training.batches import TrainingBatch
from panosam2_ros.training.losses import LossConfig, Losses, frame_losses, mask_iou
from panosam2_ros.training.prompt_sampling import sample_click

STRIDE = 16  # pixels of a token; yaw jumps are whole tokens
MIN_SHARE = 2.0  # summed share of target pixels from which an object counts as present


@dataclass(frozen=True)
class RolloutConfig:
    """How clips are tracked in training; see ``curriculum.Stage``."""

    free_running_frames: int = (
        0  # first frames that are tracked on the network's own predictions, without a loss
    )
    balance: float = 0.4
    near: float = 0.0
    previous_mask_dropout: float = 0.2
    correct: float = 0.0
    corrections: int = 1
    mask_swap_prob: float = 0.0
    yaw_jump_prob: float = 0.0


@dataclass(frozen=True, eq=False)
class _TargetFrame:
    """One frame of B clips with N objects, of which a loss is computed."""

    features: ImageFeatures  # of B images
    target: Tensor  # [N, 1, H, W] share of the object in each pixel
    present: Tensor  # [N] bool


def split_frames(features: ImageFeatures, frames: int) -> list[ImageFeatures]:
    """Split features of [T * B] images into T features of B images."""
    levels = (features.embedding, features.high_res_s4, features.high_res_s8, features.stem, features.keys)
    # Unbound, not indexed: the gradient of an index is a tensor of all frames for each of them.
    each = ([None] * frames if x is None else x.unflatten(0, (frames, -1)).unbind() for x in levels)
    bins = [None] * frames if features.bins is None else features.bins.split(frames)
    return [
        ImageFeatures(s16, s4, s8, stem=stem, keys=keys, bins=own)
        for s16, s4, s8, stem, keys, own in zip(*each, bins, strict=True)
    ]


class ClipLoss(nn.Module):
    """A network and its loss as one module, whose forward pass is what processes share."""

    def __init__(self, model: PanoSAM2, loss: LossConfig) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: TrainingBatch, config: RolloutConfig) -> tuple[Tensor, Losses, Tensor]:
        """Return the weighted loss, its parts, and the mean IoU of each frame that has a loss."""
        model, free = self.model, config.free_running_frames
        frames, count = batch.targets.shape[:2]
        if frames > 1 and bool(torch.rand(()) < config.yaw_jump_prob):
            batch = apply_yaw_jump(batch, int(torch.randint(1, frames, ())))
        present = batch.targets.flatten(2).sum(2) >= MIN_SHARE
        size = ImageSize(model.input_size[1], model.input_size[0])
        encoding = PromptEncoder(size, model.input_size, model.config)
        bank = empty_bank(model, count)
        if free:
            bank = self._track_freely(bank, batch, encoding, free)
        features = split_frames(model.encode_image(batch.images[free:].flatten(0, 1)), frames - free)
        corrects = bool(torch.rand(()) < config.correct)
        corrected = int(torch.randint(free, frames, ())) if corrects else frames
        losses, ious = [], []
        for t in range(free, frames):
            frame = _TargetFrame(features[t - free], batch.targets[t], present[t])
            if t == 0:
                prompts = encoding.encode(batch.prompts).to(model.device)
                step = segment_prompts(model, bank, frame.features, prompts, corrects=False)
            else:
                step = self._propagate(bank, frame, config)
            bank = step.bank
            losses.append(self._losses(step, frame, config))
            if t == corrected:
                for _ in range(int(torch.randint(1, config.corrections + 1, ()))):
                    step, more = self._correct(step, frame, encoding, config)
                    losses += more
                bank = step.bank
            ious.append(_mean_iou(step, frame))
        mean = Losses(*(torch.stack([getattr(x, f.name) for x in losses]).mean() for f in fields(Losses)))
        return mean.total(self.loss), mean, torch.stack(ious)

    def _propagate(self, bank: MemoryBank, frame: _TargetFrame, config: RolloutConfig) -> PropagationResult:
        """Track all objects in a frame; some previous masks are withheld, some are wrong."""
        device, swaps = self.model.device, config.mask_swap_prob > 0
        shown = torch.rand(len(bank), device=device) >= config.previous_mask_dropout
        wrong = torch.rand(len(bank), device=device) < config.mask_swap_prob
        known = swap_masks(bank, wrong, clips=len(frame.features.embedding)) if swaps else bank
        step = propagate(self.model, known, frame.features, use_previous=shown, present=frame.present)
        return replace(step, bank=step.bank.keeping_masks(bank)) if swaps else step

    def _losses(self, step: PropagationResult, frame: _TargetFrame, config: RolloutConfig) -> Losses:
        """Return the losses of a frame."""
        target = resize_targets(frame.target, step.prediction.fine_logits)
        balance, near = config.balance, config.near
        return frame_losses(
            step.prediction, target, frame.present, balance=balance, config=self.loss, near=near
        )

    @torch.no_grad()
    def _track_freely(
        self, bank: MemoryBank, batch: TrainingBatch, encoding: PromptEncoder, frames: int
    ) -> MemoryBank:
        """Return the bank after the first frames of the clips, tracked as a tracker does."""
        model = self.model
        features = split_frames(model.encode_image(batch.images[:frames].flatten(0, 1)), frames)
        prompts = encoding.encode(batch.prompts).to(model.device)
        bank = segment_prompts(model, bank, features[0], prompts, corrects=False).bank
        for feature in features[1:]:
            bank = propagate(model, bank, feature).bank
        return bank

    def _correct(
        self,
        step: PropagationResult,
        frame: _TargetFrame,
        encoding: PromptEncoder,
        config: RolloutConfig,
    ) -> tuple[PropagationResult, list[Losses]]:
        """Click on the largest mistake of every object; return what is found then, and the losses."""
        fine = step.fine_logits  # given masks have no mistakes
        found = fine[:, 0] > 0
        wrong = (found != (resize_targets(frame.target, fine)[:, 0] > 0.5)) & frame.present[:, None, None]
        if not wrong.any():
            return step, []
        rows = wrong.flatten(1).any(1).nonzero()[:, 0]
        each = len(frame.present) // len(frame.features.embedding)  # objects of an image
        features = frame.features.select(rows // each)
        mistakes = zip(wrong[rows].cpu().numpy(), found[rows].cpu().numpy(), strict=True)
        prompts = [correction(*each, self.model.config.mask_stride) for each in mistakes]
        known = step.bank.select(rows).before_newest()
        # as the tracker: what is corrected is the mask of this frame, and memory speaks without it
        encoded = encoding.encode(prompts, step.mask_logits[rows].detach()).to(self.model.device)
        again = segment_prompts(self.model, known, features, encoded, corrects=True)
        after = step.replaced({int(row): k for k, row in enumerate(rows)}, again)
        clicked = _TargetFrame(features, frame.target[rows], frame.present[rows])
        return after, [self._losses(again, clicked, config)]


def _mean_iou(step: PropagationResult, frame: _TargetFrame) -> Tensor:
    """Return the mean IoU, a scalar, of the present objects of a frame."""
    fine = step.prediction.fine_logits.detach()
    iou = mask_iou(fine, resize_targets(frame.target, fine))
    return (iou * frame.present).sum() / frame.present.sum().clamp(min=1)


def apply_yaw_jump(batch: TrainingBatch, first: int) -> TrainingBatch:
    """Roll all frames from ``first`` on by a random yaw, as after a long occlusion."""
    tokens = batch.images.shape[-1] // STRIDE
    columns = STRIDE * int(torch.randint(1, tokens, ()))
    images, targets = batch.images.clone(), batch.targets.clone()
    images[first:] = images[first:].roll(columns, -1)
    targets[first:] = targets[first:].roll(columns * targets.shape[-1] // images.shape[-1], -1)
    return replace(batch, images=images, targets=targets)


def swap_masks(bank: MemoryBank, wrong: Tensor, *, clips: int) -> MemoryBank:
    """Return the bank with wrong previous masks for the objects that are ``wrong`` [N] bool.

    They are those of another object of the same clip, or the object's own in another place, so that an
    object's appearance has to count and not only its position. The N / ``clips`` objects of a clip are
    neighbours.
    """
    each = len(bank) // clips
    rows = torch.arange(len(bank), device=wrong.device)
    others = rows - rows % each + (rows % each + int(torch.randint(1, max(each, 2), ()))) % each
    tokens = bank.maskmem_features.shape[-1]
    moved = bank.rolled(int(torch.randint(tokens // 8, tokens - tokens // 8 + 1, ())))
    swap = (torch.rand(len(bank), device=wrong.device) < 0.5) & (others != rows)
    masks = torch.where(swap.view(-1, 1, 1, 1), bank.mask_logits[others], moved.mask_logits)
    centre = torch.where(swap, bank.centre[others], moved.centre)
    return replace(
        bank,
        mask_logits=torch.where(wrong.view(-1, 1, 1, 1), masks, bank.mask_logits),
        centre=torch.where(wrong, centre, bank.centre),
    )


def resize_targets(target: Tensor, logits: Tensor) -> Tensor:
    """Average targets [N, 1, H, W] down to the size of logits, of which theirs is a multiple."""
    return F.avg_pool2d(target, target.shape[-1] // logits.shape[-1])


def correction(wrong: np.ndarray, found: np.ndarray, stride: int) -> Prompt:
    """Return a click inside the larger mistake of a mask [H, W]: what it misses, or what it has too much.

    ``wrong``, ``found``: where the mask is wrong, and the mask; ``stride``: pixels of the network's input per
    pixel of the mask.
    """
    missed, extra = wrong & ~found, wrong & found
    label = int(missed.sum() >= extra.sum())
    place = sample_click(np.random.default_rng(int(wrong.sum())), missed if label else extra)
    return Prompt(points=(place + 0.5) * stride - 0.5, point_labels=np.array([label]))
