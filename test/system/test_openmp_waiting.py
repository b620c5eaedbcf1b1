"""However a program of ours is started, OpenMP's threads wait passively: torch finds it so when it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from helpers.process import ROOT

NAME = "OMP_WAIT_POLICY"
# Python imports this in every process that finds it on its path.
PROBE = f"""
import atexit, os, sys

def note(when):
    with open(os.environ["PROBE_FILE"], "a") as file:
        print(when, os.environ.get("{NAME}", "unset"), file=file)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["PROBE_AT"]:
            note(name)
            os._exit(0)  # the rest of the program is not needed

sys.meta_path.insert(0, Finder())
atexit.register(note, "end")
"""
SCRIPTS = sorted(
    point.name for point in distribution("panosam2_ros").entry_points if point.group == "console_scripts"
)
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for folder in ("panosam2_ros", "tools", "examples")
    for file in (ROOT / folder).rglob("*.py")
    if "__main__" in file.read_text() or file.name == "__main__.py"
)
# works without the network and has no --help
CAMERA = ("panosam2_virtual_camera", "panosam2_ros.demo.virtual_camera")


def noted(command: list[str], folder: Path, at: str = "torch", **environment: str) -> list[str]:
    """Run a program until it imports ``at``, and return what the probe noted there or at the end."""
    (folder / "sitecustomize.py").write_text(PROBE)
    path = os.pathsep.join([str(folder), str(ROOT)])
    inherited = {k: v for k, v in os.environ.items() if k != NAME}
    told = {"PYTHONPATH": path, "PROBE_FILE": str(folder / "noted"), "PROBE_AT": at, **environment}
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | told, capture_output=True, text=True, timeout=120
    )
    assert (folder / "noted").exists(), done.stderr
    return (folder / "noted").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS)
def test_console_scripts_wait_passively(script: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / script), "--help"]
    (found,) = noted(command, tmp_path, "rclpy" if script in CAMERA else "torch")
    assert found.endswith(" PASSIVE")
    assert found.startswith("torch") or script not in ("panosam2_node", "panosam2_track")


@pytest.mark.parametrize("module", MODULES)
def test_modules_wait_passively(module: str, tmp_path: Path) -> None:
    (found,) = noted(
        [sys.executable, "-m", module, "--help"], tmp_path, "rclpy" if module in CAMERA else "torch"
    )
    assert found.endswith(" PASSIVE")


def test_executables_of_ros2_run_wait_passively(tmp_path: Path) -> None:
    """Those that CMake installs, which a launch file starts too."""
    written = (ROOT / "cmake" / "executable.py.in").read_text().replace("@MODULE@", "panosam2_ros.ros.node")
    program = tmp_path / "panosam2_node"
    program.write_text(written.replace("@Python3_EXECUTABLE@", sys.executable))
    assert noted([sys.executable, str(program)], tmp_path) == ["torch PASSIVE"]


@pytest.mark.parametrize(
    "line", ["from panosam2_ros import PanoTracker", "import panosam2_ros; import torch", "import tools.soak"]
)
def test_the_library_waits_passively(line: str, tmp_path: Path) -> None:
    assert noted([sys.executable, "-c", line], tmp_path) == ["torch PASSIVE"]


def test_what_the_user_has_set_is_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "panosam2_ros.ros.node"]
    assert noted(command, tmp_path, **{NAME: "ACTIVE"}) == ["torch ACTIVE"]


def test_openmp_reads_the_setting() -> None:
    """The variable reaches the library itself: set from Python, before torch loads it."""
    environment = {k: v for k, v in os.environ.items() if k != NAME} | {"OMP_DISPLAY_ENV": "true"}
    command = [sys.executable, "-c", "from panosam2_ros import build_model; print(build_model)"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
