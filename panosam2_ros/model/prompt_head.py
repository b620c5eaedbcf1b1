"""Prompt head: a neck and a decoder of their own for closer looks at what was prompted.

Our addition; neither SAM2 nor the paper has it. The decoder that follows objects learns from views that often
lack them, and of one scale. A decoder that learns from closer views, which show their object, outlines it
better, and is wrong about presence. So each has its own weights; the trunk is shared.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from panosam2_ros.model.panosam2 import PanoSAM2

_PARTS = ("sam_prompt_encoder", "sam_mask_decoder", "detail", "no_mem_embed")


class PromptHead(nn.Module):
    """What a network for closer looks has of its own; at first a copy of the network's parts."""

    def __init__(self, model: PanoSAM2) -> None:
        """Copy the parts of a network."""
        super().__init__()
        self.neck = copy.deepcopy(model.image_encoder.neck)
        for name in _PARTS:
            setattr(self, name, copy.deepcopy(getattr(model, name)))

    def copy_from(self, model: PanoSAM2) -> None:
        """Take the weights of another network's parts; raise RuntimeError where they do not fit."""
        self.load_state_dict(PromptHead(model).state_dict())


def closer_network(model: PanoSAM2) -> PanoSAM2:
    """Return the network of closer looks, which shares all its weights with ``model`` and its prompt head.

    Raises ValueError for a network without a prompt head.
    """
    head: Any = model.prompt_head
    if head is None:
        raise ValueError(f"{model.config.name} has no prompt head: its config needs prompt_zoom below 1")
    shared = [model.image_encoder.trunk, head, *model.parameters(), *model.buffers()]
    other = copy.deepcopy(model, {id(each): each for each in shared})
    other.image_encoder.neck, other.prompt_head = head.neck, None
    for name in _PARTS:
        setattr(other, name, getattr(head, name))
    return other
