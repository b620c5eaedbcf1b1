"""The acceptance scenes are frozen."""

from __future__ import annotations

import dataclasses

from panosam2_ros.datasets import acceptance
from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene_config import SceneConfig


def test_the_acceptance_scenes_are_frozen() -> None:
    named = {field.name for field in dataclasses.fields(SceneConfig)}
    frozen = set(acceptance.SCENE) | set(acceptance.LATER_FIELDS)
    assert frozen == named, "freeze new fields at the value that changes nothing"
    library = AssetLibrary.shipped(Split.RESERVED, reserved=True)
    assert (
        acceptance.config_sha256(library)
        == "275bba39bc10d2390ab81e301919bdcbe30745fdd80ae2d117e0220c03e3b1d4"
    )
    dataset = open_dataset(DatasetSpec("acceptance", reserved=True))
    assert len(dataset.names) == 12 and dataset.config_sha256 == acceptance.config_sha256(library)


def test_an_acceptance_scene_has_its_objects_in_frame_0() -> None:
    sequence = open_dataset(DatasetSpec("acceptance", reserved=True)).open("acceptance-03")
    assert len(sequence) == 60 and (sequence.grid.width, sequence.grid.height) == (960, 480)
    assert 2 <= len(sequence.first_frames) <= 4 and set(sequence.first_frames.values()) == {0}
