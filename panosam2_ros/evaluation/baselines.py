"""Floors and ceilings: what needs no network, what the output's resolution alone costs.

The floors start from the true first mask, however the tracker beside them is prompted: that is
in their favour.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.method import Answer
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray
from panosam2_ros.geometry.search_region import PATCH, SearchRegion, TargetExtent
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.prompts.encoding import GIVEN_LOGIT
from panosam2_ros.prompts.prompt import Prompt

_FLOW_WIDTH = 512  # columns at most at which flow is computed: as many as the default network sees
_FLOW_PADDING = 1 / 8  # of the width, on either side


class KeepFirst:
    """Keeps every object's first mask where it was on the sphere as the camera sees it.

    That is: at the same pixels. How the camera turned is known to no method.
    """

    def __init__(self) -> None:
        self._labels: LabelImage | None = None

    def step(self, image: ImageArray, index: int) -> Answer:
        return Answer(_empty(image) if self._labels is None else self._labels)

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        labels = self.step(image, index).labels.copy()
        for obj_id, prompt in prompts.items():
            labels[_first_mask(prompt)] = obj_id
        self._labels = labels
        return {}


class FlowPropagator:
    """Carries the masks of the last frame along OpenCV's DIS optical flow, across the seam.

    What leaves the mask is lost for good: flow remembers nothing.
    """

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._masks: dict[int, MaskArray] = {}
        self._previous: NDArray[np.uint8] | None = None  # grey, of the last frame

    def step(self, image: ImageArray, index: int) -> Answer:
        grey = _small_grey(image)
        if self._masks and self._previous is not None:
            sources = _sampling(self._back(grey), image.shape[1], image.shape[0])
            self._masks = {i: carry(mask, *sources) for i, mask in self._masks.items()}
        self._previous = grey
        labels = _empty(image)
        for obj_id, mask in self._masks.items():
            labels[mask] = obj_id
        return Answer(labels)

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        self._masks.update({i: _first_mask(prompt) for i, prompt in prompts.items()})
        return {}

    def _back(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[h, w, 2] pixels from where each pixel is now to where it was."""
        assert self._previous is not None
        pad = round(grey.shape[1] * _FLOW_PADDING)
        now, before = (cv2.copyMakeBorder(x, 0, 0, pad, pad, cv2.BORDER_WRAP) for x in (grey, self._previous))
        flow = np.asarray(self._dis.calc(now, before, None), np.float32)
        return flow[:, pad:-pad]


class Ceiling:
    """The truth, brought to the network's output size and back: what resolution alone costs."""

    def __init__(
        self, sequence: VideoSequence, input_size: tuple[int, int], mask_stride: int, regions: bool = False
    ) -> None:
        """``input_size``: the network's, (H, W) pixels; ``mask_stride``: of its masks, in these.

        ``regions``: whether it sees search regions, here those round the truth.
        """
        self._sequence = sequence
        self._size = (input_size[1] // mask_stride, input_size[0] // mask_stride)
        self._stride = mask_stride if regions else 0
        self._known: set[int] = set()

    def step(self, image: ImageArray, index: int) -> Answer:
        truth = self._sequence.labels(index)
        if truth is None:
            return Answer(_empty(image))
        if self._stride:
            return Answer(regional(truth, self._known, self._size[0], self._stride, self._sequence.grid))
        return Answer(coarse(truth, self._known, self._size, self._sequence.grid))

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        self._known |= set(prompts)
        return {}


def coarse(
    labels: LabelImage,  # [H, W]
    ids: set[int],
    size: tuple[int, int],  # (w, h) of the coarse masks
    grid: Equirect,
) -> LabelImage:
    """These objects' masks as a perfect network would give them, at the image's size again."""
    logits = {}
    for obj_id in ids & set(np.unique(labels).tolist()):
        share = cv2.resize((labels == obj_id).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        logits[obj_id] = (2 * np.asarray(share) - 1) * np.float32(GIVEN_LOGIT)
    return render_label_image(logits, grid)[0]


def regional(labels: LabelImage, ids: set[int], side: int, stride: int, grid: Equirect) -> LabelImage:
    """The same of a network that sees search regions: masks of ``side`` pixels, ``stride`` of its wide."""
    patches = {}
    for obj_id in ids & set(np.unique(labels).tolist()):
        target = TargetExtent.of_mask(labels == obj_id, grid)
        assert target is not None
        region = SearchRegion.around(target)
        inside = region.mask(labels == obj_id, side * stride, grid.vertical_fov).astype(np.float32)
        share = cv2.resize(inside, (side, side), interpolation=cv2.INTER_AREA)
        patch = region.patch(2 * np.asarray(share) - 1, PATCH, grid.vertical_fov)
        if patch is not None:
            patches[obj_id] = patch
    return render_label_image(patches, grid)[0]


def carry(mask: MaskArray, u: NDArray[np.float32], v: NDArray[np.float32]) -> MaskArray:
    """The mask [H, W] sampled at columns ``u`` (any turn) and rows ``v`` [H, W]."""
    around = np.concatenate([mask[:, -1:], mask, mask[:, :1]], 1).astype(np.float32)
    column = (u + 0.5) % mask.shape[1] + 0.5  # in ``around``
    moved = cv2.remap(around, column, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved >= 0.5)


def _sampling(
    flow: NDArray[np.float32], width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows [H, W], at the image's size, that a flow [h, w, 2] points to."""
    scale = width / flow.shape[1]
    full = flow if scale == 1 else np.asarray(cv2.resize(flow, (width, height))) * scale
    rows, columns = np.indices((height, width), np.float32)
    return columns + full[..., 0], rows + full[..., 1]


def _small_grey(image: ImageArray) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if grey.shape[1] > _FLOW_WIDTH:
        size = (_FLOW_WIDTH, round(grey.shape[0] * _FLOW_WIDTH / grey.shape[1]))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _first_mask(prompt: Prompt) -> MaskArray:
    if prompt.mask is None:
        raise ValueError("this method carries a mask along and needs one: use mask prompts")
    return prompt.mask


def _empty(image: ImageArray) -> LabelImage:
    return np.zeros(image.shape[:2], np.uint16)
