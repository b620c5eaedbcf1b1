"""What is remembered goes to files and comes back: by service, at the end, and after a kill."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from lifecycle_msgs.msg import Transition
from std_srvs.srv import Trigger

from helpers.process import Process, wait_for, written_at
from helpers.station import SCENE, SEAM, Station, ball_prompt, cap, start, stations
from panosam2_ros.memory import memory_file
from panosam2_ros.memory.memory_file import (
    DIGEST_KEY,
    HEADER_KEY,
    PREVIOUS,
    TrackerSnapshot,
    load_snapshot,
    save_snapshot,
)
from panosam2_ros.memory.memory_header import MAX_OBJ_ID
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.msg import PromptResult
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.ros.inference import memory_store
from panosam2_ros.ros.inference.memory_store import REFUSED, SKIPPED_IDS, MemoryStore
from panosam2_ros.ros.inference.worker import WorkerBusyError, WorkerLateError
from panosam2_ros.srv import GetObjects, LoadMemory, SaveMemory
from panosam2_ros.tracking.tracker import PanoTracker

MODEL = "panosam2_nano"


station = pytest.fixture(scope="module")(stations)


def node(folder: Path, log: str = "log.txt", **parameters: object) -> Process:
    settings = {"memory_directory": str(folder), "memory_file": "state", **parameters}
    return start(MODEL, folder / log, **settings)


def ready(process: Process) -> None:
    wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")


def labels(station: Station) -> list[tuple[int, str]]:
    known = station.call(GetObjects, "get_objects").objects.objects
    return [(item.object_id, item.label) for item in known]


def test_saving_and_loading_by_name(station: Station, tmp_path: Path) -> None:
    def call(kind: Any, name: str) -> Any:
        service = "save_memory" if kind is SaveMemory else "load_memory"
        return station.call(kind, service, kind.Request(name=name))

    with node(tmp_path, memory_file="''") as process:
        ready(process)
        station.show()
        station.prompt(ball_prompt(label="ball"), ball_prompt(label="twin"))
        saved = call(SaveMemory, "home")
        assert saved.success and list(saved.object_ids) == [1, 2], saved
        assert [p.name for p in tmp_path.glob("*.safetensors")] == ["home.safetensors"]
        station.call(Trigger, "reset")
        station.show()
        epoch = station.prompt(ball_prompt(label="other")).epoch
        loaded = call(LoadMemory, "home")
        assert loaded.success and list(loaded.object_ids) == [1, 2], loaded
        assert labels(station) == [(1, "ball"), (2, "twin")]
        message = station.bearings[station.show()]
        assert [o.object_id for o in message.objects] == [1, 2]
        assert message.epoch > epoch  # 1 was another object in that
        assert station.change(Transition.TRANSITION_DEACTIVATE)
        assert station.change(Transition.TRANSITION_CLEANUP)
        assert station.change(Transition.TRANSITION_CONFIGURE)
        assert station.change(Transition.TRANSITION_ACTIVATE)
        station.show()
        assert station.prompt(ball_prompt()).epoch > message.epoch
        assert call(LoadMemory, "home").success
        for name in ("../home", "/etc/passwd", "", "a/b", ".hidden"):
            for kind in (SaveMemory, LoadMemory):
                refused = call(kind, name)
                assert not refused.success and refused.code == PromptResult.INVALID, refused
                assert "no path" in refused.message, refused
        missing = call(LoadMemory, "nowhere")
        assert missing.code == PromptResult.INVALID and "no memory at" in missing.message
        (tmp_path / "broken.safetensors").write_bytes(b"\x10" + b"\0" * 400)
        broken = call(LoadMemory, "broken")
        assert broken.code == PromptResult.INVALID and "not a whole safetensors file" in broken.message
        assert labels(station) == [(1, "ball"), (2, "twin")]  # nothing is lost by a refusal
        assert process.running


@pytest.mark.faults
def test_what_was_tracked_is_known_again_after_a_kill(station: Station, tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    with node(tmp_path, save_interval=0.2) as process:
        ready(process)
        station.show()
        station.prompt(ball_prompt(label="ball"))
        station.show()
        before = written_at(file)
        wait_for(lambda: written_at(file) > before, 20, "the file to be written")
        station.spin_for(0.5)
        process.stop(signal.SIGKILL)
    with node(tmp_path, "again.txt") as process:
        ready(process)
        assert "remembering objects [1]" in process.output
        (track,) = station.bearings[station.show()].objects
        assert (track.object_id, track.label, track.state) == (1, "ball", track.STATE_VISIBLE)
        answer = station.prompt(ball_prompt(label="new"))
        # ids are never used again, and some may have been given after the file was written
        assert answer.results[0].bearing.object_id == 2 + SKIPPED_IDS and answer.epoch == 0


def test_what_planners_change_is_saved_at_once(station: Station, tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    with node(tmp_path, save_interval=3600.0) as process:
        ready(process)
        station.show()
        for _ in range(3):  # also while the one before is still being written
            assert station.prompt(ball_prompt()).success
        tracker = PanoTracker(build_model(MODEL))
        like = tracker.empty_banks()

        def ids() -> list[int]:
            found = load_snapshot(file, like, tracker.network, 32) if file.exists() else None
            return [item.obj_id for item in found.objects] if found else []

        wait_for(lambda: ids() == [1, 2, 3], 20, "three objects in the file")
        station.call(Trigger, "reset")
        wait_for(lambda: ids() == [], 20, "no object in the file")
        assert process.running


@pytest.mark.faults
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "deactivate", "cleanup"])
def test_what_is_remembered_is_saved_at_the_end(how: str, station: Station, tmp_path: Path) -> None:
    with node(tmp_path, save_interval=0.0) as process:
        ready(process)
        station.show()
        station.prompt(ball_prompt(label="ball"))
        assert not list(tmp_path.glob("*.safetensors"))
        if how in ("SIGTERM", "SIGINT"):
            assert process.stop(getattr(signal, how)) == 0
        else:
            assert station.change(Transition.TRANSITION_DEACTIVATE)
            if how == "cleanup":
                assert station.change(Transition.TRANSITION_CLEANUP)
        wait_for(lambda: (tmp_path / "state.safetensors").exists(), 10, "the file")
        assert "Traceback" not in process.output
    if how == "SIGTERM":
        for log, expected in (("again.txt", 2), ("killed.txt", 2 + SKIPPED_IDS)):
            with node(tmp_path, log, save_interval=0.0) as process:
                ready(process)
                wait_for((tmp_path / f"state.safetensors{PREVIOUS}").exists, 10, "a file that is not final")
                station.show()
                answer = station.prompt(ball_prompt())
                # no other can have had 2 after a run that was ended, but after one that was killed
                assert (answer.results[0].bearing.object_id, answer.epoch) == (expected, 0)
                process.stop(signal.SIGKILL)


@pytest.mark.faults
def test_a_file_that_cannot_be_used_is_put_aside(station: Station, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with node(tmp_path, save_interval=0.0) as process:
        ready(process)
        assert "memory not restored" in process.output and "starting empty" in process.output
        assert (tmp_path / f"state.safetensors{REFUSED}").read_bytes() == b"nonsense"
        station.show()
        assert station.prompt(ball_prompt()).success


def foreign(header: dict[str, Any], tensors: dict[str, torch.Tensor], what: str) -> tuple[str, Any]:
    """A header and tensors as another program might write them."""
    (item,) = header["objects"]
    changed = {
        "no next_id": {k: v for k, v in header.items() if k != "next_id"},
        "an extra field": header | {"objects": [item | {"more": 1}]},
        "label 5": header | {"objects": [item | {"label": 5}]},
        "no view": header | {"objects": [item | {"view": None}]},
    }
    text = '{"a":' + 100_000 * "[" if what == "deep" else json.dumps(changed.get(what, header))
    if what == "NaN":
        tensors = tensors | {"region/obj_ptrs": torch.full_like(tensors["region/obj_ptrs"], math.nan)}
    return text, tensors


@pytest.mark.faults
def test_a_file_with_other_fields_is_put_aside_and_refused(station: Station, tmp_path: Path) -> None:
    """Though it passes its checksum: at the start, and by ~/load_memory."""
    tracker = PanoTracker(build_model(MODEL))
    tracker.prompt(SCENE, 1, [Prompt(mask=cap(SEAM), label="ball")])
    path = tmp_path / "state.safetensors"
    save_snapshot(path, tracker.snapshot(), tracker.network)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER_KEY])
    cases = ("no next_id", "an extra field", "label 5", "no view", "NaN", "deep")
    for name, what in {"state": "label 5", **{f"case_{i}": what for i, what in enumerate(cases)}}.items():
        text, changed = foreign(header, tensors, what)
        metadata = {HEADER_KEY: text, DIGEST_KEY: memory_file._digest(text, changed)}
        save_file(changed, tmp_path / f"{name}.safetensors", metadata)
    with node(tmp_path, save_interval=0.0) as process:
        ready(process)
        assert "objects[0].label: 5 is not of type 'string'" in process.output
        assert (tmp_path / f"state.safetensors{REFUSED}").exists()
        station.show()
        assert station.prompt(ball_prompt(label="here")).success
        for i, what in enumerate(cases):
            refused = station.call(LoadMemory, "load_memory", LoadMemory.Request(name=f"case_{i}"))
            assert not refused.success and refused.code == PromptResult.INVALID, (what, refused)
        assert labels(station) == [(1, "here")]
        assert station.show() in station.bearings and "Traceback" not in process.output


def test_a_second_close_waits_for_what_the_first_one_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the process is ended while the node is being cleaned up."""
    writing, may_end = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> None:
        writing.set()
        assert may_end.wait(20)
        save_snapshot(*arguments)

    monkeypatch.setattr(memory_store, "save_snapshot", slowly)
    tracker = PanoTracker(random_model(1))
    store = MemoryStore(tracker, str(tmp_path), "state", pytest.fail)
    first = threading.Thread(target=partial(store.close, tracker.snapshot(), timeout=30.0))
    first.start()
    assert writing.wait(20)
    second = threading.Thread(target=partial(store.close, None, timeout=30.0))
    second.start()
    second.join(0.3)
    assert second.is_alive() and not (tmp_path / "state.safetensors").exists()
    may_end.set()
    for thread in (first, second):
        thread.join(20)
        assert not thread.is_alive()
    assert (tmp_path / "state.safetensors").exists()


@pytest.mark.faults
def test_calls_that_wait_for_the_disk_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond four they are refused; closing cancels what waits."""
    reading, may_end = threading.Event(), threading.Event()

    def slowly(*_: object) -> None:
        reading.set()
        assert may_end.wait(20)

    monkeypatch.setattr(memory_store, "load_snapshot", slowly)
    store = MemoryStore(PanoTracker(random_model(1)), str(tmp_path), "", pytest.fail)
    first = store.load("home")
    assert reading.wait(20)
    waiting = [store.load("home") for _ in range(3)]
    for call in (store.load, partial(store.save, memory=None)):
        with pytest.raises(WorkerBusyError, match="4 calls wait for the disk already"):
            call("home")
    closing = threading.Thread(target=partial(store.close, None, timeout=30.0))
    closing.start()
    wait_for(lambda: all(call.cancelled() for call in waiting), 20, "the calls to be cancelled")
    may_end.set()
    closing.join()
    assert first.done() and not first.cancelled()


@pytest.mark.faults
def test_what_was_put_aside_before_stays(tmp_path: Path) -> None:
    tracker, path, told = PanoTracker(random_model(1)), tmp_path / "state.safetensors", []
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        store = MemoryStore(tracker, str(tmp_path), "state", told.append)
        store.restore()
        store.close(None, timeout=10.0)
    kept = [tmp_path / f"{path.name}{REFUSED}{more}" for more in ("", ".1", ".2")]
    assert [p.read_bytes() for p in kept] == [b"one", b"two", b"three"] and not path.exists()
    assert str(kept[2]) in told[2]


@pytest.mark.faults
def test_a_folder_that_cannot_be_written_is_reported_and_survived(station: Station, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with start(MODEL, tmp_path / "log.txt", memory_directory=str(tmp_path / "file"), memory_file="state",
               save_interval=0.1) as process:  # fmt: skip
        ready(process)
        station.show()
        assert station.prompt(ball_prompt()).success
        wait_for(lambda: "memory not saved" in process.output, 20, "the report")
        saved = station.call(SaveMemory, "save_memory", SaveMemory.Request(name="home"))
        assert not saved.success and saved.code == PromptResult.INTERNAL
        assert "make room there or set memory_directory" in saved.message
        assert station.show() in station.bearings


@pytest.mark.parametrize("where", ["taken from the tracker", "written"])
def test_memory_that_cannot_be_had_is_reported_too(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's allocators raise RuntimeError, not MemoryError."""
    reasons: list[str] = []
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory")

    def raises(*_: object) -> TrackerSnapshot:
        raise error

    class Fails:
        """A worker on which every job raises."""

        def submit(self, _: Callable[[], TrackerSnapshot], done: Callable[..., None]) -> None:
            done(None, error)

    tracker = PanoTracker(random_model(1).eval().requires_grad_(False))
    store = MemoryStore(tracker, str(tmp_path), "state", reasons.append)
    monkeypatch.setattr(memory_store, "save_snapshot", raises)
    if where == "written":
        store.close(tracker.snapshot(), timeout=10.0)
    else:
        store.save_soon(Fails())  # type: ignore[arg-type]
    assert len(reasons) == 1 and "memory not saved" in reasons[0] and "can't allocate" in reasons[0]


@pytest.mark.parametrize(
    ("final", "next_id", "own", "expected"),
    [
        (True, 7, 0, (3, 7)),
        (False, 7, 0, (3, 7 + SKIPPED_IDS)),
        (True, 7, 5, (5, 7)),  # the node was in epoch 5 before it was configured anew
        (False, MAX_OBJ_ID - 10, 0, (4, 1)),  # no ids are left in epoch 3
    ],
)
def test_ids_and_epochs_that_go_on_are_nobody_elses(
    final: bool, next_id: int, own: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    tracker = PanoTracker(random_model(1).eval().requires_grad_(False))
    memory = replace(tracker.snapshot(), epoch=3, next_id=next_id, final=final)
    save_snapshot(tmp_path / "state.safetensors", memory, tracker.network)
    tracker.epoch = own
    store = MemoryStore(tracker, str(tmp_path), "state", pytest.fail)
    assert "remembering objects []" in store.restore()
    assert (tracker.epoch, tracker.snapshot().next_id) == expected
    store.close(None, timeout=10.0)


@pytest.mark.faults
@pytest.mark.parametrize("error", [WorkerBusyError("16 calls wait"), WorkerLateError("not within 30 s")])
def test_a_worker_that_is_too_busy_does_not_keep_it_from_saving(
    error: WorkerBusyError, tmp_path: Path
) -> None:
    class Busy:
        """Takes no call, or lets it wait too long."""

        def submit(self, _: Callable[[], TrackerSnapshot], done: Callable[..., None]) -> None:
            if type(error) is WorkerBusyError:
                raise error
            done(None, error)

    reasons: list[str] = []
    tracker = PanoTracker(random_model(1).eval().requires_grad_(False))
    store = MemoryStore(tracker, str(tmp_path), "state", reasons.append)
    store.save_soon(Busy())  # type: ignore[arg-type]
    assert len(reasons) == 1 and str(error) in reasons[0]  # nothing is known yet
    store.lately = tracker.snapshot
    store.save_soon(Busy())  # type: ignore[arg-type]
    store.close(None, timeout=10.0)
    assert len(reasons) == 1 and (tmp_path / "state.safetensors").exists()


def test_what_changes_while_it_is_saved_is_saved_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, may_end, saved = threading.Event(), threading.Event(), []

    class AtOnce:
        """A worker that does its jobs as they come."""

        def submit(self, job: Callable[[], TrackerSnapshot], done: Callable[..., None]) -> None:
            done(job(), None)

    def slowly(*_: object) -> None:
        saved.append(1)
        going.set()
        assert may_end.wait(20)

    monkeypatch.setattr(memory_store, "save_snapshot", slowly)
    tracker = PanoTracker(random_model(1).eval().requires_grad_(False))
    store = MemoryStore(tracker, str(tmp_path), "state", pytest.fail)
    store.save_soon(AtOnce())  # type: ignore[arg-type]
    assert going.wait(20)
    for _ in range(3):
        store.save_soon(AtOnce())  # type: ignore[arg-type]
    may_end.set()
    wait_for(lambda: len(saved) == 2, 20, "the second time")
    store.close(None, timeout=10.0)
    assert len(saved) == 2
