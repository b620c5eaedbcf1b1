"""Prompts as the network reads them: points and masks as tensors at its input size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from panosam2_ros.geometry.circular import mean_column, wrap_pad
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.thin_mask import with_thin_parts
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.mask_decoder import (
    BOX_FIRST,
    BOX_LAST,
    FOREGROUND,
    NO_PROMPT,
    DecoderPrompts,
)
from panosam2_ros.prompts.prompt import Prompt

DENSE_LOGIT = 6.0  # how sure a drawn prompt is
GIVEN_LOGIT = 10.0  # mask prompts become masks of +-10, as in SAM2
_TIE = 1e-6  # of a token
CLICK_RADIUS = 1.5  # of a drawn click, pixels at stride 4
LOW_RES_STRIDE = 4


@dataclass(frozen=True, eq=False)
class EncodedPrompts:
    """N prompts as tensors that the network reads."""

    decoder: DecoderPrompts
    centre: Tensor  # [N] int64, token column in the middle of the prompt
    given: Tensor  # [N, 1, 4h, 4w] logits of masks that are taken as they are
    is_given: Tensor  # [N] bool
    mask_pixels: Tensor | None  # [N, 1, H, W] 0 or 1: given masks at the network's input size; SAM2 only

    @property
    def ambiguous(self) -> Tensor:
        """[N] bool: at most one point, and no mask."""
        return ((self.decoder.point_labels != NO_PROMPT).sum(1) <= 1) & ~self.is_given

    def rolled(self, tokens: int, stride: int, width: int) -> EncodedPrompts:
        """Return the prompts in an image of ``width`` pixels that is rolled right by ``tokens`` columns."""
        if not tokens:
            return self
        d, low_res = self.decoder, tokens * stride // LOW_RES_STRIDE
        u = (d.point_coords[..., 0] + tokens * stride + 0.5) % width - 0.5
        pixels = None if self.mask_pixels is None else self.mask_pixels.roll(tokens * stride, -1)
        return EncodedPrompts(
            replace(
                d,
                point_coords=torch.stack([u, d.point_coords[..., 1]], -1),
                mask_input=d.mask_input.roll(low_res, -1),
            ),
            (self.centre + tokens) % (width // stride),
            self.given.roll(low_res, -1),
            self.is_given,
            pixels,
        )

    @classmethod
    def concatenated(cls, parts: Sequence[EncodedPrompts]) -> EncodedPrompts:
        """Return the prompts of all parts, in this order; all have as many points."""
        if len(parts) == 1:
            return parts[0]
        decoders = [part.decoder for part in parts]
        pixels = [part.mask_pixels for part in parts if part.mask_pixels is not None]
        return cls(
            DecoderPrompts(
                *(torch.cat([getattr(d, f.name) for d in decoders]) for f in fields(DecoderPrompts))
            ),
            torch.cat([part.centre for part in parts]),
            torch.cat([part.given for part in parts]),
            torch.cat([part.is_given for part in parts]),
            torch.cat(pixels) if pixels else None,
        )

    def to(self, device: torch.device) -> EncodedPrompts:
        """Return the prompts on another device."""
        d = self.decoder
        decoder = DecoderPrompts(
            d.point_coords.to(device), d.point_labels.to(device),
            d.mask_input.to(device), d.has_mask.to(device),
        )  # fmt: skip
        pixels = None if self.mask_pixels is None else self.mask_pixels.to(device)
        return EncodedPrompts(
            decoder, self.centre.to(device), self.given.to(device), self.is_given.to(device), pixels
        )


class ImageSize(NamedTuple):
    """The size of an image that is no panorama."""

    width: int
    height: int


class PromptEncoder:
    """Encodes prompts on images of ``grid`` for a network of ``input_size`` (H, W)."""

    def __init__(self, grid: Equirect | ImageSize, input_size: tuple[int, int], config: ModelConfig) -> None:
        self.grid, self.input_size, self.config = grid, input_size, config
        self.low_res = (input_size[0] // LOW_RES_STRIDE, input_size[1] // LOW_RES_STRIDE)

    def encode(
        self,
        prompts: Sequence[Prompt],
        previous: Tensor | None = None,  # [N, 1, 4h, 4w] logits, of objects that are corrected
    ) -> EncodedPrompts:
        """Return checked prompts as tensors."""
        count = len(prompts)
        most = max(p.sparse_count for p in prompts)
        coords = np.zeros((count, max(most, 1), 2), np.float32)
        labels = np.full((count, max(most, 1)), NO_PROMPT, np.int64)
        dense = np.full((count, 1, *self.low_res), -DENSE_LOGIT, np.float32)
        if previous is not None:
            dense[:] = previous.clamp(-self.config.prompt_logit, self.config.prompt_logit).cpu().numpy()
        given = np.zeros_like(dense)
        for i, prompt in enumerate(prompts):
            points, point_labels = self._sparse(prompt)
            coords[i, : len(points)], labels[i, : len(points)] = points, point_labels
            if prompt.mask is not None:
                share = self._share(prompt.mask, self.low_res)
                dense[i, 0] = (2 * share - 1) * DENSE_LOGIT
                given[i, 0] = (2 * share - 1) * GIVEN_LOGIT
            elif self.config.draw_prompts:
                self._draw(dense[i, 0], prompt)
        is_given = torch.tensor([p.mask is not None for p in prompts])
        has_mask = torch.full((count,), self.config.draw_prompts or previous is not None) | is_given
        tensors = [torch.from_numpy(a) for a in (coords, labels, dense, given)]
        pixels = self._mask_pixels(prompts) if self.config.sam2_masks else None
        return EncodedPrompts(
            DecoderPrompts(tensors[0], tensors[1], tensors[2], has_mask),
            torch.tensor([self._centre(p) for p in prompts]),
            tensors[3] if pixels is None else self._low_res_logits(pixels),
            is_given,
            pixels,
        )

    def _mask_pixels(self, prompts: Sequence[Prompt]) -> Tensor:
        """Return mask prompts [N, 1, H, W] at the network's input size, 0 or 1; 0 where there is none."""
        pixels = np.zeros((len(prompts), 1, *self.input_size), np.float32)
        for i, prompt in enumerate(prompts):
            if prompt.mask is not None:
                pixels[i, 0] = self._share(prompt.mask, self.input_size) >= 0.5
        return torch.from_numpy(pixels)

    def _low_res_logits(self, pixels: Tensor) -> Tensor:
        """Return logits [N, 1, 4h, 4w] of masks [N, 1, H, W], made as SAM2 makes them."""
        margin = 4 * LOW_RES_STRIDE if self.config.wraps else 0
        padded = wrap_pad(pixels, margin, margin, 0, 0) * (2 * GIVEN_LOGIT) - GIVEN_LOGIT
        size = (self.low_res[0], self.low_res[1] + 2 * margin // LOW_RES_STRIDE)
        small = F.interpolate(padded, size, mode="bilinear", align_corners=False, antialias=True)
        return small[..., margin // LOW_RES_STRIDE : size[1] - margin // LOW_RES_STRIDE]

    def _scaled(self, u: float, v: float, size: tuple[int, int]) -> tuple[float, float]:
        """Return pixel indices of the image as those of an image of ``size`` (H, W) of the same sphere."""
        return (
            (u + 0.5) * size[1] / self.grid.width - 0.5,
            (v + 0.5) * size[0] / self.grid.height - 0.5,
        )

    def _sparse(self, prompt: Prompt) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return box corners, then points: coordinates [P, 2] at the network's input, labels [P]."""
        points, labels = list(prompt.points), list(prompt.point_labels)
        if prompt.box is not None:
            points = [prompt.box[:2], prompt.box[2:], *points]
            labels = [BOX_FIRST, BOX_LAST, *labels]
        scaled = [self._scaled(u, v, self.input_size) for u, v in points]
        return np.array(scaled, np.float32).reshape(-1, 2), np.array(labels, np.int64)

    def _share(self, mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the share of every pixel of an image of ``size`` (H, W) that the mask covers.

        No cell reaches across the seam. Thin parts have more than a half (``with_thin_parts``).
        """
        share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        return with_thin_parts(np.asarray(share, np.float32), wrap=self.config.wraps)

    def _draw(self, dense: NDArray[np.float32], prompt: Prompt) -> None:
        """Draw box and clicks as +-DENSE_LOGIT into ``dense`` [4h, 4w]."""
        height, width = dense.shape
        if prompt.box is not None:
            u_min, v_min = self._scaled(*prompt.box[:2], self.low_res)
            u_max, v_max = self._scaled(*prompt.box[2:], self.low_res)
            span = max(round(box_width(u_min, u_max, width)), 0) + 1
            columns = (round(u_min) + np.arange(min(span, width))) % width
            rows = np.arange(max(round(v_min), 0), min(round(v_max), height - 1) + 1)
            dense[:] = -DENSE_LOGIT
            dense[np.ix_(rows, columns)] = DENSE_LOGIT
        rows, columns = np.mgrid[:height, :width]
        for (u, v), label in zip(prompt.points, prompt.point_labels, strict=True):
            u, v = self._scaled(u, v, self.low_res)
            across = (columns - u + width / 2) % width - width / 2
            near = across**2 + (rows - v) ** 2 <= CLICK_RADIUS**2
            dense[near] = DENSE_LOGIT if label == FOREGROUND else -DENSE_LOGIT

    def _centre(self, prompt: Prompt) -> int:
        """Return the token column in the middle of the prompt."""
        box = prompt.box if prompt.mask is None else mask_box(prompt.mask)
        if box is not None:
            u = box[0] + box_width(box[0], box[2], self.grid.width) / 2
        else:
            on = prompt.point_labels == FOREGROUND  # what it is not may lie anywhere
            turns = 2 * math.pi / self.grid.width
            angle = prompt.points[on if on.any() else slice(None), 0] * turns
            u = math.atan2(np.sin(angle).sum(), np.cos(angle).sum()) / turns
        tokens = self.input_size[1] // self.config.stride
        # what lies in the very middle of a region must not depend on the last digit
        return math.floor((u + 0.5) / self.grid.width * tokens + _TIE) % tokens


def group_by_point_count(indices: Sequence[int], prompts: Sequence[Prompt]) -> list[list[int]]:
    """Group indices of prompts by their number of points: padding would count as points of its own."""
    groups: dict[int, list[int]] = {}
    for i in indices:
        groups.setdefault(prompts[i].sparse_count, []).append(i)
    return list(groups.values())


def centre_token(mask_logits: Tensor, otherwise: Tensor) -> Tensor:
    """Return the token column [N] in the middle of masks [N, 1, 4h, 4w]; ``otherwise`` [N] of empty ones."""
    stride = LOW_RES_STRIDE  # tokens are as many stride-4 pixels wide as those are pixels
    column = mean_column((mask_logits > 0).flatten(0, 1).sum(1).float())
    token = ((column + 0.5) / stride).floor().nan_to_num(-1).long()
    return torch.where(token < 0, otherwise, token % (mask_logits.shape[-1] // stride))
