"""What a network sees: panoramas whole (here), or a search region of each object (``region_sight``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from panosam2_ros.geometry.circular import fit_image
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.sphere import rotation_matrix
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks.cleanup import ExpectedPlace
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE, EncodedPrompts, PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.seam_placement import SeamPlacer
from panosam2_ros.tracking.track import TrackedObject

View = SearchRegion | None  # None: the whole panorama
Look = Callable[[Sequence[View]], ImageFeatures]  # of one image that all share, or of one for each view


class Sight(Protocol):
    """How images are shown to a network, and what it answers brought back to the panorama."""

    turn: int  # token columns by which panoramas are rolled right for the network

    def steer(self, bank: MemoryBank) -> int:
        """Token columns by which what is remembered has to be rolled before the next image; mostly 0."""
        ...

    def look(self, image: ImageArray, newest: bool = False) -> Look:
        """Gives the features of an image; those of the newest are kept, prompts refer to it most often."""
        ...

    def searched(
        self, image: ImageArray, stamp: int, known: Sequence[TrackedObject], bank: MemoryBank
    ) -> tuple[list[View], torch.Tensor | None]:
        """Where to look for known objects in an image of ``stamp`` (ns); [N] bool: not where they were."""
        ...

    def views(
        self, prompts: Sequence[Prompt], known: Sequence[TrackedObject | None], grid: Equirect, newest: bool
    ) -> list[View]:
        """Where to look for what is prompted; ``known``: the objects that are corrected."""
        ...

    def closer(self, prompts: Sequence[Prompt], views: Sequence[View], found: Sequence[Logits]) -> list[View]:
        """The same views, or better ones of what was found there (fine logits [h, w])."""
        ...

    def encode(
        self,
        prompts: Sequence[Prompt],
        views: Sequence[View],
        grid: Equirect,
        known: Sequence[TrackedObject | None],
        masks: torch.Tensor | None,  # [N, 1, 4h, 4w] their last masks' logits, where they are corrected
    ) -> EncodedPrompts:
        """What the network reads."""
        ...

    def expected(self, known: Sequence[TrackedObject], stamp: int) -> list[ExpectedPlace | None]:
        """Where objects should be in what the network sees at ``stamp`` (ns)."""
        ...

    def shown(self, logits: Logits, view: View) -> Logits | MaskPatch | None:
        """Fine logits [h, w] where they lie in the panorama; None where there is no mask."""
        ...

    def next_region(self, view: View, logits: Logits | None, prompted: bool = False) -> View:
        """Where to look in the next image, after these fine logits [h, w]; None: it was not seen."""
        ...


class WholePanorama:
    """All objects share one picture of the panorama, rolled where its seam would be in the way."""

    def __init__(self, model: PanoSAM2, config: TrackerConfig, thrift: AdaptiveBatcher) -> None:
        self._model, self._thrift = model, thrift
        self._newest: tuple[ImageArray, ImageFeatures] | None = None
        self._steering = SeamPlacer() if config.seam_steering else None
        self.turn = 0

    def steer(self, bank: MemoryBank) -> int:
        if self._steering is None or not len(bank):
            return 0
        seen = (bank.mask_logits > 0).flatten(0, 2).any(0).cpu().numpy()  # stride-4 columns
        tokens = seen.reshape(-1, self._model.config.stride // LOW_RES_STRIDE).max(1)
        move = self._steering.move(tokens)
        if move:
            self.turn = (self.turn + move) % tokens.size
            self._newest = None  # its features are of another turn
        return move

    def look(self, image: ImageArray, newest: bool = False) -> Look:
        if self._newest is not None and self._newest[0] is image:
            features = self._newest[1]
        else:
            features = self._thrift.pieces(lambda _: self._encoded(image), 1)[0]
        if newest:
            self._newest = (image, features)
        return lambda views: features

    def _encoded(self, image: ImageArray) -> ImageFeatures:
        pixels = fit_image(image, *self._model.input_size).to(self._model.device)
        with self._model.precision():
            return self._model.encode_image(pixels.roll(self.turn * self._model.config.stride, -1))

    def searched(
        self, image: ImageArray, stamp: int, known: Sequence[TrackedObject], bank: MemoryBank
    ) -> tuple[list[View], torch.Tensor | None]:
        return [None] * len(known), None

    def views(
        self, prompts: Sequence[Prompt], known: Sequence[TrackedObject | None], grid: Equirect, newest: bool
    ) -> list[View]:
        return [None] * len(prompts)

    def closer(self, prompts: Sequence[Prompt], views: Sequence[View], found: Sequence[Logits]) -> list[View]:
        return list(views)

    def encode(
        self,
        prompts: Sequence[Prompt],
        views: Sequence[View],
        grid: Equirect,
        known: Sequence[TrackedObject | None],
        masks: torch.Tensor | None,
    ) -> EncodedPrompts:
        model, level = self._model, None
        if masks is not None:
            level = masks.roll(-self.turn * (model.config.stride // LOW_RES_STRIDE), -1)
        encoded = PromptEncoder(grid, model.input_size, model.config).encode(prompts, level)
        return encoded.rolled(self.turn, model.config.stride, model.input_size[1])

    def expected(self, known: Sequence[TrackedObject], stamp: int) -> list[ExpectedPlace | None]:
        angle = 2 * math.pi * self.turn * self._model.config.stride / self._model.input_size[1]
        turn = rotation_matrix(np.array([0.0, angle, 0.0]))  # images are rolled right by as much
        bearings = [item.motion.expected(stamp) for item in known]
        return [
            None
            if b is None
            else ExpectedPlace(turn @ b.direction, math.sqrt(np.linalg.norm(b.covariance, 2)))
            for b in bearings
        ]

    def shown(self, logits: Logits, view: View) -> Logits | MaskPatch | None:
        back = -self.turn * (self._model.config.stride // self._model.config.mask_stride)
        return np.roll(logits, back, -1)

    def next_region(self, view: View, logits: Logits | None, prompted: bool = False) -> View:
        return None
