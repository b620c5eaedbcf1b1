"""Prompts drawn from true masks: loose boxes, clicks inside, masks."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import mask_box
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.model.mask_decoder import BACKGROUND, FOREGROUND
from panosam2_ros.prompts.prompt import Prompt

SEVERAL = 0.4  # share of clicks that are several, ...
OUTSIDE = 0.6  # ... and of these, with one that says what does not belong to the object
_NEAR = 0.6  # how far from an object that one is, at most, as a share of the object's extent


def sample_prompt(rng: np.random.Generator, mask: MaskArray, kinds: tuple[float, float, float]) -> Prompt:
    """Draw a box, clicks or the mask itself for an object [H, W], with the probabilities ``kinds``."""
    kind = rng.choice(3, p=kinds)
    if kind == 0:
        return Prompt(box=_sample_box(rng, mask))
    if kind == 2:
        return Prompt(mask=mask)
    clicks, labels = [sample_click(rng, mask)], [FOREGROUND]
    if rng.random() < SEVERAL:
        clicks.append(sample_click(rng, mask))
        labels.append(FOREGROUND)
        if rng.random() < OUTSIDE and (around := _around(mask)).any():
            clicks.append(sample_click(rng, around))
            labels.append(BACKGROUND)
    return Prompt(points=np.concatenate(clicks), point_labels=np.array(labels))


def _around(mask: MaskArray) -> MaskArray:
    """Return what lies near an object [H, W] and does not belong to it."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray((away > 1) & (away <= max(_NEAR * math.sqrt(mask.sum()), 3.0)))


def _sample_box(rng: np.random.Generator, mask: MaskArray) -> tuple[float, float, float, float]:
    """Draw the mask's box with each side moved by up to 8 % of the box's size."""
    box, (height, width) = mask_box(mask), mask.shape
    if box is None:
        raise ValueError("an empty mask has no box")
    u_min, v_min, u_max, v_max = box
    span = (u_max - u_min) % width
    du, dv = rng.uniform(-0.08, 0.08, (2, 2)) * [[span], [v_max - v_min]]
    if span > 0.8 * width:
        du[:] = 0  # a box round the whole panorama has no outside to move to
    columns = [(u + d + 0.5) % width - 0.5 for u, d in zip((u_min, u_max), du, strict=True)]
    rows = np.clip([v_min + dv[0], v_max + dv[1]], -0.5, height - 0.501)
    return columns[0], float(rows[0]), columns[1], float(rows[1])


def sample_click(rng: np.random.Generator, mask: MaskArray) -> NDArray[np.float64]:
    """Draw a pixel [1, 2] well inside an object [H, W], which may lie across the seam."""
    width = mask.shape[1]
    padded = np.pad(np.concatenate([mask, mask, mask], 1), ((1, 1), (0, 0))).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, width : 2 * width]
    v, u = np.nonzero(depth >= rng.uniform(0.3, 1.0) * depth.max())
    pick = rng.integers(len(u))
    return np.array([[float(u[pick]), float(v[pick])]])
