"""Finds the scene of a sequence: the first seed whose scene has what the sequence is to have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from panosam2_ros.datasets.synthpano.attributes import measured
from panosam2_ros.datasets.synthpano.config import Plan
from panosam2_ros.datasets.synthpano.ground_truth import Origin, SequenceGroundTruth
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.scene import Scene

ATTEMPTS = 300
_REHEARSAL_WIDTH = 256  # columns; enough to judge by


def search_seed(plan: Plan, library: AssetLibrary) -> int:
    """The seed of the plan's Scene; rehearsed small and without images."""
    for attempt in range(ATTEMPTS):
        seed = int(np.random.SeedSequence((*plan.seed, attempt)).generate_state(1)[0])
        scene = _small(plan, library, seed)
        if scene.contrast >= plan.demands.contrast and _has_it_all(rehearse(plan, scene, seed), plan):
            return seed
    raise RuntimeError(
        f"no scene of {ATTEMPTS} has {', '.join(plan.features) or 'all objects in sight'}: sequence "
        f"{plan.name} of {plan.split.value}; the configuration asks for what its ranges cannot give"
    )


def _small(plan: Plan, library: AssetLibrary, seed: int) -> Scene:
    width = min(plan.scene.width, _REHEARSAL_WIDTH)
    height = round(width * plan.scene.height / plan.scene.width)
    return Scene(replace(plan.scene, width=width, height=height, noise=0.0), library, seed)


def rehearse(plan: Plan, scene: Scene, seed: int) -> SequenceGroundTruth:
    """The measured truth of a scene, without its images."""
    truths = [scene.truth(index) for index in range(len(scene))]
    origin = Origin("", "", plan.split.value, plan.name, seed, plan.features, plan.jpeg_quality, "")
    return measured(SequenceGroundTruth.of(origin, scene, truths), (t.labels for t in truths))


def _has_it_all(truth: SequenceGroundTruth, plan: Plan) -> bool:
    least = plan.demands.shown_fraction
    shown = min((track.visible_fraction > least).mean() for track in truth.objects)
    features = set(plan.features) <= set(truth.attributes)
    return bool(features and shown >= plan.demands.shown_in_share_of_frames)
