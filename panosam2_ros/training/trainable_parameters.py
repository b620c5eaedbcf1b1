"""Choice of what is learned: all weights, PanoSAM2's parts, low-rank updates (LoRA), parts of a stage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from panosam2_ros.model.build import load_model, random_model, reconfigured
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.weights import ADAPTERS, save_adapters, save_weights
from panosam2_ros.training.curriculum import Recipe, Stage


class LowRankUpdate(nn.Module):
    """A matrix [out, in] plus B A of a small rank: Hu et al. 2022, arXiv 2106.09685. B starts at zero.

    These lines stand in the place of ``peft``, which imports ``transformers`` and renames the weights.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, weight.shape[1]))
        self.b = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated matrix."""
        return weight + self.b @ self.a


def start_model(recipe: Recipe) -> PanoSAM2:
    """Build the network that a recipe starts from; the parameters that it learns require gradients.

    Raise ValueError where nothing would be learned, and the errors of ``load_model``.
    """
    if recipe.start:
        model = reconfigured(load_model(recipe.start), recipe.model)
    else:
        model = random_model(recipe.seed, config=ModelConfig.from_json(json.dumps(recipe.model)))
    if recipe.learn == "adapters":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in ADAPTERS)
    if recipe.lora:
        add_low_rank(model, recipe.lora, recipe.lora_into)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"nothing of {model.config.name} would be learned: it has no refinement and no long-term "
            "pointer; set refine_steps and long_pointer under model, or learn: all"
        )
    return model


def restrict_to_stage(model: nn.Module, learned: set[str], stage: Stage) -> None:
    """Require gradients only of those of the ``learned`` parameters that the stage learns.

    Raise ValueError where there are none.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learned and (not stage.only or name.startswith(stage.only)))
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"stage {stage.name} would learn nothing: no parameter that this run learns begins with one of "
            f"{', '.join(stage.only)}: name parts like detail or sam_mask_decoder.iou_prediction_head"
        )


def add_low_rank(model: PanoSAM2, rank: int, inside: tuple[str, ...]) -> None:
    """Freeze all but PanoSAM2's parts; linear layers ``inside`` these modules learn low-rank updates."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in ADAPTERS)
    chosen = [m for n, m in model.named_modules() if n.startswith(inside) and isinstance(m, nn.Linear)]
    if not chosen:
        raise ValueError(f"lora_into must name modules with linear layers, got {', '.join(inside)}")
    for module in chosen:
        parametrize.register_parametrization(module, "weight", LowRankUpdate(module.weight, rank))


def merge_low_rank(model: PanoSAM2) -> PanoSAM2:
    """Return a copy of a model with its low-rank updates merged into the matrices."""
    plain = PanoSAM2(model.config)
    changed = {
        f"{name}.weight": module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight")
    }
    own = {k: v for k, v in model.state_dict().items() if ".parametrizations." not in k}
    plain.load_state_dict(own | changed)
    return plain


def save_learned(model: PanoSAM2, recipe: Recipe, folder: Path) -> Path:
    """Write what was learned, the adapters alone or the whole network; return the file's path."""
    if recipe.learn == "adapters" and not recipe.lora:
        path = folder / f"{model.config.name}_adapters.safetensors"
        save_adapters(model, path)
    else:
        path = folder / f"{model.config.name}.safetensors"
        height, width = recipe.stages[-1].size  # the network works best at the size of its last training
        model.config = replace(model.config, input_height=height, input_width=width)
        save_weights(merge_low_rank(model) if recipe.lora else model, path)
    return path
