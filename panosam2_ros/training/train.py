"""Training: ``python -m panosam2_ros.training.train --config config/train/nano.yaml``.

Stages follow each other; a checkpoint is written every few minutes and resumed by the same
command. What is shipped is the running average of the weights. ``torchrun --nproc-per-node N -m``
in the place of ``python -m`` trains with N processes that average their gradients: on a CPU, one
of one thread per core does twice what one of two threads does.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from panosam2_ros.data.sources import SourceLibrary, Split, fetch_npm
from panosam2_ros.equirect import Equirect
from panosam2_ros.memory_bank import MemoryBank
from panosam2_ros.model.build import load_weights, random_model, save_weights
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts import PromptEncoding
from panosam2_ros.propagation import empty_bank, prompt_objects, propagate
from panosam2_ros.training.clips import ClipPool, RenderedClips, TrainingBatch
from panosam2_ros.training.curriculum import Stage, learning_rate, read_config
from panosam2_ros.training.losses import SMALL_LOSS, LossConfig, Losses, frame_losses, mask_iou
from panosam2_ros.training.parallel import agree, average_gradients, processes

log = logging.getLogger(__name__)
MIN_SHARE = 0.5  # summed share of stride-4 pixels from which an object counts as present


class Averaged:
    """Exponential running average of a model's weights and buffers."""

    def __init__(self, model: PanoSAM2, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: PanoSAM2) -> None:
        """Move towards ``model``; quickly at first, so that the start is soon forgotten."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        state = model.state_dict()
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(state[name], 1 - decay)
            else:
                value.copy_(state[name])


def split_frames(features: ImageFeatures, frames: int) -> list[ImageFeatures]:
    """Features of [T * B] images -> T of B images."""
    levels = (features.embedding, features.high_res_s4, features.high_res_s8)
    parts = [level.unflatten(0, (frames, -1)) for level in levels]
    return [ImageFeatures(*(part[t] for part in parts)) for t in range(frames)]


def run_clip(
    model: PanoSAM2,
    batch: TrainingBatch,
    encoding: PromptEncoding,
    balance: float,
    hide: float,
    free: int = 0,
    loss: LossConfig = SMALL_LOSS,
) -> tuple[Losses, Tensor]:
    """Losses over a batch of clips, and the mean IoU of each frame that is learned from [T - free].

    The first ``free`` frames are tracked as the tracker does it, by the network's own judgement.
    """
    frames, count = batch.targets.shape[:2]
    present = batch.targets.flatten(2).sum(2) >= MIN_SHARE
    losses, ious = [], []
    bank = empty_bank(model, count)
    if free:
        bank = _track_freely(model, bank, batch, encoding, free)
    features = split_frames(model.encode_image(batch.images[free:].flatten(0, 1)), frames - free)
    features = [features[0]] * free + features
    for t in range(free, frames):
        if t == 0:
            step = prompt_objects(model, bank, features[0], encoding.encode(batch.prompts), False)
        else:
            shown = torch.rand(count) >= hide
            step = propagate(model, bank, features[t], use_previous=shown, present=present[t])
        bank = step.bank
        losses.append(frame_losses(step.prediction, batch.targets[t], present[t], balance, loss))
        iou = mask_iou(step.prediction.mask_logits.detach(), batch.targets[t])
        ious.append((iou * present[t]).sum() / present[t].sum().clamp(min=1))
    mean = Losses(*(torch.stack([getattr(x, f.name) for x in losses]).mean() for f in fields(Losses)))
    return mean, torch.stack(ious)


@torch.no_grad()
def _track_freely(
    model: PanoSAM2, bank: MemoryBank, batch: TrainingBatch, encoding: PromptEncoding, frames: int
) -> MemoryBank:
    """The bank after the first frames of the clips."""
    features = split_frames(model.encode_image(batch.images[:frames].flatten(0, 1)), frames)
    bank = prompt_objects(model, bank, features[0], encoding.encode(batch.prompts), False).bank
    for feature in features[1:]:
        bank = propagate(model, bank, feature).bank
    return bank


def build_optimizer(model: PanoSAM2, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.98), fused=True)


def freeze_batch_norm(model: PanoSAM2) -> None:
    """Keep running statistics: those of a few frames of one clip would say little."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


class Trainer:
    """The state of a run: weights, average, optimiser, where in the curriculum."""

    def __init__(self, config_file: Path, out: Path, sources: Path, start: Path | None) -> None:
        self.options, self.stages = read_config(config_file)
        self.loss = LossConfig(**self.options.get("loss", {}))
        self.out, self.sources = out, sources
        self.model = load_weights(start) if start else random_model(self.options["seed"])
        self.average = Averaged(self.model, self.options["ema"])
        self.optimizer = build_optimizer(self.model, 1e-3, self.options["weight_decay"])
        self.stage, self.step = 0, 0
        self.checkpoint = out / "checkpoint.pt"
        out.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.average.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.stage, self.step = state["stage"], state["step"]
        log.info("resumed at stage %d, step %d", self.stage, self.step)

    def save(self) -> None:
        """Write the checkpoint and the averaged weights, each in one rename."""
        if processes()[0] > 0:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "stage": self.stage,
            "step": self.step,
        }
        partial = self.checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.rename(self.checkpoint)
        save_weights(self.average.model, self.out / "panosam2_nano.safetensors")

    def run(self, save_every: float) -> None:
        """Train through the remaining stages; ``save_every`` seconds between checkpoints."""
        library = SourceLibrary.from_npm(self.sources, Split.TRAIN)
        while self.stage < len(self.stages):
            self._run_stage(self.stages[self.stage], library, save_every)
            self.stage, self.step = self.stage + 1, 0
            self.save()

    def _run_stage(self, stage: Stage, library: SourceLibrary, save_every: float) -> None:
        rank, _ = processes()
        agree(self.model)
        self.model.train().set_input_size(*stage.size)
        if stage.freeze_norm:
            freeze_batch_norm(self.model)
        encoding = PromptEncoding(Equirect(stage.size[1], stage.size[0]), stage.size, self.model.config)
        entropy = np.random.SeedSequence([self.options["seed"], self.stage, self.step, rank])
        seed = int(entropy.generate_state(1)[0])
        torch.manual_seed(seed)
        clips = RenderedClips(stage.scenes(), library, seed)
        pool = ClipPool(clips, stage.size, size=200, fresh=max(1, stage.batch // 2), seed=seed)
        saved = time.monotonic()
        steps = range(self.step, stage.steps)
        bar = tqdm(steps, desc=stage.name, mininterval=10, disable=rank > 0)
        for self.step in bar:
            # Every process makes steps of the same length, so that none waits for another.
            free = int(np.random.default_rng([self.stage, self.step]).integers(stage.free + 1))
            batch = pool.draw(stage.batch, free + stage.frames, stage.objects, stage.kinds)
            losses, ious = self._update(stage, batch, encoding, free)
            bar.set_postfix(iou=f"{float(ious[-1]):.3f}", refresh=False)
            self._log(stage, losses, ious)
            if time.monotonic() - saved > save_every:
                self.step += 1
                self.save()
                saved = time.monotonic()

    def _update(
        self, stage: Stage, batch: TrainingBatch, encoding: PromptEncoding, free: int
    ) -> tuple[Losses, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, stage.steps, stage.lr)
        losses, ious = run_clip(self.model, batch, encoding, stage.balance, stage.hide, free, self.loss)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total(self.loss).backward()
        average_gradients(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options["gradient_clip"])
        if torch.isfinite(norm):  # a batch that overflows is skipped, not learned
            self.optimizer.step()
            self.average.update(self.model)
        return losses, ious

    def _log(self, stage: Stage, losses: Losses, ious: Tensor) -> None:
        if processes()[0] > 0:
            return
        entry = {
            "stage": stage.name,
            "step": self.step,
            "time": round(time.time(), 1),
            "processes": processes()[1],
            "frame_iou": [round(float(x), 4) for x in ious],
            **{f.name: round(float(getattr(losses, f.name).detach()), 4) for f in fields(Losses)},
        }
        with open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="checkpoints and log")
    parser.add_argument("--sources", type=Path, default=Path("runs/sources"),
                        help="folder of the unpacked npm packages; fetched where it is missing")  # fmt: skip
    parser.add_argument("--start", type=Path, help="weights (.safetensors) to begin with")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    if processes()[0] == 0 and not options.sources.exists():
        fetch_npm(options.sources)
    if dist.is_initialized():
        dist.barrier()
    trainer = Trainer(options.config, options.out, options.sources, options.start)
    trainer.run(options.save_every)


if __name__ == "__main__":
    main()
