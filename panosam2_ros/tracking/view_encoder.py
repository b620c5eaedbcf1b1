"""Encodes what views show: pixels of frames as features, prompts as the network reads them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import DENSE_LOGIT, LOW_RES_STRIDE, EncodedPrompts, PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.step_inputs import source_of, view_pixels
from panosam2_ros.tracking.view import InputView, NetworkInput, ViewKind
from panosam2_ros.tracking.view_planner import PromptView


class ViewEncoder:
    """Runs the image encoder; keeps the features of the panorama that it encoded last.

    Prompts refer to the newest image most often. Whether that is the one that was encoded is told by its
    stamp and its pixels at the network's input size, whatever array they came in.
    """

    def __init__(self, model: PanoSAM2, network: NetworkInput, batcher: AdaptiveBatcher) -> None:
        self._model, self._network, self._batcher = model, network, batcher
        # stamp, input [1, 3, H, W] and what it gave
        self._last: tuple[int, Tensor, ImageFeatures] | None = None

    def prepare(self, frame: Frame, views: Sequence[InputView]) -> None:
        """Derive from a frame what views of it, or others nearby, will need."""
        if self._network.on_device and views:
            source_of(frame, views, self._network, self._model.device)
            return
        for view in views:
            view.prepare(frame, self._network)

    def encode(self, frame: Frame, views: Sequence[InputView]) -> ImageFeatures:
        """Return the features of a panorama that all views share, or of one picture for each view."""
        shared = is_shared(views)
        pixels = view_pixels(frame, views[:1] if shared else views, self._network, self._model.device)
        return self._panorama(frame.stamp, pixels) if shared else self._encoded(pixels)

    def _panorama(self, stamp: int, pixels: Tensor) -> ImageFeatures:
        if self._last is not None:
            known, last, features = self._last
            # comparing waits for the device, which steps of one image after the other do not need
            if known == stamp and last.dtype == pixels.dtype and torch.equal(last, pixels):
                return features
        features = self._batcher.run(lambda _: self._encoded(pixels), 1)[0]
        self._last = (stamp, pixels, features)
        return features

    def _encoded(self, pixels: Tensor) -> ImageFeatures:
        with self._model.precision():
            return self._model.encode_image(pixels.to(self._model.device))


def is_shared(views: Sequence[InputView]) -> bool:
    """Return whether all views are one panorama, which is encoded once."""
    return views[0].kind is ViewKind.PANORAMA and all(view == views[0] for view in views)


def encode_prompts(
    model: PanoSAM2,
    network: NetworkInput,
    prompts: Sequence[Prompt],
    views: Sequence[PromptView],
    grid: Equirect,  # of the image that the prompts refer to
    *,
    last_masks: Tensor | None = None,  # [N, 1, 4h, 4w] logits of the objects that are corrected
) -> EncodedPrompts:
    """Return prompts as the network reads them in their views, on its device."""
    if last_masks is not None:
        known = torch.tensor([view.has_last_mask for view in views], device=last_masks.device)
        last_masks = last_masks.where(known.view(-1, 1, 1, 1), -DENSE_LOGIT)
    own = [v.view.localized(prompt, grid, network) for prompt, v in zip(prompts, views, strict=True)]
    encoder = PromptEncoder(views[0].view.coordinates(grid, network), model.input_size, model.config)
    parts, start = [], 0
    for roll, same in groupby(view.view.roll_tokens for view in views):
        rows = slice(start, start + len(list(same)))
        masks = (
            None
            if last_masks is None
            else last_masks[rows].roll(-roll * (network.stride // LOW_RES_STRIDE), -1)
        )
        parts.append(encoder.encode(own[rows], masks).rolled(roll, network.stride, network.width))
        start = rows.stop
    return EncodedPrompts.concatenated(parts).to(model.device)
