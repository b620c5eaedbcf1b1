"""Prompts made from the ground truth of an object's first frame: its mask, its box or one click."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.geometry.equirect import mask_box
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.model.mask_decoder import FOREGROUND
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.simulated_prompts import deepest_pixel

PROMPT_KINDS = ("mask", "box", "click")
_HALF_PIXEL = 0.49  # less than 0.5, so that boxes stay inside the image
FramePrompts = Mapping[int, Mapping[int, Prompt]]  # frame -> object -> prompt


def ground_truth_prompts(sequence: VideoSequence, kind: str) -> FramePrompts:
    """Make the prompt of every object in its first frame; ``kind``: one of ``PROMPT_KINDS``."""
    prompts: dict[int, dict[int, Prompt]] = {}
    for obj_id, index in sorted(sequence.first_frames.items()):
        prompt = prompt_from_mask(sequence.prompt_mask(obj_id), kind)
        prompts.setdefault(index, {})[obj_id] = prompt
    return dict(sorted(prompts.items()))


def prompt_from_mask(mask: MaskArray, kind: str) -> Prompt:
    """Make a prompt of a kind from a mask: the mask itself, its box, or a click on its deepest pixel."""
    if kind == "mask":
        return Prompt(mask=mask)
    if kind == "click":
        u, v = deepest_pixel(mask)
        return Prompt(points=np.array([[u, v]], float), point_labels=np.array([FOREGROUND]))
    if kind != "box":
        raise ValueError(f"a kind of prompts is one of {', '.join(PROMPT_KINDS)}, got {kind!r}")
    box = mask_box(mask)
    if box is None:
        raise ValueError("an empty mask has no box")
    u_min, v_min, u_max, v_max = (float(x) for x in box)
    if u_min == u_max:  # boxes need an area, masks may have a single column or row
        u_min, u_max = u_min - _HALF_PIXEL, u_max + _HALF_PIXEL
    if v_min == v_max:
        v_min, v_max = v_min - _HALF_PIXEL, v_max + _HALF_PIXEL
    return Prompt(box=(u_min, v_min, u_max, v_max))
