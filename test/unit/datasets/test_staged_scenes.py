"""Staged scenes show what their names say, and start with every object in sight."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.datasets.staged_scenes import LIGHT_FRAME, MEETING, STAGED_KINDS, open_staged, staged_names
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.sphere import angle_between


def distance(name: str, index: int) -> float:
    """Angle, rad, between the directions of both objects."""
    sequence = open_staged(name)
    masks = (np.asarray(sequence.labels(index)) == obj_id for obj_id in (1, 2))
    first, second = (mask_bearing(mask, sequence.grid) for mask in masks)
    assert first is not None and second is not None
    return float(angle_between(first.direction, second.direction))


def test_every_scene_starts_with_its_objects_in_sight() -> None:
    for name in staged_names():
        objects = 2 if name.startswith(("crossing", "front")) else 1
        assert sorted(open_staged(name).first_frames) == list(range(1, objects + 1)), name


@pytest.mark.parametrize("factor", ["0.3", "0.5", "1.8"])
def test_light_changes_in_one_frame(factor: str) -> None:
    sequence = open_staged(f"light-{factor}-1")
    before, after = (sequence.image(LIGHT_FRAME + n).astype(float) for n in (-1, 0))
    unclipped = (before > 30) & (before < 120)
    assert np.median(after[unclipped] / before[unclipped]) == pytest.approx(float(factor), rel=0.05)


@pytest.mark.parametrize("name", ["crossing-like-slow-1", "crossing-unlike-fast-2"])
def test_objects_cross(name: str) -> None:
    sequence = open_staged(name)
    areas = [(np.asarray(sequence.labels(t)) == 1).sum() for t in (0, MEETING)]
    assert areas[1] < 0.5 * areas[0]  # behind the other one
    assert min(distance(name, 0), distance(name, len(sequence) - 1)) > 0.35


def test_a_thin_object_is_thin() -> None:
    bearing = mask_bearing(open_staged("thin-0").prompt_mask(1), open_staged("thin-0").grid)
    assert bearing is not None
    assert np.degrees(bearing.extent_horizontal) == pytest.approx(30, abs=1)
    assert np.degrees(bearing.extent_vertical) < 3


@pytest.mark.parametrize("step", [15, 20])
def test_an_object_jumps_by_so_many_degrees_a_frame(step: int) -> None:
    sequence = open_staged(f"jump-{step}-2")
    bearings = [mask_bearing(np.asarray(sequence.labels(t)) == 1, sequence.grid) for t in range(3)]
    directions = [bearing.direction for bearing in bearings if bearing is not None]
    moved = [np.degrees(angle_between(*pair)) for pair in pairwise(directions)]
    assert moved == pytest.approx([step, step], abs=2)


def test_scenes_are_a_data_set_whole_or_by_kind() -> None:
    every = open_dataset(DatasetSpec("staged"))
    assert sum(len(open_dataset(DatasetSpec(f"staged:{kind}")).names) for kind in STAGED_KINDS) == len(
        every.names
    )
    assert "crossing-like" in every.open("crossing-like-slow-0").attributes
    with pytest.raises(ValueError, match="got 'dark'"):
        open_dataset(DatasetSpec("staged:dark"))
    with pytest.raises(ValueError, match="a staged scene is one of"):
        open_staged("light")
