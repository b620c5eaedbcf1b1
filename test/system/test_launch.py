"""The launch files: what they declare, what they start, and that all of it exists."""

import ast
import importlib.util
import inspect
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers.process import ROOT
from panosam2_ros.ros import camera_presets, rviz_config
from panosam2_ros.ros.dds import PROFILES_VARIABLE

LAUNCH = ROOT / "launch" / "panosam2.launch.py"
ARGUMENTS = {
    "image", "namespace", "params_file", "log_level", "autostart", "respawn", "use_sim_time", "rviz",
    "camera", "camera_frame", "dds_profile", "model", "device", "foxglove", "foxglove_port",
    "foxglove_host",
    "web", "web_host", "web_port",
}  # fmt: skip
# and those of the files that include it
MORE = {
    "cameras": {"cameras"},
    "with_camera": {"camera_package", "camera_executable"},
    "places": {"points", "depth", "target_frame", "fixed_frame", "places_params_file"},
}


def calls(name: str, file: Path = LAUNCH) -> list[ast.Call]:
    """Every call of that name in a launch file."""
    tree = ast.parse(file.read_text())
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
    declared = [ast.literal_eval(c.args[0]) for c in calls("Argument")]
    assert len(declared) == len(set(declared)) and set(declared) == ARGUMENTS
    assert all(len(ast.literal_eval(c.args[1])) > 10 for c in calls("Argument")), "each says what it is"
    used = {c.args[0].value for c in calls("LaunchConfiguration") if isinstance(c.args[0], ast.Constant)}
    for name in ("named", "switched", "texts"):
        used |= set(ast.literal_eval(assigned(name)))
    assert used == ARGUMENTS, "an argument is declared but not used, or used but not declared"


@pytest.mark.parametrize("name", MORE)
def test_files_that_include_it_say_what_they_take(name: str) -> None:
    file = LAUNCH.with_name(f"{name}.launch.py")
    declared = {ast.literal_eval(c.args[0]): c for c in calls("DeclareLaunchArgument", file)}
    assert set(declared) == MORE[name] and all(keyword(call, "description") for call in declared.values())
    used = {
        c.args[0].value for c in calls("LaunchConfiguration", file) if isinstance(c.args[0], ast.Constant)
    }
    assert MORE[name] <= used <= MORE[name] | ARGUMENTS
    assert 'with_name("panosam2.launch.py")' in file.read_text()


def test_executables_are_installed() -> None:
    ours = [keyword(c, "executable") for c in calls("Node") if keyword(c, "package") == "panosam2_ros"]
    assert ours == ["panosam2_node", "panosam2_web"]
    declared = calls("DeclareLaunchArgument", LAUNCH.with_name("with_camera.launch.py"))
    assert [keyword(c, "default_value") for c in declared] == ["panosam2_ros", "virtual_camera"]
    assert "install_executable(virtual_camera " in (ROOT / "CMakeLists.txt").read_text()
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


def test_presets_and_rviz_get_the_arguments_in_the_order_in_which_they_take_them() -> None:
    taken = list(inspect.signature(camera_presets.chosen_preset).parameters)
    assert list(ast.literal_eval(assigned("named"))) == taken
    (write,) = (n for n in ast.walk(ast.parse(LAUNCH.read_text())) if isinstance(n, ast.Call)
                and ast.unparse(n.func) == "rviz_config.write")  # fmt: skip
    given = [ast.unparse(argument).removeprefix("camera.") for argument in write.args]
    assert given == list(inspect.signature(rviz_config.write).parameters)[:3]


def loaded(name: str) -> ModuleType:
    """A launch file as `ros2 launch` loads it."""
    for package in ("launch", "launch_ros"):
        # the checkout's folder launch/ is importable as an empty namespace package
        if (spec := importlib.util.find_spec(package)) is None or spec.origin is None:
            pytest.skip(f"{package} is not importable: PyPI has no wheel of it; runs on a machine with ROS 2")
    spec = importlib.util.spec_from_file_location(f"{name}_launch", LAUNCH.with_name(f"{name}.launch.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["panosam2", *MORE])
def test_description_loads(name: str) -> None:
    declared = loaded(name).generate_launch_description().get_launch_arguments()
    names = {a.name for a in declared}
    assert MORE.get(name, ARGUMENTS) <= names <= MORE.get(name, set()) | ARGUMENTS
    assert all(a.description for a in declared)


def test_each_camera_has_a_namespace_of_its_own() -> None:
    module = loaded("cameras")
    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations["cameras"] = "left, right,up"
    groups = module.nodes(context)
    entities = [entity for group in groups for entity in group.get_sub_entities()]
    included = [dict(e.launch_arguments) for e in entities if hasattr(e, "launch_arguments")]
    names = [arguments["namespace"] for arguments in included]
    assert names == ["left", "right", "up"]
    for wrong in ("", "left,left", "left,,right"):
        context.launch_configurations["cameras"] = wrong
        with pytest.raises(ValueError, match="cameras needs different names"):
            module.nodes(context)


@pytest.mark.parametrize("given", ["", "true", "false"])
def test_only_what_is_given_goes_before_the_file_of_parameters(given: str) -> None:
    module = loaded("panosam2")
    from launch_ros.utilities import evaluate_parameters

    from launch import LaunchContext

    context = LaunchContext()
    for action in module.arguments():
        action.execute(context)
    context.launch_configurations["autostart"] = given
    (node,) = module.node(context)
    file, *rest = evaluate_parameters(context, node._Node__parameters)
    assert file.name == "panosam2.yaml"
    assert rest == ([{"autostart": given == "true"}] if given else [])


def test_camera_gives_topic_and_parameters_before_what_the_user_gives() -> None:
    module = loaded("panosam2")
    from launch_ros.utilities import evaluate_parameters

    from launch import LaunchContext

    context = LaunchContext()
    for action in module.arguments():
        action.execute(context)
    context.launch_configurations["camera"] = "cropped_120"
    notice, node = module.node(context)
    assert "360 x 120 degrees" in notice.msg[0].perform(context)
    file, preset = evaluate_parameters(context, node._Node__parameters)
    assert file.name == "panosam2.yaml" and preset["vertical_fov"] == pytest.approx(2.0944, abs=1e-4)


def context_with(module: ModuleType, **given: str) -> Any:
    """A launch context with all arguments of the launch file, some of them given."""
    from launch import LaunchContext

    context = LaunchContext()
    for action in module.arguments():
        action.execute(context)
    context.launch_configurations.update(given)
    return context


def test_foxglove_is_started_where_its_bridge_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("panosam2")
    from launch_ros.utilities import evaluate_parameters

    monkeypatch.setattr(module, "get_packages_with_prefixes", lambda: {"foxglove_bridge": "/opt/ros"})
    context = context_with(module, namespace="robot", foxglove_port="9000")
    notice, bridge = module.foxglove(context)
    text = notice.msg[0].perform(context)
    assert "ws://127.0.0.1:9000" in text
    layout = Path(text.split()[-1])
    assert "/robot/panosam2/bearings" in layout.read_text()
    shutil.rmtree(layout.parent)
    (given,) = evaluate_parameters(context, bridge._Node__parameters)
    assert given == {"address": "127.0.0.1", "port": 9000}
    with pytest.raises(ValueError, match="foxglove_port must be a port from 1 to 65535, got 'x'"):
        module.foxglove(context_with(module, foxglove_port="x"))


@pytest.mark.faults
def test_foxglove_without_its_bridge_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("panosam2")
    monkeypatch.setattr(module, "get_packages_with_prefixes", dict)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    context = context_with(module)
    (notice,) = module.foxglove(context)
    assert "sudo apt install ros-jazzy-foxglove-bridge" in notice.msg[0].perform(context)


@pytest.mark.parametrize("frame, started", [("cam_optical_frame", 1), ("cam", 0)])
@pytest.mark.parametrize("viewer", ["rviz", "foxglove"])
def test_each_viewer_gets_a_frame_with_z_up(viewer: str, frame: str, started: int) -> None:
    module = loaded("panosam2")
    context = context_with(module, camera_frame=frame, **{viewer: "true"})
    assert len(module.upright(context)) == started
    from launch.actions import OpaqueFunction

    upright = [a for a in module.generate_launch_description().entities if isinstance(a, OpaqueFunction)][-1]
    assert upright.condition.evaluate(context)
    assert not upright.condition.evaluate(context_with(module))


@pytest.mark.parametrize("users_own", [None, "/own/profile.xml"])
def test_environment_is_exported_and_the_users_own_is_kept(
    monkeypatch: pytest.MonkeyPatch, users_own: str | None
) -> None:
    launch_file = loaded("panosam2")
    from launch import LaunchContext

    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.delenv(PROFILES_VARIABLE, raising=False)
    if users_own:
        monkeypatch.setenv(PROFILES_VARIABLE, users_own)
    context = LaunchContext()
    for action in (*launch_file.arguments(), *launch_file.environment()):
        action.execute(context)
    assert context.environment[PROFILES_VARIABLE] == (users_own or str(ROOT / "config" / "fastdds.xml"))
    assert context.environment["MALLOC_TRIM_THRESHOLD_"] == "2147483647"


def test_the_node_has_time_to_save() -> None:
    """Longer than launch's 5 s, and than the node waits for its files at the end."""
    pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
    from panosam2_ros.ros.runtime import _DISK_PATIENCE

    (node,) = (c for c in calls("Node") if keyword(c, "executable") == "panosam2_node")
    for name in ("sigterm_timeout", "sigkill_timeout"):
        value = keyword(node, name)
        assert isinstance(value, str) and float(value) >= 10 > _DISK_PATIENCE
