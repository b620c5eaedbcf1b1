"""Rooms import only the rooms below them, ROS stays in `ros/` and `demo/`, the laboratory is above all."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.process import ROOT
from helpers.ros_modules import ROS_MODULES

PACKAGE = "panosam2_ros"
# Lowest first. A room imports itself and the rooms before it.
INSTALLED = (
    "geometry",
    "io",
    "model",
    "memory",
    "prompts",
    "masks",
    "tracking",
    "detections",
    "visualization",
    "places",
    "simulation",
    "cli",
    "ros",
    "demo",
    "programs",
)
LABORATORY = ("synthetic", "datasets", "evaluation", "training")
ROOMS = (*INSTALLED, *LABORATORY)
USE_ROS = ("ros", "demo")
APART = {("ros", "cli"), *((room, top) for room in LABORATORY for top in ("cli", "ros", "demo"))}
MODEL_MAY_IMPORT = {"torch", "sam2", "safetensors", "numpy"} | sys.stdlib_module_names
# what every program has, and type parameters
SHARED_NAMES = {"main", "log", "T"}


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """Dotted name below the package, and file, of everything that is written by hand."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        if parts[0] not in ("msg", "srv", "__init__"):
            yield ".".join(part for part in parts if part != "__init__"), file


def imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Absolute names of all modules imported anywhere in a module, also for type checking only."""
    here = [PACKAGE, *name.split(".")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # `from panosam2_ros import ros` names a room
            yield from (f"{base}.{a.name}" for a in node.names) if base == PACKAGE else [base]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def complaint(room: str, imported: str) -> str:
    """Why this room may not import that module; empty if it may."""
    top, _, rest = imported.partition(".")
    ours = rest.split(".")[0] if top == PACKAGE else ""
    is_ros = top in ROS_MODULES or top.endswith("_msgs") or ours in ("msg", "srv")
    if is_ros:
        return "" if room in USE_ROS else "only ros/ and demo/ may import ROS"
    if top == "tools":
        return "tools/ are not installed"
    if room == "model" and not ours and top not in MODEL_MAY_IMPORT:
        return "model/ imports only torch, sam2, safetensors, numpy and the standard library"
    if not ours or ours == room:
        return ""
    if ours not in ROOMS:
        return "that is no room"
    if ours in LABORATORY and room in INSTALLED:
        return "nothing that is installed imports the laboratory"
    if (room, ours) in APART:
        return "these rooms stay apart"
    return "" if ROOMS.index(ours) < ROOMS.index(room) else "imports only point downward"


def violations(package: Path) -> list[str]:
    """One line per forbidden import, and per module that stands in no room."""
    found = []
    for name, file in modules(package):
        room = name.split(".")[0]
        if room not in ROOMS or file.parent == package:
            found.append(f"{name} stands in no room")
            continue
        for imported in imports(name, ast.parse(file.read_text(), str(file))):
            if why := complaint(room, imported):
                found.append(f"{name} imports {imported}: {why}")
    return found


def public_names(package: Path) -> dict[str, list[str]]:
    """Modules that define each public name at their top level."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, file in modules(package):
        for node in ast.parse(file.read_text()).body:
            names: list[str] = []
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                flat = [e for t in targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
                names = [t.id for t in flat if isinstance(t, ast.Name)]
            for public in names:
                if not public.startswith("_"):
                    found[public].append(name)
    return found


def test_rooms_import_only_downward() -> None:
    assert len(list(modules(ROOT / PACKAGE))) > 100
    assert violations(ROOT / PACKAGE) == []


def test_no_two_public_names_are_alike() -> None:
    twice = {name: where for name, where in public_names(ROOT / PACKAGE).items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in SHARED_NAMES} == {}


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("tracking/tracker.py", "import rclpy"),
        ("tracking/tracker.py", "from rclpy.node import Node"),
        ("geometry/bearing.py", "import sensor_msgs.msg"),
        ("geometry/bearing.py", "from builtin_interfaces.msg import Time"),
        ("io/video.py", "from panosam2_ros.msg import ObjectBearing"),
        ("io/video.py", "from panosam2_ros import srv"),
        ("cli/track.py", "from panosam2_ros.ros import node"),
        ("ros/node.py", "from panosam2_ros.demo import demo"),
        ("ros/node.py", "from panosam2_ros.cli.track import main"),
        ("ros/node.py", "from panosam2_ros.evaluation.report import machine"),
        ("demo/demo.py", "from panosam2_ros.synthetic import people"),
        ("cli/track.py", "from panosam2_ros.training.losses import dice"),
        ("training/train.py", "from panosam2_ros.ros.node import main"),
        ("evaluation/metrics.py", "from ..ros import node"),
        ("evaluation/metrics.py", "from panosam2_ros.training import losses"),
        ("memory/memory_bank.py", "from panosam2_ros.tracking.tracker import PanoTracker"),
        ("memory/memory_bank.py", "from ..prompts import prompt"),
        ("geometry/equirect.py", "from panosam2_ros.io import video"),
        ("model/build.py", "import cv2"),
        ("model/build.py", "from panosam2_ros.memory.memory_bank import MemoryBank"),
        ("tracking/tracker.py", "def late():\n    import rclpy"),
        ("tracking/tracker.py", "if TYPE_CHECKING:\n    from panosam2_ros.simulation import scene"),
        ("tracking/tracker.py", "importlib.import_module('rclpy')"),
        ("ros/node.py", "from tools.soak import main"),
        ("newcomer.py", "import math"),
        ("attic/newcomer.py", "import math"),
    ],
)
def test_checker_sees_what_is_forbidden(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert len(violations(tmp_path / PACKAGE)) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ros/node.py", "import rclpy\nfrom panosam2_ros.msg import ObjectBearing"),
        ("demo/planner.py", "import rclpy\nfrom panosam2_ros.ros.conversion import messages"),
        ("ros/node.py", "from panosam2_ros.tracking import tracker"),
        (
            "tracking/tracker.py",
            "import torch\nfrom panosam2_ros.model.build import build\nfrom . import track",
        ),
        ("training/train.py", "from panosam2_ros.simulation.scene import Scene\nfrom .losses import dice"),
        ("model/build.py", "import json\nfrom sam2.modeling import sam2_base"),
        ("model/build.py", "from ..geometry.circular import wrap_pad"),
        ("msg/_generated.py", "import rosidl_parser.definition"),
    ],
)
def test_checker_allows_what_is_right(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert violations(tmp_path / PACKAGE) == []


def test_checker_sees_names_that_are_alike(tmp_path: Path) -> None:
    for room, text in (("geometry", "class Frame: ...\n"), ("masks", "Frame, LEAST = 1, 2\n_own = 3\n")):
        path = tmp_path / PACKAGE / room / "one.py"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert public_names(tmp_path / PACKAGE) == {
        "Frame": ["geometry.one", "masks.one"],
        "LEAST": ["masks.one"],
    }


def test_importing_the_package_is_free() -> None:
    script = (
        "import sys; import panosam2_ros; heavy = {'torch', 'numpy', 'cv2', 'sam2', 'rclpy'}; "
        "print(*heavy & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() == []
