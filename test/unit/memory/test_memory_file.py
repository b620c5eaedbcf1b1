"""Memory files: exact round trips, atomic writing, and refusal of everything else."""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from panosam2_ros.memory import memory_file
from panosam2_ros.memory.memory_file import (
    DIGEST_KEY,
    HEADER_KEY,
    PREVIOUS,
    TrackerSnapshot,
    load_snapshot,
    memory_path,
    save_snapshot,
)
from panosam2_ros.memory.memory_header import MemoryFileError
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.weights import save_weights
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig

SECOND = 10**9


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (128, 256, 3), np.uint8)


def new_tracker(seed: int = 1, size: tuple[int, int] = (128, 256)) -> PanoTracker:
    model = random_model(seed).eval().requires_grad_(False)
    model.set_input_size(*size)
    return PanoTracker(model, TrackerConfig(max_objects=8))


@pytest.fixture(scope="module")
def tracker() -> PanoTracker:
    """A tracker with two objects, one of them unseen for a while, whose first object was removed."""
    tracker = new_tracker()
    for i, label in enumerate(("gone", "mug", "bär")):
        mask = np.zeros((128, 256), bool)
        mask[40:70, np.arange(60 * i, 60 * i + 30)] = True
        tracker.prompt(picture(0), 0, [Prompt(mask=mask, label=label)])
    tracker.remove([1])
    for t in range(1, 4):
        tracker.step(picture(t), t * SECOND)
    return tracker


def load(path: Path, tracker: PanoTracker, max_objects: int = 8) -> TrackerSnapshot:
    return load_snapshot(path, tracker.empty_banks(), tracker.network, max_objects)


def test_a_restored_tracker_continues_exactly(tracker: PanoTracker, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "memory.safetensors"
    save_snapshot(path, tracker.snapshot(), tracker.network)
    again = new_tracker()
    again.restore(load(path, again))
    assert again.tracks() and repr(again.tracks()) != ""
    for mine, other in zip((t.unseen() for t in tracker.tracks()), again.tracks(), strict=True):
        assert (mine.obj_id, mine.label, mine.state, mine.last_seen) == (
            other.obj_id, other.label, other.state, other.last_seen,
        )  # fmt: skip
        assert np.array_equal(mine.bearing.direction, other.bearing.direction)
        assert np.array_equal(mine.angular_velocity, other.angular_velocity, equal_nan=True)
    kept, epoch = tracker.snapshot(), tracker.epoch
    for t in range(4, 7):
        a, b = tracker.step(picture(t), t * SECOND), again.step(picture(t), t * SECOND)
        assert np.array_equal(a.labels, b.labels)
        assert [x.score for x in a.tracks] == [x.score for x in b.tracks]
    assert [o.obj_id for o in kept.objects] == [2, 3] and epoch == again.epoch
    mask = np.ones((128, 256), bool)
    outcome = again.prompt(picture(7), 7 * SECOND, [Prompt(mask=mask)])[0]
    assert outcome.track is not None and outcome.track.obj_id == 4  # 1 is not used again
    tracker.restore(kept)


def test_empty_memories_can_be_saved(tmp_path: Path) -> None:
    tracker = new_tracker()
    save_snapshot(tmp_path / "m.safetensors", tracker.snapshot(), tracker.network)
    assert load(tmp_path / "m.safetensors", tracker).objects == ()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0", "x" * 101, "a b"]
)
def test_names_with_paths_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MemoryFileError, match="no path"):
        memory_path(tmp_path, name)


def test_memory_path_is_inside_the_directory(tmp_path: Path) -> None:
    assert memory_path(tmp_path, "lab_2") == tmp_path / "lab_2.safetensors"
    assert memory_path(tmp_path, "lab.safetensors") == tmp_path / "lab.safetensors"


@pytest.fixture
def saved(tracker: PanoTracker, tmp_path: Path) -> Path:
    path = tmp_path / "memory.safetensors"
    save_snapshot(path, tracker.snapshot(), tracker.network)
    return path


def test_a_file_of_another_network_is_refused(saved: Path, tracker: PanoTracker, tmp_path: Path) -> None:
    like = tracker.empty_banks()
    others = {
        "model": replace(tracker.network, model="sam2.1_hiera_tiny"),
        "weights_sha256": replace(tracker.network, weights_sha256="00"),
        "input_size": replace(tracker.network, input_size=(224, 448)),
    }
    for key, network in others.items():
        with pytest.raises(MemoryFileError, match=f"{key} is .* there"):
            load_snapshot(saved, like, network, 8)
    wider = {kind: replace(b, rules=replace(b.rules, max_obj_ptrs=17)) for kind, b in like.items()}
    with pytest.raises(MemoryFileError, match="max_obj_ptrs is 16 there and 17 here"):
        load_snapshot(saved, wider, tracker.network, 8)
    with pytest.raises(MemoryFileError, match=r"2 objects, allowed are 1 \(max_objects\)|bytes, more than 1"):
        load(saved, tracker, 1)


def test_weights_are_identified_by_the_digest_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(random_model(3), path)
    assert len(build_model(str(path), device="cpu").weights_sha256) == 64


def test_cut_files_and_flipped_bits_are_detected(saved: Path, tracker: PanoTracker) -> None:
    whole = saved.read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(MemoryFileError):
            load(saved, tracker)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*rng.integers(0, header, 150), *rng.integers(header, len(whole), 50)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(flipped)
        with pytest.raises(MemoryFileError):
            load(saved, tracker)


def test_files_of_other_kinds_and_sizes_are_refused(saved: Path, tracker: PanoTracker) -> None:
    state = load_file(saved)
    save_file(state, saved)
    with pytest.raises(MemoryFileError, match="no memory file"):
        load(saved, tracker)
    with open(saved, "wb") as file:
        file.truncate(2**33)  # sparse
    with pytest.raises(MemoryFileError, match="bytes, more than 8 objects"):
        load(saved, tracker)
    with pytest.raises(FileNotFoundError, match="no memory at"):
        load(saved.with_name("other.safetensors"), tracker)


def test_a_file_of_objects_in_views_of_another_kind_is_refused(saved: Path, tracker: PanoTracker) -> None:
    (bank,) = tracker.empty_banks().values()
    with pytest.raises(
        MemoryFileError, match=r"2 objects, 0 of them in views of the kinds region.*\(parameter view\)"
    ):
        load_snapshot(saved, {"region": bank}, tracker.network, 8)


def _rewritten(path: Path, change: dict[str, object], **tensors: torch.Tensor) -> None:
    """Write a file with another header or other tensors, and the digest of these."""
    state = load_file(path) | tensors
    with safe_open(path, framework="pt") as file:
        header = json.dumps(json.loads(file.metadata()[HEADER_KEY]) | change)
    save_file(state, path, {HEADER_KEY: header, DIGEST_KEY: memory_file._digest(header, state)})


def test_inconsistent_files_are_refused(saved: Path, tracker: PanoTracker) -> None:
    whole = saved.read_bytes()
    cases: list[tuple[str, dict[str, object], dict[str, torch.Tensor]]] = [
        ("format: 9 is not one of", {"format": 9}, {}),
        ("impossible ids", {"next_id": 3}, {}),
        ("next_id: 70000 is greater", {"next_id": 70000}, {}),
        ("centre is", {}, {"panorama/centre": torch.zeros(3, dtype=torch.int64)}),
        ("lacks or adds", {}, {"panorama/more": torch.zeros(2)}),
        ("more.*of no kind of view", {}, {"more": torch.zeros(2)}),
    ]
    for reason, change, tensors in cases:
        saved.write_bytes(whole)
        _rewritten(saved, change, **tensors)
        with pytest.raises(MemoryFileError, match=reason):
            load(saved, tracker)


@pytest.mark.parametrize("hard_links", [True, False])
def test_the_previous_file_is_kept_at_all_times(
    hard_links: bool, saved: Path, tracker: PanoTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, rename, before = saved.read_bytes(), Path.replace, saved.with_name(saved.name + PREVIOUS)

    def crash(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise KeyboardInterrupt
        return rename(self, target)

    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not hard_links:
        monkeypatch.setattr(os, "link", none)
    tracker.step(picture(9), 9 * SECOND)
    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_snapshot(saved, tracker.snapshot(), tracker.network)
    assert saved.read_bytes() == first and len(load(saved, tracker).objects) == 2
    monkeypatch.setattr(Path, "replace", rename)
    save_snapshot(saved, tracker.snapshot(), tracker.network)
    second = saved.read_bytes()
    assert before.read_bytes() == first != second
    save_snapshot(saved, tracker.snapshot(), tracker.network)
    assert before.read_bytes() == second


def test_the_previous_file_is_not_loaded_by_itself(saved: Path, tracker: PanoTracker) -> None:
    save_snapshot(saved, tracker.snapshot(), tracker.network)
    saved.unlink()
    with pytest.raises(FileNotFoundError):
        load(saved, tracker)


def test_a_full_disk_leaves_the_file_unchanged(saved: Path, tracker: PanoTracker, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    whole = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_snapshot(saved, tracker.snapshot(), tracker.network)
    assert saved.read_bytes() == whole and list(saved.parent.glob("*.part")) == []


def test_snapshots_can_be_saved_in_another_thread(tracker: PanoTracker, tmp_path: Path) -> None:
    memory, path = tracker.snapshot(), tmp_path / "m.safetensors"
    thread = threading.Thread(target=save_snapshot, args=(path, memory, tracker.network))
    thread.start()
    for t in range(10, 14):
        tracker.step(picture(t), t * SECOND)
    thread.join()
    loaded = load(path, tracker)
    for name, x in memory.bank.tensors().items():
        assert torch.equal(x, loaded.bank.tensors()[name])


def test_a_file_of_the_first_release_is_read() -> None:
    """Written by the code before it was put into rooms: with random weights, two objects, one labelled."""
    config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2)
    model = random_model(3, config=config).eval().requires_grad_(False)
    tracker, path = PanoTracker(model), Path(__file__).parent / "files" / "memory_0.1.0.safetensors"
    tracker.restore(load_snapshot(path, tracker.empty_banks(), tracker.network, 8))
    first, second = tracker.tracks()
    assert (first.obj_id, first.label, second.obj_id, first.last_seen) == (1, "cup", 2, 10**9)
    image = np.random.default_rng(2).integers(0, 255, (64, 128, 3), np.uint8)
    assert len(tracker.step(image, 3 * 10**9).tracks) == 2
