"""Memory files that pass their checksum but have other fields, types, depths or values than ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from helpers.fuzzing import examples
from panosam2_ros.memory import memory_file
from panosam2_ros.memory.memory_file import DIGEST_KEY, HEADER_KEY, load_snapshot, save_snapshot
from panosam2_ros.memory.memory_header import MAX_LABEL_LENGTH, MemoryFileError, parse_header
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.tracker import PanoTracker

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
SECOND = 10**9
DEEP = "[" * 100_000 + "]" * 100_000
GONE = object()
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 4, 5, 1.0, 0.5, 2**70, -(2**70), 1e308, float("nan"), float("inf"), "",
    "text",
    "\ud800", "x" * (MAX_LABEL_LENGTH + 1), [], [[]], [0], {}, {"more": 1}, GONE,
]  # fmt: skip


def new_tracker(*, regions: bool) -> PanoTracker:
    if regions:
        config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2)
        return PanoTracker(random_model(3, config=config).eval().requires_grad_(False))
    model = random_model(1).eval().requires_grad_(False)
    model.set_input_size(64, 128)
    return PanoTracker(model)


class SavedMemory:
    """A memory file of two objects, which can be written with other contents and a digest that fits."""

    def __init__(self, folder: Path, *, regions: bool) -> None:
        self.path, self.tracker = folder / "memory.safetensors", new_tracker(regions=regions)
        for i, label in enumerate(("mug", "bär")):
            mask = np.zeros((64, 128), bool)
            mask[20:40, 40 * i : 40 * i + 20] = True
            self.tracker.prompt(IMAGE, 0, [Prompt(mask=mask, label=label)])
        for t in (1, 2):
            self.tracker.step(IMAGE, t * SECOND)
        save_snapshot(self.path, self.tracker.snapshot(), self.tracker.network)
        self.tensors = load_file(self.path)
        with safe_open(self.path, framework="pt") as file:
            self.header: dict[str, Any] = json.loads(file.metadata()[HEADER_KEY])

    def write(self, text: str, tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, self.path, {HEADER_KEY: text, DIGEST_KEY: memory_file._digest(text, tensors)})

    def use(self) -> None:
        """Restore the file and track; MemoryFileError where it is refused."""
        like = self.tracker.empty_banks()
        self.tracker.restore(load_snapshot(self.path, like, self.tracker.network, 8))
        for t in (3, 4):
            for track in self.tracker.step(IMAGE, t * SECOND).tracks:
                check(track)


def check(track: Any) -> None:
    """All that a message takes has the message's type, and is finite."""
    assert type(track.obj_id) is int and type(track.last_seen) is int
    assert type(track.label) is str and track.label.encode() is not None
    assert -(2**31) <= track.last_seen // SECOND < 2**31
    assert np.isfinite([*track.bearing.direction, *track.bearing.covariance.flat, track.score]).all()


@pytest.fixture(scope="module", params=[False, True], ids=["panorama", "regions"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SavedMemory:
    return SavedMemory(tmp_path_factory.mktemp("memory"), regions=request.param)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all fields and items."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(header: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at the path, or without it; {"more": 1} is added to what is there."""
    if not path:
        return {} if value is GONE else value
    header = copy.deepcopy(header)
    parent = header
    for key in path[:-1]:
        parent = parent[key]
    if value is GONE:
        del parent[path[-1]]
    elif value == {"more": 1} and isinstance(parent[path[-1]], dict):
        parent[path[-1]] |= value
    else:
        parent[path[-1]] = value
    return header


@pytest.mark.faults
def test_every_field_is_checked(saved: SavedMemory) -> None:
    """With any value in any place a file is refused, or can be used: both are seen."""
    refused, used = set(), 0
    for path in places(saved.header):
        for value in VALUES:
            try:
                header = parse_header(json.dumps(changed(saved.header, path, value)))
            except MemoryFileError as error:
                assert len(str(error)) < 500, error
                refused.add(path)
                continue
            used += 1
            for item in header["objects"]:
                check(memory_track(item))
    compared = {"network", "rules"}  # with the network's own, whatever they are
    unchecked = [p for p in places(saved.header) if p not in refused and not (p and p[0] in compared)]
    assert unchecked == [] and used > 0


def memory_track(item: dict[str, Any]) -> Any:
    from panosam2_ros.memory.memory_file import ObjectSnapshot
    from panosam2_ros.tracking.motion_model import StateConfig
    from panosam2_ros.tracking.track import TrackedObject

    return TrackedObject.from_dict(ObjectSnapshot(**item), StateConfig()).track()


@pytest.mark.parametrize(
    "text", [DEEP, '{"a":' * 100_000, "", "nonsense", "[]", "1", "9" * 10_000, '"\\ud800"']
)
def test_headers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(MemoryFileError):
        parse_header(text)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("next_id",), GONE, "next_id"),
        (("more",), 1, "more"),
        (("objects", 0, "label"), 5, r"objects\[0\].label: 5 is not of type 'string'"),
        (("objects", 0, "label"), "x" * (MAX_LABEL_LENGTH + 1), r"objects\[0\].label: .* is too long"),
        (("objects", 0, "motion", "bearing", "direction"), [0.0, 0.0, 0.5], "direction has the length 0.5"),
        (("objects", 1, "motion", "last_seen"), 2**62, r"objects\[1\].motion.last_seen"),
    ],
)
def test_the_field_is_named(path: Any, value: Any, reason: str, saved: SavedMemory) -> None:
    saved.write(json.dumps(changed(saved.header, path, value)), saved.tensors)
    with pytest.raises(MemoryFileError, match=reason):
        saved.use()


@pytest.mark.faults
def test_objects_and_rows_belong_together(saved: SavedMemory) -> None:
    """An object without a view among objects that have one, or the other way round."""
    region = {"axes": np.eye(3).tolist(), "diameter": 0.4, "longest": 0.5, "unseen": 0}
    other = region if saved.header["objects"][0]["view"] is None else None
    saved.write(json.dumps(changed(saved.header, ("objects", 0, "view"), other)), saved.tensors)
    with pytest.raises(MemoryFileError, match="1 objects in views of the kind"):
        saved.use()


@pytest.mark.faults
def test_tensors_without_sense_are_refused(saved: SavedMemory) -> None:
    text = json.dumps(saved.header)
    for name, x in saved.tensors.items():
        if not x.numel() or x.dtype in (torch.bool, torch.uint8):
            continue
        values = (float("nan"), float("inf"), 3e4) if x.is_floating_point() else (2**62, -(2**63))
        for value in values:
            if value == 3e4 and not name.endswith(("reach", "known", "maskmem_features")):
                continue
            wrong = x.clone()
            wrong.view(-1)[-1] = value
            saved.write(text, saved.tensors | {name: wrong})
            if name.endswith("maskmem_features") and value == 3e4:
                saved.use()  # a large feature is no error
                continue
            with pytest.raises(MemoryFileError, match=name):
                saved.use()


@st.composite
def distortions(draw: st.DrawFn, saved: SavedMemory) -> tuple[str, dict[str, torch.Tensor]]:
    """A header and tensors with up to three changes."""
    header: Any = saved.header
    for _ in range(draw(st.integers(0, 3))):
        known = [path for path in places(header) if path]
        if not known:
            break
        near = st.one_of(st.integers(-3, 70_000), st.floats(-2, 2), st.text(max_size=5))
        header = changed(header, draw(st.sampled_from(known)), draw(st.one_of(st.sampled_from(VALUES), near)))
    tensors = dict(saved.tensors)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(tensors)))
        x = tensors[name].clone()
        how = draw(st.sampled_from(("gone", "type", "shape", "value", "renamed")))
        if how in ("gone", "renamed"):
            del tensors[name]
        if how == "type":
            tensors[name] = x.to(
                draw(st.sampled_from((torch.float64, torch.bfloat16, torch.int8, torch.bool)))
            )
        elif how == "shape":
            tensors[name] = draw(
                st.sampled_from((x[None], x.flatten()[:1], x.flatten(), x.flatten()[:0], x.sum()))
            )
        elif how == "renamed":
            tensors[draw(st.text(max_size=5))] = x
        elif how == "value" and x.numel():
            value = draw(st.sampled_from((float("nan"), 1e30, -1e5, -1.0, 0.0, 7.0)))
            place = draw(st.integers(0, x.numel() - 1))
            x.view(-1)[place] = value if x.is_floating_point() else int(np.clip(np.nan_to_num(value), 0, 100))
            tensors[name] = x
    return json.dumps(header), tensors


@pytest.mark.faults
@given(data=st.data())
@examples(60)
def test_any_file_is_refused_or_used(data: st.DataObject, saved: SavedMemory) -> None:
    text, tensors = data.draw(distortions(saved))
    saved.write(text, {name: x.contiguous() for name, x in tensors.items()})
    try:
        saved.use()
    except MemoryFileError as error:
        assert len(str(error)) < 1000
