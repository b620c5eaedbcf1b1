"""Networks without one of SAM 2's parts, which comparisons with another implementation have to notice."""

from __future__ import annotations

from collections.abc import Callable

import torch

from panosam2_ros.model.panosam2 import PanoSAM2


def without_fuser(model: PanoSAM2) -> None:
    model.memory_encoder.fuser.layers = torch.nn.ModuleList()


def without_pointers(model: PanoSAM2) -> None:
    model.obj_ptr_proj.layers[-1].weight.zero_()
    model.obj_ptr_proj.layers[-1].bias.zero_()


def without_time(model: PanoSAM2) -> None:
    model.maskmem_tpos_enc.zero_()


WITHOUT_A_PART: list[Callable[[PanoSAM2], None]] = [without_fuser, without_pointers, without_time]
