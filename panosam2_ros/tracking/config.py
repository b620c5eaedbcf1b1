"""Limits and behaviour of a tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from panosam2_ros.geometry.equirect import LEAST_WIDTH
from panosam2_ros.masks.cleanup import CleanupConfig
from panosam2_ros.tracking.motion_model import StateConfig

VIEW_CHOICES = ("auto", "regions", "panorama")


@dataclass(frozen=True)
class TrackerConfig:
    """Limits and behaviour of a tracker."""

    max_objects: int = 32
    vertical_fov: float = math.pi  # rad, of the images; pi for full spheres
    # What a network sees: regions (a search region round each object), panorama, or auto: what the network is
    # made for, and the panorama round an object that is too wide for a region.
    view: str = "auto"
    seam_placement: bool = False  # keep the network's seam away from objects, which then depend on each other
    camera_motion: bool = True  # estimate camera rotation from the images, see geometry/camera_motion.py
    # s by which lost objects may lengthen a step, by what views cost lately, see tracking/search_budget.py;
    # 0: they are looked for whatever it takes, and results do not depend on the machine's speed.
    search_budget: float = 0.0
    cuda_graphs: bool = True  # replay steps as CUDA graphs where the network is on a GPU
    mask_width: int = 0  # columns of label images; 0: the image's
    refine_boundaries: bool = True  # of networks whose configuration asks for it, see masks/boundary.py
    min_island: float = 0.25  # see masks/cleanup.py
    island_reach: float = 0.1  # rad
    max_hole: float = 0.0
    state: StateConfig = field(default_factory=StateConfig)

    @property
    def cleanup(self) -> CleanupConfig:
        """Which parts of a mask do not belong to it."""
        return CleanupConfig(
            min_island=self.min_island,
            max_hole=self.max_hole,
            reach=self.island_reach,
            vertical_fov=self.vertical_fov,
        )

    def __post_init__(self) -> None:
        if self.view not in VIEW_CHOICES:
            raise ValueError(f"view is {', '.join(VIEW_CHOICES)}; got {self.view!r}")
        if not 0 <= self.search_budget < math.inf:
            raise ValueError(f"search_budget is a number of seconds from 0, got {self.search_budget}")
        if self.mask_width and self.mask_width < LEAST_WIDTH:
            raise ValueError(
                f"mask_width must be 0 (the image's) or at least {LEAST_WIDTH}, got {self.mask_width}"
            )
