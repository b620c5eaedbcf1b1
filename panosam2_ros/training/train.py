"""Training: ``python -m panosam2_ros.training.train --config config/train/nano.yaml``.

Stages follow each other; a checkpoint is written every few minutes and resumed by the same command, with
the clips that the run would have had. The exported weights are the running average. With Hugging Face
Accelerate the same command runs on a CPU, on one GPU and, started by ``accelerate launch`` or
``torchrun --nproc-per-node N -m``, in N processes on one host or several: on a CPU, two processes of one
thread do twice the work of one process of two threads. Progress is shown on the terminal, in ``log.jsonl``,
and in TensorBoard where that is installed. ``--dry-run`` prints what would be learned, of which clips, and
how long.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import math
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from tqdm import tqdm

from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.training.batches import Batches, TrainingBatch
from panosam2_ros.training.clip_sources import Sources
from panosam2_ros.training.curriculum import (
    Recipe,
    Stage,
    learning_rate,
    read_config,
    recipe_on_data,
    scaled_recipe,
)
from panosam2_ros.training.losses import Losses
from panosam2_ros.training.optimizer import build_average, build_optimizers
from panosam2_ros.training.rollout import ClipLoss, RolloutConfig
from panosam2_ros.training.trainable_parameters import restrict_to_stage, save_learned, start_model

log = logging.getLogger(__name__)
TIMED_STEPS = 2  # of every stage in a dry run


def freeze_batch_norm(model: PanoSAM2) -> None:
    """Keep the running statistics of batch norm: those of a few frames of one clip would be poor."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


class Trainer:
    """A run of training: weights, their average, optimizers, and the position in the curriculum."""

    def __init__(self, recipe: Recipe, out: Path, sources: Sources, *, workers: int = 1) -> None:
        """Build the network of a recipe, or resume the run in ``out``; ``workers``: of each process."""
        self.recipe, self.out, self.sources, self.workers = recipe, out, sources, workers
        with_board = importlib.util.find_spec("tensorboard") is not None
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),  # otherwise several processes on a CPU go unnoticed
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            log_with="tensorboard" if with_board else None,
            project_dir=out,
        )
        out.mkdir(parents=True, exist_ok=True)
        self.model = start_model(recipe)
        self.average = build_average(self.model, recipe.ema)
        self.loss = self.accelerator.prepare_model(ClipLoss(self.model, recipe.loss))
        self.stage, self.step = 0, 0
        self.spent, self.resumed = 0.0, time.monotonic()  # s of the stage before the resumption; its time
        self.learned = {name for name, p in self.model.named_parameters() if p.requires_grad}
        self._new_optimizers()
        self.checkpoint = out / "checkpoint.pt"
        there = gather_object([self.checkpoint.exists()])
        if len(set(there)) > 1:
            raise ValueError(
                f"only {sum(there)} of {len(there)} processes see {self.checkpoint}: all hosts need the same "
                "folder (--out on a shared disk), or a copy of the checkpoint"
            )
        if all(there):
            self._resume()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return bool(self.accelerator.is_main_process)

    def _new_optimizers(self) -> None:
        """Choose the parameters of the current stage and build its optimizers."""
        if self.stage < len(self.recipe.stages):
            stage = self.recipe.stages[self.stage]
            restrict_to_stage(self.model, self.learned, stage)
            plain = build_optimizers(
                self.model, stage.optimizer, self.recipe.weight_decay, trunk_rate=stage.trunk_rate
            )
            self.optimizers = [self.accelerator.prepare_optimizer(optimizer) for optimizer in plain]

    def _resume(self) -> None:
        """Read the checkpoint."""
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.stage, self.step = state["stage"], state["step"]
        self.spent = state.get("spent", 0.0)
        self._new_optimizers()
        if self.step:  # optimizers are new at the start of a stage
            for optimizer, content in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(content)
        log.info("resumed at stage %d, step %d", self.stage, self.step)

    def save(self) -> None:
        """Write the checkpoint and the averaged weights, each in one rename."""
        if not self.first:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "stage": self.stage,
            "step": self.step,
            "spent": self._seconds(),
        }
        partial = self.checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.rename(self.checkpoint)
        save_learned(cast(PanoSAM2, self.average.module), self.recipe, self.out)

    def run(self, save_every: float) -> None:
        """Train through the remaining stages; ``save_every`` seconds between checkpoints."""
        self.accelerator.init_trackers("tensorboard")
        while self.stage < len(self.recipe.stages):
            self._run_stage(self.recipe.stages[self.stage], save_every)
            self.stage, self.step = self.stage + 1, 0
            self.spent, self.resumed = 0.0, time.monotonic()
            self._new_optimizers()
            self.save()
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def _batches(self, stage: Stage) -> Batches:
        """Set the network up for a stage, and return the stage's batches."""
        self.model.train().set_input_size(*stage.size)
        if self.model.refinement is not None:
            self.model.refinement.steps = self.model.config.refine_steps if stage.refine else 0
        if stage.freeze_norm:
            freeze_batch_norm(self.model)
        seed = (self.recipe.seed, self.stage, self.accelerator.process_index)
        # one process fetches missing packages, then one of every other host, which may have its own disk
        with self.accelerator.main_process_first(), self.accelerator.local_main_process_first():
            source = self.sources.open_clips(stage)
        return Batches(source, stage, seed, workers=self.workers)

    def _run_stage(self, stage: Stage, save_every: float) -> None:
        """Run the remaining steps of a stage."""
        batches, saved = self._batches(stage).loader(self.step), time.monotonic()
        self.resumed = saved
        bar = tqdm(
            range(self.step, stage.steps), desc=stage.name, initial=self.step, total=stage.steps,
            mininterval=10, disable=not self.first,
        )  # fmt: skip
        for self.step in bar:
            if (elapsed := self._elapsed_share(stage)) >= 1:
                break
            losses, ious = self._update(stage, next(batches), elapsed=elapsed)
            bar.set_postfix(iou=f"{float(ious[-1]):.3f}", refresh=False)
            self._log(stage, losses, ious)
            moved = (self.step + 1) % stage.accumulate == 0  # gradients are not in a checkpoint
            if moved and time.monotonic() - saved > save_every:
                self.step += 1
                self.save()
                saved = time.monotonic()

    def _seconds(self) -> float:
        """Return the time spent on the stage, s."""
        return self.spent + time.monotonic() - self.resumed

    def _elapsed_share(self, stage: Stage) -> float:
        """Return the elapsed share of a stage's time limit, the same in every process; 0 without a limit."""
        if not stage.minutes:
            return 0.0
        share = [self._seconds() / 60 / stage.minutes]
        return float(broadcast_object_list(share)[0])

    def _update(self, stage: Stage, batch: TrainingBatch, *, elapsed: float = 0.0) -> tuple[Losses, Tensor]:
        """Run one step; return its losses and the mean IoU of each frame."""
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            rate = learning_rate(self.step, stage.steps, stage.lr, elapsed=elapsed)
            group["lr"] = rate * group.get("share", 1.0)
        seed = [self.recipe.seed, self.stage, self.step, self.accelerator.process_index]
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        config = RolloutConfig(
            free_running_frames=stage.free_running_length(self.step),
            balance=stage.balance,
            near=stage.near,
            previous_mask_dropout=stage.previous_mask_dropout,
            correct=stage.correct,
            corrections=stage.corrections,
            mask_swap_prob=stage.mask_swap_prob,
            yaw_jump_prob=stage.yaw_jump_prob,
        )
        total, losses, ious = self.loss(batch.to(self.accelerator.device), config)
        self.accelerator.backward(total / stage.accumulate)
        if (self.step + 1) % stage.accumulate == 0 or self.step + 1 == stage.steps:
            self._apply_gradients()
        return losses, ious

    def _apply_gradients(self) -> None:
        """Update the weights by the accumulated gradients, and the average of the weights."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        if torch.isfinite(norm):  # a batch whose gradients overflow is skipped
            for optimizer in self.optimizers:
                optimizer.step()
            self.average.update_parameters(self.model)
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def _log(self, stage: Stage, losses: Losses, ious: Tensor) -> None:
        """Append a step to ``log.jsonl`` and to TensorBoard."""
        if not self.first:
            return
        parts = {f.name: round(float(getattr(losses, f.name).detach()), 4) for f in fields(Losses)}
        entry = {
            "stage": stage.name,
            "step": self.step,
            "time": round(time.time(), 1),
            "processes": self.accelerator.num_processes,
            "frame_iou": [round(float(x), 4) for x in ious],
            **parts,
        }
        with open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")
        board = {**parts, "iou_first": entry["frame_iou"][0], "iou_last": entry["frame_iou"][-1]}
        done = sum(s.steps for s in self.recipe.stages[: self.stage])
        self.accelerator.log(board, step=done + self.step)

    def dry_run(self) -> str:
        """Run a few steps of every stage; describe what would be learned, of which clips, and how long."""
        learned = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        whole = sum(p.numel() for p in self.model.parameters())
        start, where = self.recipe.start or "random weights", self.accelerator
        lines = [
            f"{self.model.config.name} from {start}: {learned:,} of {whole:,} parameters learned, "
            f"{where.num_processes} process(es) on {where.device}"
        ]
        total = 0.0
        for number, stage in enumerate(self.recipe.stages):
            self.stage, self.step = number, 0
            self._new_optimizers()
            batches = self._batches(stage)
            seconds = min(self._timed(stage, batches, step) for step in range(TIMED_STEPS))
            lasts = min(stage.steps * seconds, 60 * (stage.minutes or math.inf))
            total += lasts
            lines.append(
                f"{stage.name}: {stage.steps} steps of {stage.batch} x {stage.max_frames} frames of "
                f"{stage.size[1]}x{stage.size[0]} from {stage.data or 'synthetic scenes'}, "
                f"{stage.optimizer}, {seconds:.2f} s a step, {lasts / 3600:.2f} h"
            )
        return "\n".join([*lines, f"{total / 3600:.2f} h in all"])

    def _timed(self, stage: Stage, batches: Batches, step: int) -> float:
        """Return the seconds of a step, without those of making its batch."""
        self.step, batch = step, batches.full_batch(step)
        begun = time.perf_counter()
        self._update(stage, batch)
        return time.perf_counter() - begun


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="recipe, see config/train")
    add("--variant", default="", help="variant of the recipe; also the model's name")
    add(
        "--data",
        default="",
        help="data set of all stages, such as vos360:DIR:train; default: as the recipe says",
    )
    add("--seed", type=int, help="in the place of the recipe's seed")
    add("--rate", type=float, default=1.0, help="factor of all learning rates (default: %(default)s)")
    add("--share", type=float, default=1.0, help="share of every stage's steps (default: %(default)s)")
    add("--out", type=Path, default=Path("runs/nano"), help="checkpoints and log (default: %(default)s)")
    add("--sources", type=Path, default=Path("runs/sources"), help="folder of the unpacked npm packages, "
        "which are fetched where it is missing (default: %(default)s)")  # fmt: skip
    add("--models", type=Path, help="folder of strips that synthetic.mesh_assets and people wrote")
    add("--save-every", type=float, default=180.0, help="s between checkpoints (default: %(default)s)")
    add("--workers", type=int, default=1, help="of each process, which make its clips: 0, or a divisor of "
        "all batches (default: %(default)s)")  # fmt: skip
    add("--threads", type=int, help="of torch (default: all cores)")
    add("--dry-run", action="store_true", help="print what would be learned, of which clips, and how long")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = read_config(options.config, variant=options.variant)
    recipe = scaled_recipe(recipe, share=options.share, rate=options.rate)
    if options.data:
        recipe = recipe_on_data(recipe, options.data)
    if options.seed is not None:
        recipe = replace(recipe, seed=options.seed)
    sources = Sources(options.sources, options.models, recipe.sprite_split)
    trainer = Trainer(recipe, options.out, sources, workers=options.workers)
    if options.dry_run:
        print(trainer.dry_run())
    else:
        trainer.run(options.save_every)


if __name__ == "__main__":
    main()
