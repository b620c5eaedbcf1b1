"""Panoramas with a red disc, and networks that know red things."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.spherical_shapes import disc
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2

RED, BLUE = (220, 30, 30), (30, 40, 200)


def red_disc(lon: float, lat: float = 0.0, radius: float = 0.15) -> NDArray[np.uint8]:
    """Return an image of a red disc on blue, with some noise."""
    noise = np.random.default_rng(0).normal(0, 3, (256, 512, 3))
    pixels = np.where(disc(lon, lat, radius)[..., None], RED, BLUE) + noise
    return pixels.clip(0, 255).astype(np.uint8)


def sees_red(model: PanoSAM2, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a network with masks at stride 2 know red things: its masks are where its input is red."""
    encode, decode, pixels = model.encode_image, model.decode, []

    def remember(images: torch.Tensor) -> Any:
        pixels[:] = [images.float()]
        return encode(images)

    def red(*args: Any, **options: Any) -> MaskPrediction:
        found, (images,) = decode(*args, **options), pixels
        share = torch.nn.functional.avg_pool2d((images[:, :1] > 128).float(), 2)
        fine = (8 * share - 4).expand_as(found.fine_logits)
        there = torch.where((fine > 0).flatten(1).any(1), 5.0, -5.0)
        low = torch.nn.functional.avg_pool2d(fine, 2)
        sure = torch.full_like(there, 0.9)
        return replace(found, mask_logits=low, fine_logits=fine, object_score_logits=there, mask_iou=sure)

    monkeypatch.setattr(model, "encode_image", remember)
    monkeypatch.setattr(model, "decode", red)
