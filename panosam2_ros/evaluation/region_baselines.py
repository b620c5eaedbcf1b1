"""Baselines with a network and without the tracker: what its parts are worth, at the same pixels per object.

Both look at a square view round the last mask, start from the true mask of the first frame, and have no
motion, no search for what is lost, no second look and no rules of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.evaluation.method import Prediction
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray, MaskArray
from panosam2_ros.geometry.search_region import DEFAULT_PATCH_SIZE, SearchRegion, TargetExtent
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.model.image_encoder import normalise_pixels
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.pixel_matching import match_evidence, pixel_keys
from panosam2_ros.prompts.encoding import ImageSize, PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.propagation import empty_bank, propagate, segment_prompts


class ViewSegmenter(Protocol):
    """Finds one object in views."""

    def start(self, pixels: Tensor, mask: MaskArray) -> None:
        """Take the object's mask [s, s] in the first view, RGB [1, 3, s, s]."""
        ...

    def find(self, pixels: Tensor) -> Tensor:
        """Return the logits [h, w] of the object in a view; none is positive where it is not found."""
        ...


@dataclass
class _Followed:
    """An object and the view in which it is looked for."""

    region: SearchRegion
    segmenter: ViewSegmenter


class FollowedViews:
    """Follows each object with a view round its last mask."""

    def __init__(self, model: PanoSAM2, grid: Equirect, segmenter: type[MemoryAlone | NearestPixels]) -> None:
        """Take a network of search regions and the grid of the images; see the two kinds of segmenters."""
        self._model, self._grid, self._segmenter = model, grid, segmenter
        self._objects: dict[int, _Followed] = {}

    def step(self, image: ImageArray, index: int) -> Prediction:
        """Find every object in the view where its last mask was."""
        patches, pyramid = {}, ImagePyramid(image)
        for obj_id, item in self._objects.items():
            logits = item.segmenter.find(self._pixels(item.region, pyramid)).numpy()
            patch = item.region.patch(logits, DEFAULT_PATCH_SIZE, vertical_fov=self._grid.vertical_fov)
            if patch is not None:
                patches[obj_id] = patch
                target = item.region.target(logits > 0)
                item.region = replace(item.region.next_region(target, share=1.0), unseen=0)
        return Prediction(render_label_image(patches, self._grid)[0])

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Add the objects of mask prompts; return the reasons of refused ones."""
        refused, pyramid = {}, ImagePyramid(image)
        for obj_id, prompt in prompts.items():
            target = None if prompt.mask is None else TargetExtent.of_mask(prompt.mask, self._grid)
            if prompt.mask is None or target is None:
                refused[obj_id] = "this baseline needs a mask to start from: use mask prompts"
                continue
            region, size = SearchRegion.around(target), self._model.input_size[0]
            mask = region.mask(prompt.mask, size, vertical_fov=self._grid.vertical_fov)
            self._objects[obj_id] = _Followed(region, self._segmenter(self._model))
            self._objects[obj_id].segmenter.start(self._pixels(region, pyramid), np.asarray(mask, bool))
        return refused

    def _pixels(self, region: SearchRegion, pyramid: ImagePyramid) -> Tensor:
        """Sample an image in a region, RGB [1, 3, s, s]."""
        size, fov = self._model.input_size[0], self._grid.vertical_fov
        pixels = torch.from_numpy(region.pixels(pyramid, size, vertical_fov=fov))
        return pixels.permute(2, 0, 1)[None].to(self._model.device)


class MemoryAlone:
    """The network and its memory, as SAM 2 would be run on crops."""

    def __init__(self, model: PanoSAM2) -> None:
        self._model, self._bank = model, empty_bank(model, 1)

    @torch.inference_mode()
    def start(self, pixels: Tensor, mask: MaskArray) -> None:
        """Remember the first view and the object's mask in it."""
        height, width = self._model.input_size
        encoder = PromptEncoder(ImageSize(width, height), (height, width), self._model.config)
        prompts = encoder.encode([Prompt(mask=mask)]).to(self._model.device)
        with self._model.precision():
            features = self._model.encode_image(pixels)
            self._bank = segment_prompts(self._model, self._bank, features, prompts, corrects=False).bank

    @torch.inference_mode()
    def find(self, pixels: Tensor) -> Tensor:
        """Return the logits of the mask; all are negative where the network says that it is absent."""
        with self._model.precision():
            found = propagate(self._model, self._bank, self._model.encode_image(pixels))
        self._bank = found.bank
        logits = found.fine_logits[0, 0].float().cpu()
        return logits if found.scores[0] > 0 else logits.clamp(max=-1.0)


@dataclass
class NearestPixels:
    """Label propagation: pixels belong to what they match in the first and in the last view.

    With the features of the network's trunk at strides 8 and 16, without anything that was learned on video.
    """

    model: PanoSAM2
    _kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # keys [1, C, h, w], shares [1, h, w]

    @torch.inference_mode()
    def start(self, pixels: Tensor, mask: MaskArray) -> None:
        """Keep the first view."""
        keys = self._keys(pixels)
        share = torch.from_numpy(mask).float()[None, None].to(keys)
        self._kept = [(keys, F.adaptive_avg_pool2d(share, (keys.shape[2], keys.shape[3]))[0])]

    @torch.inference_mode()
    def find(self, pixels: Tensor) -> Tensor:
        """Return evidence at a quarter of the view's size, and keep the view in the place of the last one."""
        keys = self._keys(pixels)
        references, shares = (torch.stack(x, 1) for x in zip(*self._kept, strict=True))
        every = torch.ones(1, len(self._kept), dtype=torch.bool, device=keys.device)
        evidence = match_evidence(keys, references, shares, every)
        self._kept = [self._kept[0], (keys, evidence[0].sigmoid())]
        return F.interpolate(evidence, scale_factor=2, mode="bilinear", align_corners=False)[0, 0].cpu()

    def _keys(self, pixels: Tensor) -> Tensor:
        """Return the unit vectors of pixels at stride 8."""
        with self.model.precision():
            maps = self.model.image_encoder.trunk(normalise_pixels(pixels))
        return pixel_keys(maps[1], maps[2])
