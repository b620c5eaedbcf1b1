"""What is installed and what is not, metadata that agree, and dependencies that are declared."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import panosam2_ros
from helpers.process import ROOT
from helpers.ros_modules import ROS_MODULES

sys.path.insert(0, str(ROOT))
import setup

PACKAGE = "panosam2_ros"
INSTALLED = sorted(
    path.parent
    for path in (ROOT / PACKAGE).glob("*/__init__.py")
    if path.parent.name not in (*setup.LABORATORY, "msg", "srv")
)
# Third-party modules: what pip calls them, and rosdep ("" where it has none and pip is named in package.xml).
THIRD_PARTY = {
    "PIL": ("pillow", "python3-pil"),
    "av": ("av", ""),
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "jsonschema": ("jsonschema", "python3-jsonschema"),
    "numpy": ("numpy", "python3-numpy"),
    "safetensors": ("safetensors", ""),
    "sam2": ("rf-sam-2", ""),
    "scipy": ("scipy", "python3-scipy"),
    "torch": ("torch", ""),
    "tqdm": ("tqdm", "python3-tqdm"),
    "yaml": ("pyyaml", "python3-yaml"),
}
# the programs that want them say so; rosbags brings zstd of Python 3.14, or backports of it, mcp pydantic
OPTIONAL = {
    "aiohttp", "backports", "compression", "mcp", "pyarrow", "pydantic", "ray", "rerun", "rosbags",
}  # fmt: skip
ROS_PACKAGES = {"tf2_ros": "tf2_ros_py"}  # where they have another name than their module


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def declared() -> set[str]:
    """Return all packages that package.xml depends on, however."""
    return {e.text or "" for e in manifest() if e.tag.endswith("depend")}


def imported(files: Iterator[Path]) -> set[str]:
    """Return the top-level names of all modules that are imported anywhere in the files, but for our own."""
    found: set[str] = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found - sys.stdlib_module_names - {PACKAGE}


def is_ros(module: str) -> bool:
    return module in ROS_MODULES or re.search(r"_msgs(_py)?$", module) is not None


def test_every_ros_package_is_declared() -> None:
    folders = [ROOT / "launch", ROOT / PACKAGE / "ros", ROOT / PACKAGE / "demo"]
    modules = imported(file for folder in folders for file in folder.rglob("*.py"))
    unknown = modules - THIRD_PARTY.keys() - OPTIONAL
    assert {m for m in unknown if not is_ros(m)} == set(), (
        "name them in THIRD_PARTY, setup.py and package.xml"
    )
    assert {"rclpy", "sensor_msgs", "tf2_ros", "vision_msgs"} <= unknown
    assert {ROS_PACKAGES.get(m, m) for m in unknown} <= declared()
    started = re.findall(r'package="(\w+)"', "".join(p.read_text() for p in (ROOT / "launch").glob("*.py")))
    # only for rviz:=true and foxglove:=true
    assert set(started) - {PACKAGE, "rviz2", "foxglove_bridge"} <= declared()


def test_every_python_package_is_declared() -> None:
    modules = imported(file for room in INSTALLED for file in room.rglob("*.py"))
    plain = {m for m in modules - OPTIONAL if not is_ros(m)}
    assert plain <= THIRD_PARTY.keys(), "name them in THIRD_PARTY, setup.py and package.xml"
    assert {"cv2", "numpy", "torch"} <= plain
    by_pip = {re.split("[<>=]", requirement)[0] for requirement in setup.CORE}
    assert {THIRD_PARTY[m][0] for m in plain} <= by_pip
    assert {THIRD_PARTY[m][1] for m in plain} - {""} <= declared()
    note = (ROOT / "package.xml").read_text()
    assert all(THIRD_PARTY[m][0] in note for m in plain if not THIRD_PARTY[m][1])


def test_manifest_is_one_that_bloom_takes() -> None:
    from catkin_pkg.package import parse_package

    warnings: list[str] = []
    package = parse_package(str(ROOT), warnings=warnings)
    package.validate(warnings=warnings)
    assert warnings == []
    assert {url.type for url in package.urls} == {"website", "repository", "bugtracker"}
    assert all(url.url.startswith("https://github.com/panosam2-ros/panosam2_ros") for url in package.urls)
    assert not any((m.email or "").endswith(".invalid") for m in package.maintainers)
    root = manifest()
    assert root.get("format") == "3"
    assert root.findtext("member_of_group") == "rosidl_interface_packages"
    found = re.findall(r"find_package\((\w+) REQUIRED\)", (ROOT / "CMakeLists.txt").read_text())
    assert set(found) - {"Python3"} <= declared()


def test_changelog_is_one_that_bloom_reads() -> None:
    from catkin_pkg.changelog import get_changelog_from_path
    from catkin_pkg.package_version import get_forthcoming_label

    changelog = get_changelog_from_path(str(ROOT), PACKAGE)
    versions = [version for version, _, _ in changelog.foreach_version()]
    forthcoming = get_forthcoming_label((ROOT / "CHANGELOG.rst").read_text())
    assert forthcoming == "Forthcoming" or versions[-1] == panosam2_ros.__version__
    assert panosam2_ros.__version__ in versions


def test_hooks_before_a_commit_are_those_of_make_lint() -> None:
    recipe = re.search(r"^lint: build\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip("\t@").replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = [hook["entry"] for hook in config["repos"][0]["hooks"]]
    assert [c.removesuffix(" .") for c in commands] == [h.removesuffix(" --force-exclude") for h in hooks]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels with the laboratory and without, built one after the other in one copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    skipped = shutil.ignore_patterns(
        ".git",
        ".venv*",
        ".*_cache",
        "__pycache__",
        "build",
        "install",
        "log",
        "out",
        "runs",
        "*.so",
        "*.egg-info",
    )
    checkout = shutil.copytree(ROOT, folder / "checkout", ignore=skipped)
    for generated in ("msg", "srv"):
        shutil.rmtree(checkout / PACKAGE / generated, ignore_errors=True)
    built = {}
    for laboratory in ("1", "0"):
        out = folder / laboratory
        variables = {"PANOSAM2_CORE_ONLY": "1", "PANOSAM2_LAB": laboratory}
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps",
                   "--no-build-isolation", "--wheel-dir", str(out), str(checkout)]  # fmt: skip
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (built[laboratory],) = out.glob("*.whl")
    return built


def rooms_of(wheel: Path) -> set[str]:
    """Return the names of all packages directly below ours."""
    with zipfile.ZipFile(wheel) as archive:
        parts = [Path(name).parts for name in archive.namelist()]
    return {p[1] for p in parts if p[0] == PACKAGE and len(p) > 2}


def test_wheel_has_no_laboratory_unless_it_is_asked_for(wheels: dict[str, Path]) -> None:
    installed = {room.name for room in INSTALLED}
    assert rooms_of(wheels["0"]) == installed
    assert rooms_of(wheels["1"]) == installed | set(setup.LABORATORY)


@pytest.mark.parametrize("laboratory", ["0", "1"])
def test_wheel_holds_the_package_and_its_files_and_nothing_else(
    wheels: dict[str, Path], laboratory: str
) -> None:
    with zipfile.ZipFile(wheels[laboratory]) as archive:
        names = set(archive.namelist())
    top = {Path(name).parts[0] for name in names}
    assert {t for t in top if not t.endswith((".dist-info", ".data"))} == {PACKAGE}
    assets = ROOT / PACKAGE / "simulation" / "asset_files"
    files = {f"{PACKAGE}/py.typed", *(str(p.relative_to(ROOT)) for p in assets.rglob("*.*"))}
    assert len(files) > 40 and f"{PACKAGE}/simulation/asset_files/footage/paris.mp4" in files
    files |= {str(p.relative_to(ROOT)) for p in (ROOT / PACKAGE / "ros" / "web" / "pages").iterdir()}
    assert files <= names
    share = {name.partition(f"/data/share/{PACKAGE}/")[2] for name in names if ".data/" in name}
    assert {"package.xml", "config/panosam2.yaml", "launch/panosam2.launch.py"} <= share
    assert {f"models/{p.name}" for p in (ROOT / "models").iterdir()} <= share
    assert ("config/train/nano.yaml" in share) == (laboratory == "1")


def test_commands_of_a_wheel_name_functions_that_it_has(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["0"]) as archive:
        (info,) = {Path(name).parts[0] for name in archive.namelist() if ".dist-info/" in name}
        text = archive.read(f"{info}/entry_points.txt").decode()
        commands = re.findall(r"^(\w+) = ([\w.]+):(\w+)$", text, re.MULTILINE)
        assert len(commands) >= 5
        for name, module, function in commands:
            source = ast.parse(archive.read(f"{module.replace('.', '/')}.py"))
            assert function in {n.name for n in source.body if isinstance(n, ast.FunctionDef)}, name


def test_commands_of_the_environment_can_be_loaded() -> None:
    script = (
        "from importlib.metadata import distribution\n"
        f"for entry in distribution('{PACKAGE}').entry_points: entry.load(); print(entry.name)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(re.findall(r'"(\w+) = panosam2', (ROOT / "setup.py").read_text()))


def test_editable_installation_has_the_laboratory() -> None:
    script = "import importlib.util as u\n" + "\n".join(
        f"assert u.find_spec('{PACKAGE}.{room}')" for room in setup.LABORATORY
    )
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", ["", "0", "1"])
def test_variable_chooses_the_laboratory(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PANOSAM2_LAB", value)
    assert (f"{PACKAGE}.training" in setup.left_out()) == (value != "1")


def test_extra_of_the_laboratory_is_named_so() -> None:
    assert "training" not in setup.EXTRAS and "lab" in setup.EXTRAS
