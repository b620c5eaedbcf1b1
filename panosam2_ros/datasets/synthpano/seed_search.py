"""Search of the first seed whose scene has the features that the plan of a sequence asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from panosam2_ros.datasets.synthpano.attributes import measure_attributes
from panosam2_ros.datasets.synthpano.config import Plan
from panosam2_ros.datasets.synthpano.ground_truth import Origin, SequenceGroundTruth
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.scene import Scene

ATTEMPTS = 300
_PREVIEW_WIDTH = 256  # columns; enough to judge a scene


def search_seed(plan: Plan, library: AssetLibrary) -> int:
    """Return the first seed whose scene, previewed small and without images, meets the plan.

    Raise RuntimeError where ``ATTEMPTS`` seeds do not.
    """
    for attempt in range(ATTEMPTS):
        seed = int(np.random.SeedSequence((*plan.seed, attempt)).generate_state(1)[0])
        scene = _small_scene(plan, library, seed)
        if scene.contrast >= plan.demands.contrast and _meets_plan(preview(plan, scene, seed), plan):
            return seed
    raise RuntimeError(
        f"none of {ATTEMPTS} scenes has {', '.join(plan.features) or 'all objects visible'} for sequence "
        f"{plan.name} of {plan.split.value}: change the ranges of the configuration"
    )


def _small_scene(plan: Plan, library: AssetLibrary, seed: int) -> Scene:
    """Return the plan's scene with at most ``_PREVIEW_WIDTH`` columns and without noise."""
    width = min(plan.scene.width, _PREVIEW_WIDTH)
    height = round(width * plan.scene.height / plan.scene.width)
    return Scene(replace(plan.scene, width=width, height=height, noise=0.0), library, seed)


def preview(plan: Plan, scene: Scene, seed: int) -> SequenceGroundTruth:
    """Measure the ground truth of a scene without rendering its images."""
    frames = [scene.truth(index) for index in range(len(scene))]
    origin = Origin(
        benchmark="",
        config_sha256="",
        split=plan.split.value,
        name=plan.name,
        seed=seed,
        features=plan.features,
        jpeg_quality=plan.jpeg_quality,
        content_sha256="",
    )
    ground_truth = SequenceGroundTruth.from_scene(origin, scene, frames)
    return measure_attributes(ground_truth, (frame.labels for frame in frames), events=plan.events)


def _meets_plan(ground_truth: SequenceGroundTruth, plan: Plan) -> bool:
    """Return whether all features are measured and every object is visible often enough."""
    least = plan.demands.shown_fraction
    shown = min((track.visible_fraction > least).mean() for track in ground_truth.objects)
    features = set(plan.features) <= set(ground_truth.attributes)
    return bool(features and shown >= plan.demands.shown_in_share_of_frames)
