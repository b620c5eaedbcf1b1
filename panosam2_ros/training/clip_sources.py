"""Choice of the clips that a stage learns from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.simulation.assets import SpriteSplit
from panosam2_ros.synthetic.npm_assets import fetch_npm
from panosam2_ros.training.clips import ClipSource, DatasetClips, Material, RenderedClips, StoredMaterial
from panosam2_ros.training.curriculum import Stage
from panosam2_ros.training.region_clips import PanoramaVideos, RegionClips, RegionVideo, SceneVideos


@dataclass(frozen=True)
class Sources:
    """Folders of the material of clips; missing npm packages are fetched when a stage first needs them."""

    npm: Path
    models: Path | None
    sprite_split: SpriteSplit = "name"

    def open_clips(self, stage: Stage) -> ClipSource:
        """Open the clips of a stage: panoramas or search regions, of a data set or of synthetic scenes."""
        if not stage.data:
            scenes, material = stage.scene_config(), self.material()
            if all(stage.panorama):
                return _region_clips(stage, SceneVideos(scenes, material))
            return RenderedClips(scenes, material)
        dataset = open_dataset(DatasetSpec(stage.data))
        panoramas = DatasetClips(dataset, stage.panoramas, stage.max_frames + 2, stage.every)
        if all(stage.panorama):
            return _region_clips(stage, PanoramaVideos(panoramas))
        return panoramas

    def material(self) -> Material:
        """Return the material of synthetic scenes, read once already so that problems are reported here.

        Ends the program with the reason, in one line, where there is no material.
        """
        try:
            if not self.npm.exists():
                fetch_npm(self.npm)
            material = StoredMaterial(self.npm, self.models, self.sprite_split)
            material.library()
        except OSError as error:  # no network, no npm, or a folder without the packages
            sys.exit(f"no material for training: {error}")
        return material


def _region_clips(stage: Stage, videos: Callable[[int], RegionVideo]) -> RegionClips:
    """Return a stage's clips of search regions of these videos."""
    shares = {"poor": stage.poor, "relit": stage.relit, "lost": stage.lost, "zoomed": stage.zoomed}
    return RegionClips(videos, stage.size[1], **shares, zoom=stage.zoom, pairs=stage.objects > 1)
