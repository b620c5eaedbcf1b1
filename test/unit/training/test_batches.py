"""Batches are reproducible, and their parts are made by workers."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.process import ROOT
from helpers.tiny_training import (
    make_batches,
    region_clips,
)
from panosam2_ros.synthetic.perspective_renderer import PerspectiveRenderer
from panosam2_ros.training.batches import Batches
from panosam2_ros.training.clips import RenderedClips, StoredMaterial
from panosam2_ros.training.curriculum import read_config
from panosam2_ros.training.region_clips import RegionClips, SceneVideos

CONFIGS = ROOT / "config" / "train"


def test_a_batch_has_prompts_on_objects_that_are_there(small: Path) -> None:
    batch = make_batches(small, batch=2, frames=3, free_running_frames=0, kinds=(0.0, 1.0, 0.0))[0]
    assert batch.images.shape == (3, 2, 3, 64, 128) and batch.images.dtype == torch.uint8
    assert batch.targets.shape == (3, 4, 1, 32, 64)
    for prompt, target in zip(batch.prompts, batch.targets[0, :, 0], strict=True):
        u, v = prompt.points[0]
        assert target[int(v) // 2, int(u) // 2] > 0
    boxes = make_batches(small, batch=2, free_running_frames=0, kinds=(1.0, 0.0, 0.0))[0].prompts
    assert all(p.box is not None for p in boxes)


def test_a_step_has_the_same_clips_after_a_resumption(small: Path) -> None:
    going, resumed = make_batches(small), make_batches(small)
    passed = [going[step] for step in range(4)]
    again = resumed[3]
    assert torch.equal(passed[3].images, again.images) and torch.equal(passed[3].targets, again.targets)
    assert not torch.equal(passed[2].images[0], again.images[0])
    loaded = list(make_batches(small).loader(2))
    assert len(loaded) == 2 and torch.equal(loaded[1].images, again.images)


def test_the_parts_of_a_batch_are_made_by_workers_of_their_own(small: Path) -> None:
    made = list(make_batches(small, workers=2, batch=4).loader(2))
    assert [len(batch.prompts) for batch in made] == [8, 8]  # two objects in each clip
    own = make_batches(small, workers=2, batch=4)
    for step, batch in zip((2, 3), made, strict=True):
        parts = [own[2 * step], own[2 * step + 1]]
        assert torch.equal(batch.images, torch.cat([part.images for part in parts], 1))
        assert torch.equal(batch.targets, torch.cat([part.targets for part in parts], 1))
        assert not torch.equal(parts[0].images, parts[1].images)
    with pytest.raises(ValueError, match="batch of 4 clips of stage tiny cannot be made by 3 workers"):
        make_batches(small, workers=3, batch=4)
    with pytest.raises(ValueError, match="cannot be made by -1 workers"):
        make_batches(small, workers=-1, batch=4)


def test_batches_are_small_when_pickled_for_workers(tmp_path: Path) -> None:
    stage = read_config(CONFIGS / "nano.yaml").stages[-1]
    for source in (
        RenderedClips(stage.scene_config(), StoredMaterial(tmp_path, tmp_path)),
        RegionClips(SceneVideos(stage.scene_config(), StoredMaterial(tmp_path, tmp_path)), 160),
    ):
        assert len(pickle.dumps(Batches(source, stage, (1, 2, 3)))) < 10_000


def test_a_clip_without_an_object_is_empty_and_never_in_a_batch(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, labels = region_clips(small), PerspectiveRenderer.labels
    monkeypatch.setattr(
        PerspectiveRenderer,
        "labels",
        lambda own, t: (labels(own, t)[0] * (own.seed % 2 == 0), labels(own, t)[1]),
    )
    assert not source.clip(3)[1].any() and source.clip(0)[1].any()
    stage = replace(
        read_config(small).stages[0], size=(64, 64), objects=1, frames=2, free_running_frames=0, batch=3
    )
    batch = Batches(source, stage, (3, 0, 0))
    assert all(batch[step].targets[0].sum() > 0 for step in range(4))
