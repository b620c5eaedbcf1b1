"""A planner whose one search region never moves, and the video that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from panosam2_ros import Prompt
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.geometry.window import Logits
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.object_group import ObjectBatch
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import InputView, NetworkInput, SearchRegionView
from panosam2_ros.tracking.view_planner import OneLookPlanner, PromptView, ViewPlan

GRID = Equirect(1024, 512)


@dataclass(frozen=True)
class StillRegionPlanner(OneLookPlanner):
    """Shows the same region in every frame, across the seam of the panorama."""

    view: SearchRegionView
    roll_tokens: int = 0

    @classmethod
    def at(cls, lon: float, lat: float, diameter: float) -> StillRegionPlanner:
        """Look in a direction, at an object of a size; all rad."""
        extent = TargetExtent(lonlat_to_vector(lon, lat), diameter, diameter)
        return cls(SearchRegionView(SearchRegion.around(extent)))

    def place_seam(self, bank: MemoryBank) -> int:
        return 0

    def plan(self, group: ObjectBatch, frame: Frame) -> ViewPlan:
        return ViewPlan([self.view] * len(group.objects))

    def plan_prompt(
        self, prompt: Prompt, corrected: TrackedObject | None, grid: Equirect, *, newest: bool
    ) -> PromptView:
        return PromptView(self.view, has_last_mask=corrected is not None)

    def next_view(self, view: InputView, logits: Logits | None, *, prompted: bool) -> InputView:
        return self.view


def panoramas(count: int) -> list[NDArray[np.uint8]]:
    """Return panoramas of a texture with a square that moves over the seam."""
    rng = np.random.default_rng(9)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 64, 128))).float()
    texture = F.interpolate(coarse, (GRID.height, GRID.width), mode="bicubic").clamp(0, 255)
    picture = texture[0].permute(1, 2, 0).numpy().astype(np.uint8)
    frames = []
    for t in range(count):
        frame = np.roll(picture, 2 * t, 1)
        columns = (np.arange(-30, 20) + 4 * t) % GRID.width
        frame[200 + 2 * t : 250 + 2 * t, columns] = (220, 60, 40)
        frames.append(np.ascontiguousarray(frame))
    return frames


def write_cropped(
    frames: list[NDArray[np.uint8]], view: SearchRegionView, network: NetworkInput, folder: Path
) -> None:
    """Write what the region shows as upstream reads it: files *.jpg, here without loss (PNG)."""
    folder.mkdir()
    for t, image in enumerate(frames):
        pixels = view.pixels(Frame(image, t), network)[0].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{t:05d}.jpg", format="PNG")
