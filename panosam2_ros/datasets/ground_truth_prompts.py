"""Prompts made of the ground truth of an object's first frame: its mask, its box or one click."""

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
_HALF_PIXEL = 0.49  # stays inside the image, whose edge is no part of it
FramePrompts = Mapping[int, Mapping[int, Prompt]]  # frame -> object -> how it is pointed at


def ground_truth_prompts(sequence: VideoSequence, kind: str) -> FramePrompts:
    """Every object pointed at in its first frame: its mask, its box or one click."""
    prompts: dict[int, dict[int, Prompt]] = {}
    for obj_id, index in sorted(sequence.first_frames.items()):
        prompt = mask_prompt(sequence.prompt_mask(obj_id), kind)
        prompts.setdefault(index, {})[obj_id] = prompt
    return dict(sorted(prompts.items()))


def mask_prompt(mask: MaskArray, kind: str) -> Prompt:
    """A true mask as a prompt of a kind: itself, its box, or its deepest pixel."""
    if kind == "mask":
        return Prompt(mask=mask)
    if kind == "click":
        u, v = deepest_pixel(mask)
        return Prompt(points=np.array([[u, v]], float), point_labels=np.array([FOREGROUND]))
    if kind != "box":
        raise ValueError(f"prompts are {', '.join(PROMPT_KINDS)}, got {kind!r}")
    box = mask_box(mask)
    if box is None:
        raise ValueError("an empty mask has no box")
    u_min, v_min, u_max, v_max = (float(x) for x in box)
    if u_min == u_max:  # one column, one row: boxes need an area
        u_min, u_max = u_min - _HALF_PIXEL, u_max + _HALF_PIXEL
    if v_min == v_max:
        v_min, v_max = v_min - _HALF_PIXEL, v_max + _HALF_PIXEL
    return Prompt(box=(u_min, v_min, u_max, v_max))
