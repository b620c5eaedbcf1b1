"""A node that is killed, while it tracks or while it saves, knows its objects again when it is back."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from std_srvs.srv import Trigger

from helpers.film import Film
from helpers.process import Process, wait_for, written_at
from helpers.station import Station, start, stations
from panosam2_ros.simulation.scene import SceneConfig

BEFORE, BACK = 10, 10  # frames before the kill, and in which the objects must be back
SCENES, ENOUGH = 6, 5
FOUND, CONFUSED = 0.5, 0.3  # IoU with its own object, with another one
SCENE = SceneConfig(
    width=896,
    height=448,
    frames=BEFORE + BACK,
    objects=(2, 2),
    size=(math.radians(25), math.radians(45)),
    object_speed=(0.0, math.radians(1)),
    camera_speed=math.radians(1),
    distractors=(0, 0),
    occlusion=0.0,
    look_alike=0.0,
)


station = pytest.fixture(scope="module")(stations)


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """Ends what was started in it."""
    with ExitStack() as stack:
        yield stack


def node(running: ExitStack, folder: Path, number: int, save_interval: float) -> Process:
    settings = {
        "memory_directory": str(folder),
        "memory_file": "state",
        "save_interval": save_interval,
        "search_budget": 0.0,  # images are counted here, whatever the speed of the machine
    }
    process = running.enter_context(start("panosam2_nano", folder / f"log_{number}.txt", **settings))
    wait_for(lambda: "waiting for images" in process.output, 90, "the node to be active")
    return process


def wait_until_saved(folder: Path) -> None:
    file, begun = folder / "state.safetensors", time.time_ns()
    wait_for(lambda: written_at(file) > begun, 30, "the memory to be saved")


@pytest.mark.timeout(900)
def test_what_was_tracked_is_found_again_after_a_kill(
    station: Station, running: ExitStack, tmp_path: Path
) -> None:
    """In odd scenes the node saves all the time, so that the kill hits it while it does."""
    found, confused, seconds = 0, 0, []
    process = node(running, tmp_path, 0, 0.3)
    for seed in range(SCENES):
        assert station.call(Trigger, "reset").success
        film = Film(station, SCENE, seed)
        film.show()
        answer = station.prompt(film.box(1), film.box(2))
        ids = [result.bearing.object_id for result in answer.results]
        while len(film.stamps) < BEFORE:
            film.show()
        wait_until_saved(tmp_path)
        process.stop(signal.SIGKILL)
        killed = time.monotonic()
        process = node(running, tmp_path, seed + 1, 0.3 if seed % 2 else 0.001)
        best = 0.0
        while len(film.stamps) < BEFORE + BACK:
            index = film.show()
            assert [seen.object_id for seen in film.bearings(index)] == ids
            both = [film.iou(i + 1, ids[i], index) for i in range(2)]
            if min(both) >= FOUND and best < FOUND:
                seconds.append(round(time.monotonic() - killed, 1))
            best = max(best, min(both))
            confused += max(film.iou(1, ids[1], index), film.iou(2, ids[0], index)) > CONFUSED
        found += best >= FOUND
    process.stop(signal.SIGTERM)
    print(f"found in {found} of {SCENES} scenes, s from kill to masks: {seconds}, on {os.cpu_count()} cores")
    assert found >= ENOUGH and not confused, (found, confused)


@pytest.mark.faults
def test_what_a_killed_node_left_in_shared_memory_is_removed(running: ExitStack, tmp_path: Path) -> None:
    process = node(running, tmp_path, 0, 10.0)
    maps = Path(f"/proc/{process._process.pid}/maps").read_text()
    names = set(re.findall(r"/dev/shm/(fast(?:dds|rtps)_[0-9a-f]{16})\b", maps))
    own = [Path("/dev/shm") / name for name in names if flocked_by(process._process.pid, name)]
    assert own, "the middleware has no shared memory here"
    process.stop(signal.SIGKILL)
    locks = [path.with_name(f"{path.name}_el") for path in own]
    for lock in locks:
        with contextlib.suppress(FileNotFoundError):  # another program may have removed it already
            os.utime(lock, (0, 0))  # old enough
    node(running, tmp_path, 1, 10.0)
    assert not any(path.exists() for path in (*own, *locks))


def flocked_by(pid: int, segment: str) -> bool:
    """Whether a process has the lock file of a segment open: it has made the segment."""
    files = Path(f"/proc/{pid}/fd").iterdir()
    return any(os.path.realpath(file).endswith(f"/{segment}_el") for file in files)
