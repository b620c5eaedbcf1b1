"""Which weights are learned: all, PanoSAM2's parts alone, low-rank changes (LoRA), some parts in a stage."""

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


class LowRank(nn.Module):
    """A matrix [out, in] plus B A, of rank ``rank``: Hu et al. 2022, arXiv 2106.09685. B starts at zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, weight.shape[1]))
        self.b = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def start_model(recipe: Recipe) -> PanoSAM2:
    """The network that a recipe starts from, with what it learns requiring gradients.

    Raises ValueError where nothing would be learned, and what ``load_model`` raises.
    """
    if recipe.start:
        model = reconfigured(load_model(recipe.start), recipe.model)
    else:
        model = random_model(recipe.seed, ModelConfig.from_json(json.dumps(recipe.model)))
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


def restrict(model: nn.Module, learned: set[str], stage: Stage) -> None:
    """Make only those of the ``learned`` parameters require gradients that the stage learns.

    Raises ValueError where there are none.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learned and (not stage.only or name.startswith(stage.only)))
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"stage {stage.name} would learn nothing: no parameter that this run learns begins with one of "
            f"{', '.join(stage.only)}; name parts like detail or sam_mask_decoder.iou_prediction_head"
        )


def add_low_rank(model: PanoSAM2, rank: int, inside: tuple[str, ...]) -> None:
    """Freeze all but PanoSAM2's parts; linear layers ``inside`` these modules learn low-rank changes."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in ADAPTERS)
    chosen = [m for n, m in model.named_modules() if n.startswith(inside) and isinstance(m, nn.Linear)]
    if not chosen:
        raise ValueError(f"lora_into names no module with linear layers: {', '.join(inside)}")
    for module in chosen:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))


def merged(model: PanoSAM2) -> PanoSAM2:
    """A copy whose low-rank changes are part of its matrices."""
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
    """Write what was learned, the adapters alone or the whole network, and answer where."""
    if recipe.learn == "adapters" and not recipe.lora:
        path = folder / f"{model.config.name}_adapters.safetensors"
        save_adapters(model, path)
    else:
        path = folder / f"{model.config.name}.safetensors"
        height, width = recipe.stages[-1].size  # it works best at what it was trained at last
        model.config = replace(model.config, input_height=height, input_width=width)
        save_weights(merged(model) if recipe.lora else model, path)
    return path
