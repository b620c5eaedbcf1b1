"""What a network sees of a panorama: a search region round an object, or all of it.

A view is an immutable value. It knows its pixels of a frame, a prompt in its coordinates, and the logits that
a network answers back on the panorama. Where to look next is the planner's business (``view_planner.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from panosam2_ros.geometry.bearing import Bearing, mask_bearing
from panosam2_ros.geometry.circular import fit_image, wrap_resize
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.geometry.region_bearing import region_bearing
from panosam2_ros.geometry.search_region import DEFAULT_PATCH_SIZE, SearchRegion
from panosam2_ros.geometry.sphere import Floats, rotation_matrix
from panosam2_ros.geometry.thin_mask import region_mask
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks.boundary import LARGEST_WINDOW
from panosam2_ros.masks.cleanup import ExpectedPlace
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import ImageSize
from panosam2_ros.prompts.extent import box_outline
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import BearingMotionModel

WRONG_IOU = 0.5  # of two masks of an object in one frame: with less, one of them shows something else


@dataclass(frozen=True)
class NetworkInput:
    """What a network takes in and answers, as views need to know it."""

    height: int  # pixels
    width: int
    stride: int  # pixels of a token
    mask_stride: int  # pixels of a pixel of the masks that come out
    patch_size: int  # side of the windows in which masks of search regions are published, pixels, at least
    outline_size: int  # side of the windows in which boundaries are refined, pixels; 0: they are not
    vertical_fov: float  # rad, of the panoramas
    on_device: bool = False  # views are sampled on the network's device, not by OpenCV on the CPU

    @classmethod
    def of(cls, model: PanoSAM2, vertical_fov: float) -> NetworkInput:
        """Return the input of a network at its present size."""
        config = model.config
        outline = min(config.outline_size, LARGEST_WINDOW)
        sizes = (config.stride, config.mask_stride, outline or DEFAULT_PATCH_SIZE, outline)
        return cls(*model.input_size, *sizes, vertical_fov, on_device=model.device.type != "cpu")


class ViewKind(str, Enum):
    """What a network's input shows."""

    REGION = "region"
    PANORAMA = "panorama"


class InputView(Protocol):
    """What a network sees of a panorama."""

    @property
    def kind(self) -> ViewKind:
        """What this view shows."""
        ...

    @property
    def reach(self) -> float:
        """How far the view shows from its middle, 2 tan(fov / 4); 0: all of the sphere, not comparable."""
        ...

    @property
    def roll_tokens(self) -> int:
        """Token columns by which the network's input is rolled right."""
        ...

    def prepare(self, frame: Frame, network: NetworkInput) -> None:
        """Derive from a frame what this view, or one of its size elsewhere, needs of it."""
        ...

    def pixels(self, frame: Frame, network: NetworkInput) -> Tensor:
        """Return what the network sees of a frame, [1, 3, H, W] RGB 0..255, on the CPU."""
        ...

    def coordinates(self, grid: Equirect, network: NetworkInput) -> Equirect | ImageSize:
        """Return the image whose pixel indices ``localized`` gives."""
        ...

    def localized(self, prompt: Prompt, grid: Equirect, network: NetworkInput) -> Prompt:
        """Return the prompt in this view's pixel indices; ``grid``: the panorama's."""
        ...

    def to_panorama(self, logits: Logits, network: NetworkInput) -> Logits | MaskPatch | None:
        """Return fine logits [h, w] where they lie in the panorama; None where the mask is empty."""
        ...

    def bearing(self, logits: Logits, network: NetworkInput, *, mask_iou: float) -> Bearing | None:
        """Return the bearing of the mask of fine logits [h, w]; None where it is empty."""
        ...

    def rotated(self, rotation: Floats) -> InputView:
        """Return the view of the same things after the camera rotated: ``rotation`` [3, 3] of directions."""
        ...

    def expected_place(
        self, motion: BearingMotionModel, stamp: int, network: NetworkInput
    ) -> ExpectedPlace | None:
        """Return where the object should be in the network's input; None where the view follows it."""
        ...


@dataclass(frozen=True)
class PanoramaView:
    """The whole panorama, rolled right by token columns."""

    roll_tokens: int = 0
    kind: ClassVar = ViewKind.PANORAMA
    reach: ClassVar = 0.0

    def prepare(self, frame: Frame, network: NetworkInput) -> None:
        """Do nothing: all of the frame is resized at once."""

    def pixels(self, frame: Frame, network: NetworkInput) -> Tensor:
        """Return the panorama at the network's input size."""
        fitted = fit_image(frame.image, network.height, network.width)
        return fitted.roll(self.roll_tokens * network.stride, -1)

    def coordinates(self, grid: Equirect, network: NetworkInput) -> Equirect:
        """Return the panorama's own grid: what is encoded is rolled afterwards, by whole tokens."""
        return grid

    def localized(self, prompt: Prompt, grid: Equirect, network: NetworkInput) -> Prompt:
        """Return the prompt as it is."""
        return prompt

    def to_panorama(self, logits: Logits, network: NetworkInput) -> Logits:
        """Return the logits rolled back."""
        return np.roll(logits, -self.roll_tokens * (network.stride // network.mask_stride), -1)

    def bearing(self, logits: Logits, network: NetworkInput, *, mask_iou: float) -> Bearing | None:
        """Return the bearing of the mask, at the height of the network's input."""
        if not (logits > 0).any():
            return None
        grid = Equirect(2 * network.height, network.height, network.vertical_fov)
        own = torch.from_numpy(self.to_panorama(logits, network))
        mask = wrap_resize(own, grid.height, grid.width).numpy() > 0
        return mask_bearing(mask, grid, mask_iou=mask_iou)

    def rotated(self, rotation: Floats) -> PanoramaView:
        """Return the same view: it shows everything anyway."""
        return self

    def expected_place(
        self, motion: BearingMotionModel, stamp: int, network: NetworkInput
    ) -> ExpectedPlace | None:
        """Return where the motion predicts the object; None for one that is lost."""
        bearing = motion.predict(stamp)
        if bearing is None:
            return None
        angle = 2 * math.pi * self.roll_tokens * network.stride / network.width
        roll = rotation_matrix(np.array([0.0, angle, 0.0]))  # images are rolled right by as much
        deviation = math.sqrt(np.linalg.norm(bearing.covariance, 2))
        return ExpectedPlace(roll @ bearing.direction, deviation, network.vertical_fov)


@dataclass(frozen=True, eq=False)
class SearchRegionView:
    """A square round one object that moves with it."""

    region: SearchRegion
    roll_tokens: int = 0
    kind: ClassVar = ViewKind.REGION

    @property
    def reach(self) -> float:
        """How far the region shows from its middle, on its plane."""
        return 2 * math.tan(self.region.fov / 4)

    def prepare(self, frame: Frame, network: NetworkInput) -> None:
        """Compute the level of the frame's pyramid that the region is sampled from."""
        self.region.level(frame.pyramid, network.width)

    def pixels(self, frame: Frame, network: NetworkInput) -> Tensor:
        """Return the region, sampled from the frame's pyramid."""
        shown = self.region.pixels(frame.pyramid, network.width, vertical_fov=network.vertical_fov)
        return torch.from_numpy(shown).permute(2, 0, 1)[None]

    def coordinates(self, grid: Equirect, network: NetworkInput) -> ImageSize:
        """Return the network's own pixels."""
        return ImageSize(network.width, network.width)

    def localized(self, prompt: Prompt, grid: Equirect, network: NetworkInput) -> Prompt:
        """Return the prompt in the region's pixels; what lies outside is moved to its edge."""
        size, region = network.width, self.region
        if prompt.mask is not None:
            return replace(
                prompt, mask=region_mask(region, prompt.mask, size, vertical_fov=network.vertical_fov)
            )
        edge = size - 0.501
        points, box = prompt.points, None
        if len(points):
            points = region.project(grid.pixel_to_vector(*points.T), size).clip(-0.5, edge)
        if prompt.box is not None:
            places = region.project(box_outline(prompt.box, grid), size).clip(-0.5, edge)
            box = (*places.min(0).tolist(), *places.max(0).tolist())
        return replace(prompt, points=points, box=box)

    def to_panorama(self, logits: Logits, network: NetworkInput) -> MaskPatch | None:
        """Return the logits in a window of the panorama."""
        finer = not network.outline_size  # boundaries are refined in windows of one size
        return self.region.patch(logits, network.patch_size, finer=finer, vertical_fov=network.vertical_fov)

    def bearing(self, logits: Logits, network: NetworkInput, *, mask_iou: float) -> Bearing | None:
        """Return the bearing of the mask, computed in the region."""
        return region_bearing(self.region, logits, mask_iou=mask_iou)

    def rotated(self, rotation: Floats) -> SearchRegionView:
        """Return the region that shows the same still things."""
        return replace(self, region=self.region.recentred(rotation @ self.region.axes[2]))

    def expected_place(
        self, motion: BearingMotionModel, stamp: int, network: NetworkInput
    ) -> ExpectedPlace | None:
        """Return None: the region lies where the object should be."""
        return None


def reaches(views: Sequence[InputView], device: torch.device) -> Tensor:
    """Return the reach [N] of views."""
    return torch.tensor([view.reach for view in views], device=device)


def view_to_dict(view: InputView) -> dict[str, Any] | None:
    """Return a view as JSON can hold it; None: the whole panorama."""
    return view.region.to_dict() if isinstance(view, SearchRegionView) else None


def view_from_dict(values: Mapping[str, Any] | None) -> InputView:
    """Return what ``view_to_dict`` was given; a panorama comes back unrolled."""
    return PanoramaView() if values is None else SearchRegionView(SearchRegion.from_dict(values))


def masks_agree(one: MaskArray, other: MaskArray) -> bool:
    """Return whether two masks [h, w] of a view overlap so much that they show the same thing."""
    return bool((one & other).sum() >= WRONG_IOU * (one | other).sum())
