"""Which clips a stage learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.synthetic.npm_assets import fetch_npm
from panosam2_ros.training.clips import ClipSource, DatasetClips, Material, RenderedClips, StoredMaterial
from panosam2_ros.training.curriculum import Stage
from panosam2_ros.training.region_clips import Panoramic, RegionClips, Scenes


@dataclass(frozen=True)
class Sources:
    """Where clips come from; packages that are missing are fetched when a stage first wants them."""

    npm: Path
    models: Path | None

    def of(self, stage: Stage) -> ClipSource:
        """The clips of a stage."""
        if not stage.data:
            scenes, material = stage.scenes(), self.material()
            if all(stage.panorama):
                return RegionClips(Scenes(scenes, material), stage.size[1], stage.poor)
            return RenderedClips(scenes, material)
        dataset = open_dataset(DatasetSpec(stage.data))
        panoramas = DatasetClips(dataset, stage.panoramas, stage.longest + 2, stage.every)
        if all(stage.panorama):
            return RegionClips(Panoramic(panoramas), stage.size[1], stage.poor)
        return panoramas

    def material(self) -> Material:
        """What synthetic scenes are made of, read at once, so that what is wrong with it is said."""
        if not self.npm.exists():
            fetch_npm(self.npm)
        material = StoredMaterial(self.npm, self.models)
        material.library()
        return material
