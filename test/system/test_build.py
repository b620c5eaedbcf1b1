"""The build: messages as designed, one list of requirements, clear refusals, and colcon."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.process import ROOT

VENV = ROOT / ".venv"
sys.path.insert(0, str(ROOT))
import setup  # noqa: E402

OWN = "panosam2_ros"
MESSAGES = {
    "ObjectBearing": {
        "object_id": "uint16",
        "label": "string",
        "state": "uint8",
        "score": "float",
        "mask_iou": "float",
        "last_seen": "builtin_interfaces/Time",
        "direction": "geometry_msgs/Vector3",
        "azimuth": "float",
        "elevation": "float",
        "direction_covariance": "double[4]",
        "extent_horizontal": "float",
        "extent_vertical": "float",
        "solid_angle": "float",
        "angular_velocity": "geometry_msgs/Vector3",
    },
    "ObjectBearingArray": {
        "header": "std_msgs/Header",
        "epoch": "uint32",
        "objects": f"sequence<{OWN}/ObjectBearing>",
    },
    "ObjectPrompt": {
        "object_id": "uint16",
        "label": "string",
        "points": f"sequence<{OWN}/PromptPoint>",
        "directions": f"sequence<{OWN}/PromptDirection>",
        "box": "sequence<float, 4>",
        "mask": "sensor_msgs/Image",
        "replace": "boolean",
    },
    "PromptDirection": {"direction": "geometry_msgs/Vector3", "label": "uint8"},
    "PromptPoint": {"u": "float", "v": "float", "label": "uint8"},
    "PromptResult": {"code": "uint8", "message": "string", "bearing": f"{OWN}/ObjectBearing"},
}
ANSWER = {"success": "boolean", "code": "uint8", "message": "string"}
SERVICES = {
    "PromptObjects": (
        {"stamp": "builtin_interfaces/Time", "prompts": f"sequence<{OWN}/ObjectPrompt>"},
        {
            "success": "boolean",
            "message": "string",
            "header": "std_msgs/Header",
            "epoch": "uint32",
            "results": f"sequence<{OWN}/PromptResult>",
        },
    ),
    "RemoveObjects": ({"object_ids": "sequence<uint16>"}, {**ANSWER, "removed": "sequence<uint16>"}),
    "GetObjects": (
        {},
        {
            **ANSWER,
            "objects": f"{OWN}/ObjectBearingArray",
            "memory_bytes": "uint64",
            "max_objects": "uint16",
        },
    ),
    "SaveMemory": ({"name": "string"}, {**ANSWER, "object_ids": "sequence<uint16>"}),
    "LoadMemory": ({"name": "string"}, {**ANSWER, "object_ids": "sequence<uint16>"}),
}


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs make as a user would, not as a child of the make that may have started the tests."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS")}
    command = [shutil.which("make") or "make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=inherited | variables, capture_output=True, text=True)


def fake(folder: Path, name: str, script: str) -> Path:
    """An executable shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", MESSAGES)
def test_message_has_the_fields_of_the_design(name: str) -> None:
    from panosam2_ros import msg

    assert getattr(msg, name).get_fields_and_field_types() == MESSAGES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_the_fields_of_the_design(name: str) -> None:
    from panosam2_ros import srv

    service = getattr(srv, name)
    request, response = SERVICES[name]
    assert service.Request.get_fields_and_field_types() == request
    assert service.Response.get_fields_and_field_types() == response


def test_messages_pass_through_the_middleware() -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    from panosam2_ros.msg import ObjectBearing, ObjectPrompt, PromptPoint, PromptResult
    from panosam2_ros.srv import PromptObjects

    bearing = ObjectBearing(object_id=7, state=ObjectBearing.STATE_LOST)
    bearing.direction_covariance[:] = [1.0, 0.5, 0.5, 2.0]
    for message in (
        PromptObjects.Request(prompts=[ObjectPrompt(points=[PromptPoint(u=1.5, v=2.0, label=1)])]),
        PromptObjects.Response(epoch=3, results=[PromptResult(code=PromptResult.BUSY, bearing=bearing)]),
    ):
        assert deserialize_message(serialize_message(message), type(message)) == message


def test_every_field_that_is_a_quantity_says_its_unit() -> None:
    text = (ROOT / "msg" / "ObjectBearing.msg").read_text()
    quantities = ("azimuth", "elevation", "\\w+_covariance", "extent_\\w+", "solid_angle", "\\w+_velocity")
    for field in quantities:
        assert re.search(rf"\b{field}\b\s+#.*\b(rad|sr|rad\^2|rad/s)\b", text), field


def test_cmake_builds_every_interface_and_executable() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    listed = set(re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', text))
    assert listed == {f"{p.parent.name}/{p.name}" for k in ("msg", "srv") for p in (ROOT / k).iterdir()}
    modules = set(re.findall(r"install_executable\(\w+ ([\w.]+)\)", text))
    starts = (ROOT / OWN / "programs" / "start.py").read_text()
    assert modules == set(re.findall(r'run_program\("([\w.]+)"\)', starts))


def test_plain_installation_pulls_no_ros_and_one_opencv() -> None:
    assert not [r for r in setup.CORE if r.startswith(("ros-", "opencv-python="))]
    chosen = f"ros-{setup.ROS_WHEELS}-"
    assert all(r.startswith(chosen) or r in setup.GENERATOR_NEEDS for r in setup.EXTRAS["wheels"])
    opencv = [d.name for d in importlib.metadata.distributions() if d.name.startswith("opencv")]
    assert opencv == ["opencv-python-headless"]


def test_environment_key_follows_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    before = setup.environment_key()
    assert before == setup.environment_key()
    monkeypatch.setitem(setup.EXTRAS, "test", [*setup.EXTRAS["test"], "one-more"])
    assert setup.environment_key() != before


def test_continuous_integration_runs_the_linters_and_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert [line for line in script.read_text().splitlines() if line.startswith("make")] == [
        "make lint",
        "make test",
    ]


@pytest.mark.parametrize("version", ["2.7.18", "3.9.18", "3.15.0"])
def test_other_pythons_are_refused(tmp_path: Path, version: str) -> None:
    script = f'case "$1" in --version) echo Python {version};; *) exit 1;; esac'
    done = make("check", f"PYTHON={fake(tmp_path, 'python', script)}")
    assert done.returncode != 0
    assert version in done.stderr and "3.10 to 3.14" in done.stderr and "make PYTHON=" in done.stderr


def test_missing_python_is_named() -> None:
    done = make("check", "PYTHON=no-such-python")
    assert done.returncode != 0 and "there is no no-such-python" in done.stderr


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    fake(tmp_path, "uname", "echo Linux aarch64")
    done = make("check", f"PYTHON={sys.executable}", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode != 0 and "aarch64" in done.stderr and "colcon" in done.stderr


@pytest.mark.parametrize("missing", ["cc", "c++"])
def test_missing_compiler_is_named(tmp_path: Path, missing: str) -> None:
    for tool in {"bash", "uname", "cc", "c++"} - {missing}:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "/bin/true")
    variable = {"cc": "CC", "c++": "CXX"}[missing]
    done = make("check", f"PYTHON={sys.executable}", PATH=str(tmp_path), **{variable: ""})
    assert done.returncode != 0
    assert f"no compiler {missing} " in done.stderr and "apt install g++" in done.stderr


def test_second_make_is_quick() -> None:
    if make("--question", str((VENV / ".messages").relative_to(ROOT))).returncode != 0:
        pytest.skip("the environment of the checkout is not up to date: run make")
    start = time.monotonic()
    done = make("build")
    assert done.returncode == 0 and done.stdout == ""
    assert time.monotonic() - start < 10


def colcon(laboratory: str) -> Path:
    """Build with colcon into build/ and install/ of the checkout; return where the modules were installed."""
    if not (VENV / "bin" / "colcon").exists():
        pytest.skip("colcon is not in .venv: run make")
    for old in (ROOT / "install" / OWN).glob(f"lib/python*/site-packages/{OWN}"):
        shutil.rmtree(old)  # CMake removes nothing that an earlier version installed
    shutil.rmtree(ROOT / "install" / OWN / "share" / OWN / "config", ignore_errors=True)
    done = make("colcon", PANOSAM2_LAB=laboratory)
    assert done.returncode == 0, done.stdout + done.stderr
    (modules,) = (ROOT / "install" / OWN).glob(f"lib/python*/site-packages/{OWN}")
    return modules


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_colcon_builds_the_same_package(tmp_path: Path) -> None:
    """Into build/ and install/ of the checkout, so that only the first run takes a minute."""
    modules, prefix = colcon(laboratory="1"), ROOT / "install" / OWN
    rooms = {path.parent.name for path in modules.glob("*/__init__.py")}
    assert rooms == {path.parent.name for path in (ROOT / OWN).glob("*/__init__.py")}
    assert (prefix / "share" / OWN / "config" / "train" / "nano.yaml").is_file()
    modules = colcon(laboratory="0")
    assert {path.parent.name for path in modules.glob("*/__init__.py")} == rooms - set(setup.LABORATORY)
    assert not (prefix / "share" / OWN / "config" / "train").exists()
    assert (modules / "ros" / "web" / "pages" / "index.html").is_file()
    assert (modules / "py.typed").is_file() and list((modules / "simulation" / "asset_files").rglob("*.webp"))
    executables = re.findall(r"install_executable\((\w+) ([\w.]+)\)", (ROOT / "CMakeLists.txt").read_text())
    for name, module in executables:
        assert os.access(prefix / "lib" / OWN / name, os.X_OK)
        assert "\ndef main(" in (modules.parent / f"{module.replace('.', '/')}.py").read_text()
    script = (
        "from panosam2_ros.msg import ObjectBearingArray; "
        "from panosam2_ros.io.package_files import package_file as file; "
        "from rclpy.serialization import serialize_message as s; s(ObjectBearingArray()); "
        "print(file('config', 'fastdds.xml'), file('simulation', 'asset_files'))"
    )
    command = f'. {ROOT / "install" / "setup.bash"} && {VENV / "bin" / "python"} -c "{script}"'
    found = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert all(path.startswith(str(prefix)) for path in found.stdout.split())
    from_checkout = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert from_checkout.returncode == 0, from_checkout.stderr


def test_installing_without_dependencies_names_all_that_the_core_needs() -> None:
    text = (ROOT / "docs" / "install.md").read_text()
    by_hand = re.search(r"`pip install --no-deps \. (rf-sam-2==\S+) && pip install ([\w .-]+)`", text)
    assert by_hand is not None
    named = {by_hand[1], *by_hand[2].split(), "torch"}
    assert named == {r if r == setup.SAM2 else re.split("[<>=]", r)[0] for r in setup.CORE}


@pytest.mark.parametrize("distribution", setup.WHEELS)
def test_wheels_of_either_distribution(distribution: str) -> None:
    script = "import setup; print(*setup.EXTRAS['wheels'], *setup.EXTRAS['colcon'])"
    command = [sys.executable, "-B", "-c", script]
    environment = {**os.environ, "ROS_WHEELS": distribution}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    named = [r for r in done.stdout.split() if r.startswith("ros-")]
    assert len(named) == len(set(named)) == len(setup.WHEELS[distribution])
    assert all(r.startswith(f"ros-{distribution}-") for r in named)


def test_other_wheels_are_refused() -> None:
    command = [sys.executable, "-B", "-c", "import setup"]
    environment = {**os.environ, "ROS_WHEELS": "iron"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "kilted, jazzy" in done.stderr and "'iron'" in done.stderr


def test_without_ros_the_core_works_and_the_commands_say_what_to_install() -> None:
    """As after `pip install .` without the wheels: rclpy cannot be found."""
    hide = (
        "import importlib.util, sys\n"
        "known = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'rclpy' else known(name)\n"
    )
    core = (
        "import panosam2_ros.tracking.tracker, panosam2_ros.cli.track\n"
        "print('core', 'rclpy' in sys.modules)\n"
    )
    script = f"{hide}{core}import panosam2_ros.ros.cli.prompt"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "core False"
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "nodes and commands need rclpy" in last and 'pip install "panosam2_ros[wheels]"' in last
