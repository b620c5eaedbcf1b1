"""Baselines: floors, which need no network, and a ceiling, which shows what the output's resolution costs.

The floors start from the true mask of the first frame, whatever prompts the tracker gets: that is in their
favour.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.method import Prediction
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray
from panosam2_ros.geometry.search_region import DEFAULT_PATCH_SIZE, SearchRegion, TargetExtent
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.prompts.encoding import GIVEN_LOGIT
from panosam2_ros.prompts.prompt import Prompt

_FLOW_WIDTH = 512  # columns, at most, at which flow is computed: as many as the default network sees
_FLOW_PADDING = 1 / 8  # of the width, on either side, repeated across the seam


class KeepFirst:
    """Keeps every mask prompt at the same pixels: in the same direction from the camera.

    No method gets the camera's rotation.
    """

    def __init__(self) -> None:
        self._labels: LabelImage | None = None

    def step(self, image: ImageArray, index: int) -> Prediction:
        """Return the prompted masks."""
        return Prediction(_empty(image) if self._labels is None else self._labels)

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Add the masks of prompts."""
        labels = self.step(image, index).labels.copy()
        for obj_id, prompt in prompts.items():
            labels[_prompted_mask(prompt)] = obj_id
        self._labels = labels
        return {}


class FlowPropagator:
    """Moves the masks of the last frame along OpenCV's DIS optical flow, across the seam.

    There is no memory: parts that leave a mask do not come back.
    """

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._masks: dict[int, MaskArray] = {}
        self._previous: NDArray[np.uint8] | None = None  # grey, of the last frame

    def step(self, image: ImageArray, index: int) -> Prediction:
        """Move all masks by the flow from the last frame."""
        grey = _small_grey(image)
        if self._masks and self._previous is not None:
            flow = self._backward_flow(grey, self._previous)
            positions = _sampling_positions(flow, image.shape[1], image.shape[0])
            self._masks = {i: warp_mask(mask, *positions) for i, mask in self._masks.items()}
        self._previous = grey
        labels = _empty(image)
        for obj_id, mask in self._masks.items():
            labels[mask] = obj_id
        return Prediction(labels)

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Add the masks of prompts."""
        self._masks.update({i: _prompted_mask(prompt) for i, prompt in prompts.items()})
        return {}

    def _backward_flow(self, grey: NDArray[np.uint8], previous: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the flow [h, w, 2], pixels, from each position to its position in the previous frame."""
        pad = round(grey.shape[1] * _FLOW_PADDING)
        now, before = (cv2.copyMakeBorder(x, 0, 0, pad, pad, cv2.BORDER_WRAP) for x in (grey, previous))
        flow = np.asarray(self._dis.calc(now, before, None), np.float32)
        return flow[:, pad:-pad]


class Ceiling:
    """The ground truth, resized to the network's output and back: shows what resolution alone costs."""

    def __init__(
        self, sequence: VideoSequence, input_size: tuple[int, int], mask_stride: int, *, regions: bool = False
    ) -> None:
        """Take the sizes of a network.

        ``input_size``: (H, W) pixels; ``mask_stride``: pixels of the input per pixel of the masks;
        ``regions``: whether the network sees search regions, here those round the true masks.
        """
        self._sequence = sequence
        self._size = (input_size[1] // mask_stride, input_size[0] // mask_stride)
        self._stride = mask_stride if regions else 0
        self._known: set[int] = set()

    def step(self, image: ImageArray, index: int) -> Prediction:
        """Return the coarse true masks of the prompted objects; none where there is no ground truth."""
        ground_truth = self._sequence.labels(index)
        if ground_truth is None:
            return Prediction(_empty(image))
        if self._stride:
            return Prediction(
                region_labels(ground_truth, self._known, self._size[0], self._stride, self._sequence.grid)
            )
        return Prediction(coarse_labels(ground_truth, self._known, self._size, self._sequence.grid))

    def start(self, image: ImageArray, index: int, prompts: Mapping[int, Prompt]) -> Mapping[int, str]:
        """Add objects."""
        self._known |= set(prompts)
        return {}


def coarse_labels(
    labels: LabelImage,  # [H, W]
    ids: set[int],
    size: tuple[int, int],  # (w, h) of the coarse masks
    grid: Equirect,
) -> LabelImage:
    """Return the masks of objects as a perfect network would predict them, at the image's size."""
    logits = {}
    for obj_id in ids & set(np.unique(labels).tolist()):
        share = cv2.resize((labels == obj_id).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        logits[obj_id] = (2 * np.asarray(share) - 1) * np.float32(GIVEN_LOGIT)
    return render_label_image(logits, grid)[0]


def region_labels(labels: LabelImage, ids: set[int], side: int, stride: int, grid: Equirect) -> LabelImage:
    """Return the masks of objects as a perfect network that sees search regions would predict them.

    ``side``: of its masks, pixels; ``stride``: pixels of its input per pixel of the masks.
    """
    patches = {}
    for obj_id in ids & set(np.unique(labels).tolist()):
        target = TargetExtent.of_mask(labels == obj_id, grid)
        if target is None:
            continue
        region = SearchRegion.around(target)
        inside = region.mask(labels == obj_id, side * stride, vertical_fov=grid.vertical_fov).astype(
            np.float32
        )
        share = cv2.resize(inside, (side, side), interpolation=cv2.INTER_AREA)
        patch = region.patch(2 * np.asarray(share) - 1, DEFAULT_PATCH_SIZE, vertical_fov=grid.vertical_fov)
        if patch is not None:
            patches[obj_id] = patch
    return render_label_image(patches, grid)[0]


def warp_mask(mask: MaskArray, u: NDArray[np.float32], v: NDArray[np.float32]) -> MaskArray:
    """Sample a mask [H, W] at columns ``u``, modulo the width, and rows ``v`` [H, W]."""
    around = np.concatenate([mask[:, -1:], mask, mask[:, :1]], 1).astype(np.float32)
    column = (u + 0.5) % mask.shape[1] + 0.5  # in ``around``
    moved = cv2.remap(around, column, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved >= 0.5)


def _sampling_positions(
    flow: NDArray[np.float32], width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the columns and rows [H, W], at the image's size, that a flow [h, w, 2] points to."""
    scale = width / flow.shape[1]
    full = flow if scale == 1 else np.asarray(cv2.resize(flow, (width, height))) * scale
    rows, columns = np.indices((height, width), np.float32)
    return columns + full[..., 0], rows + full[..., 1]


def _small_grey(image: ImageArray) -> NDArray[np.uint8]:
    """Return the grey image, at most ``_FLOW_WIDTH`` wide."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if grey.shape[1] > _FLOW_WIDTH:
        size = (_FLOW_WIDTH, round(grey.shape[0] * _FLOW_WIDTH / grey.shape[1]))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _prompted_mask(prompt: Prompt) -> MaskArray:
    """Return the mask of a prompt; raise ValueError where it has none."""
    if prompt.mask is None:
        raise ValueError("this baseline needs a mask to start from: use mask prompts")
    return prompt.mask


def _empty(image: ImageArray) -> LabelImage:
    """Return labels [H, W] without objects."""
    return np.zeros(image.shape[:2], np.uint16)
