"""Imports point only downward, ROS stays in `ros/`, and importing the package costs nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "panosam2_ros"
ROOT = Path(__file__).parents[1]

# Lowest first. A room (a module or a folder of the package) imports itself and the levels below it.
LEVELS = (
    {"resources"},
    {"download", "encodings", "equirect", "thrift"},
    {"components", "fisheye", "periodic", "pyramid", "slot_table"},
    {"windows"},
    {"bearing", "drawing", "masks", "memory_bank", "model"},
    {"memory_file", "object_state", "outlines", "prompts", "scene", "search_region"},
    {"admission", "camera_motion", "reacquisition"},
    {"propagation", "steering", "tracks"},
    {"catching_up", "tidying"},
    {"tracker_config"},
    {"sight"},
    {"observation", "region_sight"},
    {"tracker"},
    {"data"},
    {"overlay"},
    {"evaluation"},
    {"offline", "training"},
    {"ros"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
ROS_MODULES = {"builtin_interfaces", "launch", "launch_ros", "rcl_interfaces", "rclpy", "std_srvs"}
MODEL_MAY_IMPORT = {"torch", "sam2", "safetensors", "numpy"} | sys.stdlib_module_names
MODEL_MAY_IMPORT_OF_OURS = {"download", "equirect", "model", "periodic", "resources"}


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """Dotted name below the package, and file, of everything that is written by hand."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        if parts[0] not in ("msg", "srv", "__init__"):
            yield ".".join(parts), file


def imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Absolute names of all modules imported anywhere in a module, also for type checking only."""
    here = [PACKAGE, *name.split(".")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # `from panosam2_ros import ros` names a module, `from panosam2_ros.geometry.bearing import x` does not
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
    if is_ros and room != "ros":
        return "only ros/ may import ROS"
    if room == "model" and not ours and top not in MODEL_MAY_IMPORT:
        return "model/ imports only torch, sam2, safetensors, numpy and the standard library"
    if room == "model" and ours and ours not in MODEL_MAY_IMPORT_OF_OURS:
        return "of this package, model/ imports only equirect, periodic, resources and download"
    if not ours or ours in (room, "msg", "srv", "__version__"):
        return ""
    if ours not in LEVEL:
        return "has no level yet: give it one in LEVELS"
    return "" if LEVEL[ours] < LEVEL[room] else "imports only point downward"


def violations(package: Path) -> list[str]:
    """One line per forbidden import."""
    found = []
    for name, file in modules(package):
        room = name.split(".")[0]
        if room not in LEVEL:
            found.append(f"{name} has no level yet: give it one in LEVELS")
            continue
        for imported in imports(name, ast.parse(file.read_text(), str(file))):
            if why := complaint(room, imported):
                found.append(f"{name} imports {imported}: {why}")
    return found


def test_package_imports_only_downward() -> None:
    assert len(list(modules(ROOT / PACKAGE))) > 5
    assert violations(ROOT / PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("tracking/tracker.py", "import rclpy"),
        ("tracking/tracker.py", "from rclpy.node import Node"),
        ("geometry/bearing.py", "import sensor_msgs.msg"),
        ("geometry/bearing.py", "from builtin_interfaces.msg import Time"),
        ("io/video.py", "from panosam2_ros.msg import ObjectBearing"),
        ("io/video.py", "from panosam2_ros import srv"),
        ("io/video.py", "from panosam2_ros.ros import node"),
        ("training/train.py", "from panosam2_ros.ros.node import main"),
        ("evaluation/metrics.py", "from ..ros import conversions"),
        ("evaluation/metrics.py", "from panosam2_ros.training import losses"),
        ("memory/memory_bank.py", "from panosam2_ros.model.panosam2 import PanoSAM2"),
        ("memory/memory_bank.py", "from .model import build"),
        ("geometry/equirect.py", "from panosam2_ros import bearing"),
        ("model/build.py", "import cv2"),
        ("model/build.py", "from panosam2_ros.memory.memory_bank import MemoryBank"),
        ("model/build.py", "from ..tracker import PanoTracker"),
        ("tracking/tracker.py", "def late():\n    import rclpy"),
        ("tracking/tracker.py", "if TYPE_CHECKING:\n    from panosam2_ros.data import synthetic"),
        ("tracking/tracker.py", "importlib.import_module('rclpy')"),
        ("newcomer.py", "import math"),
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
        ("ros/node.py", "from panosam2_ros import tracker"),
        (
            "tracking/tracker.py",
            "import torch\nfrom panosam2_ros.model.build import build\nfrom . import memory_bank",
        ),
        ("training/train.py", "from panosam2_ros.simulation.scene import Scene\nfrom .losses import dice"),
        ("model/build.py", "import json\nfrom sam2.modeling import sam2_base"),
        ("model/build.py", "from ..equirect import wrap_pad"),
        ("tracking/motion_model.py", "from panosam2_ros.geometry.bearing import Bearing"),
        ("msg/_generated.py", "import rosidl_parser.definition"),
    ],
)
def test_checker_allows_what_is_right(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert violations(tmp_path / PACKAGE) == []


def test_importing_the_package_is_free() -> None:
    script = (
        "import sys; import panosam2_ros; heavy = {'torch', 'numpy', 'cv2', 'sam2', 'rclpy'}; "
        "print(*heavy & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() == []
