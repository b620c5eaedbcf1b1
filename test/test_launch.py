"""The launch file: what it declares, what it starts, and that all of it exists."""

import ast
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from panosam2_ros.ros import rviz_config

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch" / "panosam2.launch.py"
ARGUMENTS = {
    "image", "namespace", "params_file", "log_level", "autostart", "rviz", "camera_frame", "dds_profile",
}  # fmt: skip


def calls(name: str) -> list[ast.Call]:
    """Every call of that name in the launch file."""
    tree = ast.parse(LAUNCH.read_text())
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == name]


def keyword(call: ast.Call, name: str) -> object:
    """A literal keyword argument; None where it is absent or computed."""
    values = [k.value for k in call.keywords if k.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def assigned(name: str) -> ast.expr:
    """What the launch file assigns to a name."""
    values = [
        n.value
        for n in ast.walk(ast.parse(LAUNCH.read_text()))
        if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == name
    ]
    assert len(values) == 1
    return values[0]


def test_arguments_are_declared_and_described() -> None:
    declared = {ast.literal_eval(c.args[0]): c for c in calls("DeclareLaunchArgument")}
    assert set(declared) == ARGUMENTS
    assert all(keyword(call, "description") for call in declared.values())
    used = {c.args[0].value for c in calls("LaunchConfiguration") if isinstance(c.args[0], ast.Constant)}
    used |= set(ast.literal_eval(assigned("named")))
    assert used == ARGUMENTS, "an argument is declared but not used, or used but not declared"


def test_executables_are_installed() -> None:
    ours = [keyword(c, "executable") for c in calls("Node") if keyword(c, "package") == "panosam2_ros"]
    assert ours == ["panosam2_node"]
    cmake, setup = (ROOT / "CMakeLists.txt").read_text(), (ROOT / "setup.py").read_text()
    for name in ours:
        assert f"install_executable({name} " in cmake
        assert f'"{name} = panosam2_ros.' in setup


def test_files_it_names_exist() -> None:
    tree = ast.parse(LAUNCH.read_text())
    names = [
        n.right.value
        for n in ast.walk(tree)
        if isinstance(n, ast.BinOp)
        and getattr(n.left, "id", "") == "CONFIG"
        and isinstance(n.right, ast.Constant)
    ]
    assert sorted(names) == ["fastdds.xml", "panosam2.yaml"]
    missing = [name for name in names if not (ROOT / "config" / name).is_file()]
    assert not missing


def test_rviz_gets_the_arguments_in_the_order_in_which_it_takes_them() -> None:
    taken = list(inspect.signature(rviz_config.write).parameters)
    assert list(ast.literal_eval(assigned("named"))) == taken[:3]


@pytest.fixture
def launch_file() -> ModuleType:
    """The launch file as `ros2 launch` loads it."""
    for package in ("launch", "launch_ros"):
        # the checkout's folder launch/ is importable as an empty namespace package
        if (spec := importlib.util.find_spec(package)) is None or spec.origin is None:
            pytest.skip(f"{package} is not importable: PyPI has no wheel of it; runs on a machine with ROS 2")
    spec = importlib.util.spec_from_file_location("panosam2_launch", LAUNCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_description_loads(launch_file: ModuleType) -> None:
    declared = launch_file.generate_launch_description().get_launch_arguments()
    assert {a.name for a in declared} == ARGUMENTS
    assert all(a.description for a in declared)


@pytest.mark.parametrize("users_own", [None, "/own/profile.xml"])
def test_environment_is_exported_and_the_users_own_is_kept(
    launch_file: ModuleType, monkeypatch: pytest.MonkeyPatch, users_own: str | None
) -> None:
    from launch import LaunchContext

    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    for name in launch_file.PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        if users_own:
            monkeypatch.setenv(name, users_own)
    context = LaunchContext()
    for action in (*launch_file.arguments(), *launch_file.environment()):
        action.execute(context)
    for name in launch_file.PROFILE_VARIABLES:
        assert context.environment[name] == (users_own or str(ROOT / "config" / "fastdds.xml"))
    assert context.environment["MALLOC_TRIM_THRESHOLD_"] == "2147483647"
