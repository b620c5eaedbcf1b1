"""Ctrl-C and SIGTERM while a program imports its modules and begins end it without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers.process import ROOT, wait_for
from helpers.videos import write_video

pytestmark = pytest.mark.faults
PROGRAMS = {
    "panosam2_node": [],
    "panosam2_virtual_camera": [],
    "panosam2_places": [],
    "panosam2_web": ["--ros-args", "-p", "port:=0"],
    "panosam2_prompt": ["list"],
    "panosam2_track": ["video.mp4", "--out", "tracked", "--click=9,9"],
    "panosam2_demo": ["--out", "demo"],
}
# nodes and a camera that are ended leave with 0, `ros2 launch` would call anything else a crash
QUIET = ("panosam2_node", "panosam2_places", "panosam2_web", "panosam2_virtual_camera")


def catches_sigint(pid: int) -> bool:
    """Return whether a process has a handler of SIGINT."""
    (caught,) = [line for line in _read(pid, "status") if line.startswith("SigCgt")]
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGINT - 1))


def imports(pid: int) -> bool:
    """Return whether a process of ours is among its imports: has loaded numpy."""
    return any("_multiarray_umath" in line for line in _read(pid, "maps"))


def has_begun(pid: int) -> bool:
    """Return whether it has finished its imports, and handles signals itself."""
    return imports(pid) and catches_sigint(pid)


def _read(pid: int, file: str) -> list[str]:
    return Path(f"/proc/{pid}/{file}").read_text().splitlines()


@pytest.mark.parametrize(
    ("program", "moment", "how"),
    [
        *((program, imports, signal.SIGINT) for program in PROGRAMS),
        # of the node: test_lifecycle.py, from its first state on
        *((program, has_begun, signal.SIGINT) for program in PROGRAMS if program != "panosam2_node"),
        ("panosam2_prompt", has_begun, signal.SIGTERM),
    ],
)
def test_a_signal_at_the_start_ends_it_quietly(
    program: str, moment: Callable[[int], bool], how: signal.Signals, tmp_path: Path
) -> None:
    write_video(tmp_path / "video.mp4", range(0, 1000, 100))
    start = f"from panosam2_ros.programs.start import {program} as run; run()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-c", start, *PROGRAMS[program]],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: process.poll() is not None or moment(process.pid), 90, "the moment")
        assert process.returncode is None, "it ended before"
        process.send_signal(how)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    status = process.returncode
    assert status in (128 + how, -how) or (status == 0 and program in QUIET), output
    assert "Traceback" not in output and "rror" not in output
    # neither log nor the demo's steps, nor what rcl says of its log
    said = [line for line in output.splitlines() if line and not line.startswith(("[", "Failed to publish"))]
    assert len(said) <= 1, output


BLOCKED = """
import threading
from panosam2_ros.ros import node

def blocked():
    print("blocked", flush=True)
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()  # a signal's handler runs, and the thread waits on, as in a call of the middleware

node.PanoSam2Node = blocked
node.main(["panosam2_node"])
"""


def test_a_node_that_hangs_while_it_is_made_ends_at_a_signal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", BLOCKED], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: "blocked" in log.read_text(), 90, "the node to be made")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
    assert "its main thread does not answer: it is ended now" in log.read_text()
