"""The loss of a batch of clips: tracked as the tracker tracks, with a user who corrects."""

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
from panosam2_ros.tracking.propagation import PropagationResult, empty_bank, propagate, segment_prompts
from panosam2_ros.training.clips import TrainingBatch, click_prompt
from panosam2_ros.training.losses import LossConfig, Losses, frame_losses, mask_iou

STRIDE = 16  # pixels of a token; frames are turned by whole ones
MIN_SHARE = 2.0  # summed share of stride-2 pixels from which an object counts as present


@dataclass(frozen=True)
class Rollout:
    """How clips are tracked while training; see ``curriculum.Stage``."""

    free: int = 0  # frames that are tracked by the network's own judgement, without learning
    balance: float = 0.4
    near: float = 0.0
    hide: float = 0.2
    correct: float = 0.0
    mislead: float = 0.0
    jump: float = 0.0


def split_frames(features: ImageFeatures, frames: int) -> list[ImageFeatures]:
    """Features of [T * B] images -> T of B images."""
    levels = (features.embedding, features.high_res_s4, features.high_res_s8, features.stem, features.bins)
    # Unbound, not indexed: the gradient of an index is a tensor of all frames for each of them.
    each = ([None] * frames if x is None else x.unflatten(0, (frames, -1)).unbind() for x in levels)
    return [ImageFeatures(*parts) for parts in zip(*each, strict=True)]


class ClipLoss(nn.Module):
    """A network and what it is trained for, as one module: its forward pass is what processes share."""

    def __init__(self, model: PanoSAM2, loss: LossConfig) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: TrainingBatch, rollout: Rollout) -> tuple[Tensor, Losses, Tensor]:
        """The weighted loss, its parts, and the mean IoU of each frame that is learned from [T - free]."""
        model, free = self.model, rollout.free
        frames, count = batch.targets.shape[:2]
        if frames > 1 and bool(torch.rand(()) < rollout.jump):
            batch = jumped(batch, int(torch.randint(1, frames, ())))
        present = batch.targets.flatten(2).sum(2) >= MIN_SHARE
        size = ImageSize(model.input_size[1], model.input_size[0])
        encoding = PromptEncoder(size, model.input_size, model.config)
        bank = empty_bank(model, count)
        if free:
            bank = self._track_freely(bank, batch, encoding, free)
        features = split_frames(model.encode_image(batch.images[free:].flatten(0, 1)), frames - free)
        corrects = frames > 1 and bool(torch.rand(()) < rollout.correct)
        corrected = int(torch.randint(1, frames, ())) if corrects else 0
        losses, ious = [], []
        for t in range(free, frames):
            target, seen = batch.targets[t], features[t - free]
            before = bank
            if t == 0:
                prompts = encoding.encode(batch.prompts).to(model.device)
                step = segment_prompts(model, bank, seen, prompts, corrects=False)
            else:
                shown = torch.rand(count, device=model.device) >= rollout.hide
                wrong = torch.rand(count, device=model.device) < rollout.mislead
                led = misled(bank, wrong, len(seen.embedding)) if rollout.mislead else bank
                step = propagate(model, led, seen, use_previous=shown, present=present[t])
                step = replace(step, bank=step.bank.keeping_masks(bank)) if rollout.mislead else step
            bank = step.bank
            losses.append(self._losses(step, target, present[t], rollout))
            if t == corrected and t > 0:
                bank, more = self._corrected(before, step, seen, target, present[t], encoding, rollout)
                losses += more
            fine = step.prediction.fine_logits.detach()
            iou = mask_iou(fine, as_fine_as(fine, target))
            ious.append((iou * present[t]).sum() / present[t].sum().clamp(min=1))
        mean = Losses(*(torch.stack([getattr(x, f.name) for x in losses]).mean() for f in fields(Losses)))
        return mean.total(self.loss), mean, torch.stack(ious)

    def _losses(self, step: PropagationResult, target: Tensor, present: Tensor, rollout: Rollout) -> Losses:
        target = as_fine_as(step.prediction.fine_logits, target)
        return frame_losses(step.prediction, target, present, rollout.balance, self.loss, rollout.near)

    @torch.no_grad()
    def _track_freely(
        self, bank: MemoryBank, batch: TrainingBatch, encoding: PromptEncoder, frames: int
    ) -> MemoryBank:
        """The bank after the first frames of the clips."""
        model = self.model
        features = split_frames(model.encode_image(batch.images[:frames].flatten(0, 1)), frames)
        prompts = encoding.encode(batch.prompts).to(model.device)
        bank = segment_prompts(model, bank, features[0], prompts, corrects=False).bank
        for feature in features[1:]:
            bank = propagate(model, bank, feature).bank
        return bank

    def _corrected(
        self,
        before: MemoryBank,
        step: PropagationResult,
        features: ImageFeatures,
        target: Tensor,
        present: Tensor,
        encoding: PromptEncoder,
        rollout: Rollout,
    ) -> tuple[MemoryBank, list[Losses]]:
        """The bank after a click on the largest mistake of every object, and the loss of what it gave."""
        fine = step.prediction.fine_logits
        found = fine[:, 0] > 0
        wrong = (found != (as_fine_as(fine, target)[:, 0] > 0.5)) & present[:, None, None]
        if features.embedding.shape[0] > 1 or not wrong.any():  # objects of several images part ways
            return step.bank, []
        rows = wrong.flatten(1).any(1).nonzero()[:, 0]
        pairs = zip(wrong[rows].cpu().numpy(), found[rows].cpu().numpy(), strict=True)
        prompts = [correction(*pair, self.model.config.mask_stride) for pair in pairs]
        known = step.bank.select(rows).before_newest()
        encoded = encoding.encode(prompts, before.select(rows).mask_logits.detach()).to(self.model.device)
        again = segment_prompts(self.model, known, features, encoded, corrects=True)
        order = torch.arange(len(present), device=rows.device)
        order[rows] = len(present) + torch.arange(len(rows), device=rows.device)
        bank = step.bank.append(again.bank).select(order)
        return bank, [self._losses(again, target[rows], present[rows], rollout)]


def jumped(batch: TrainingBatch, first: int) -> TrainingBatch:
    """The same with all frames from ``first`` on turned by a random angle, as after a long occlusion."""
    tokens = batch.images.shape[-1] // STRIDE
    columns = STRIDE * int(torch.randint(1, tokens, ()))
    images, targets = batch.images.clone(), batch.targets.clone()
    images[first:] = images[first:].roll(columns, -1)
    targets[first:] = targets[first:].roll(columns * targets.shape[-1] // images.shape[-1], -1)
    return replace(batch, images=images, targets=targets)


def misled(bank: MemoryBank, wrong: Tensor, clips: int) -> MemoryBank:
    """The bank with other last masks for the objects that are ``wrong`` [N] bool.

    Either those of another object of the same clip, or their own in another place: what an object
    looks like has to count, not only where it was. The N / ``clips`` objects of a clip are neighbours.
    """
    each = len(bank) // clips
    rows = torch.arange(len(bank), device=wrong.device)
    others = rows - rows % each + (rows % each + int(torch.randint(1, max(each, 2), ()))) % each
    tokens = bank.maskmem_features.shape[-1]
    turned = bank.rolled(int(torch.randint(tokens // 8, tokens - tokens // 8 + 1, ())))
    swap = (torch.rand(len(bank), device=wrong.device) < 0.5) & (others != rows)
    masks = torch.where(swap.view(-1, 1, 1, 1), bank.mask_logits[others], turned.mask_logits)
    centre = torch.where(swap, bank.centre[others], turned.centre)
    return replace(
        bank,
        mask_logits=torch.where(wrong.view(-1, 1, 1, 1), masks, bank.mask_logits),
        centre=torch.where(wrong, centre, bank.centre),
    )


def as_fine_as(logits: Tensor, target: Tensor) -> Tensor:
    """Targets [N, 1, H, W] at the size of the logits, of which theirs is a multiple."""
    return F.avg_pool2d(target, target.shape[-1] // logits.shape[-1])


def correction(wrong: np.ndarray, found: np.ndarray, stride: int) -> Prompt:
    """A click in the middle of the larger kind of mistake of a mask [H, W]: missed, or too much.

    ``stride``: pixels of the network's input per pixel of the mask.
    """
    missed, extra = wrong & ~found, wrong & found
    label = int(missed.sum() >= extra.sum())
    place = click_prompt(np.random.default_rng(int(wrong.sum())), missed if label else extra)
    at_input = (place + 0.5) * stride - 0.5
    return Prompt(points=at_input, point_labels=np.array([label]))
