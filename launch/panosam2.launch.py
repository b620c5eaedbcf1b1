"""Start the node `panosam2` with a Fast DDS profile for large images.

ros2 launch panosam2_ros panosam2.launch.py image:=/camera/image_raw rviz:=true
ros2 launch panosam2_ros panosam2.launch.py camera:=insta360

The process that publishes the images needs the same profile: start the camera from a launch file that
includes this one first, or export the same variables in the camera's environment.
"""

import os
from pathlib import Path
from typing import NamedTuple

from ament_index_python.packages import get_packages_with_prefixes
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.launch_context import LaunchContext
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, OrSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from panosam2_ros.ros import camera_presets, foxglove_layout, rviz_config
from panosam2_ros.ros.camera_presets import CameraPreset
from panosam2_ros.ros.dds import PROFILES_VARIABLE

# share/panosam2_ros/config when installed, config/ in the checkout
CONFIG = Path(__file__).parents[1] / "config"
DEFAULTS = str(CONFIG / "panosam2.yaml")
# without these glibc returns image buffers to the kernel, and every frame page-faults again
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}


class Argument(NamedTuple):
    """A launch argument of this file."""

    name: str
    about: str
    default: str = ""
    choices: tuple[str, ...] = ()


SWITCH, SWITCH_OR_EMPTY = ("true", "false"), ("", "true", "false")
ARGUMENTS = (
    Argument("camera", "Preset in config/cameras.yaml, such as insta360 or cropped_120, or PATH#NAME of "
        "another such file; empty: none"),
    Argument("image", "Topic of the equirectangular images; empty: the camera's, or image"),
    Argument("namespace", "Namespace of the node and of relative topic names"),
    Argument("params_file", "YAML file with the node's parameters", DEFAULTS),
    Argument("model", "panosam2_mobile, panosam2_nano, sam2.1_hiera_*, edgetam or a weights file; empty: "
        "the value in params_file"),
    Argument("device", "auto, cpu, cuda or cuda:N; empty: the value in params_file"),
    Argument("log_level", "Least severe messages that are logged", "info",
        ("debug", "info", "warn", "error", "fatal")),
    Argument("autostart", "Configure and activate at start; false: a lifecycle manager does both; empty: "
        "the value in params_file", "", SWITCH_OR_EMPTY),
    Argument("respawn", "Restart the node two seconds after it has ended; with the parameter memory_file it "
        "restores its objects", "false", SWITCH),
    Argument("use_sim_time", "Take the time from /clock, for bags and simulators; empty: the value in "
        "params_file", "", SWITCH_OR_EMPTY),
    Argument("rviz", "Start RViz too", "false", SWITCH),
    Argument("foxglove", "Start foxglove_bridge too, and write a layout for Foxglove", "false", SWITCH),
    Argument("foxglove_port", "Port of foxglove_bridge", "8765"),
    Argument("foxglove_host", "Address at which foxglove_bridge listens, without a password; 0.0.0.0: "
        "every network of this machine", "127.0.0.1"),
    Argument("web", "Start panosam2_web too, a page for a browser", "false", SWITCH),
    Argument("web_host", "Address at which that page is served; any but a loopback address needs a token, "
        "which panosam2_web prints", "127.0.0.1"),
    Argument("web_port", "TCP port of that page", "8360"),
    Argument("camera_frame", "frame_id of the images, for RViz and Foxglove; empty: the camera's, or "
        "camera_optical_frame"),
    Argument("dds_profile", "Fast DDS profile of all processes started here, unless the environment names "
        "one; empty: none", str(CONFIG / "fastdds.xml")),
)  # fmt: skip


def arguments() -> list[DeclareLaunchArgument]:
    """Return the launch arguments of this file."""
    return [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.about, choices=a.choices or None)
        for a in ARGUMENTS
    ]


def environment() -> list[SetEnvironmentVariable]:
    """Set variables for every process that is started later; variables that the user has set are kept."""
    defaults = {PROFILES_VARIABLE: LaunchConfiguration("dds_profile"), **ALLOCATOR}
    return [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=value))
        for name, value in defaults.items()
    ]


def preset(context: LaunchContext) -> CameraPreset:
    """Return the chosen camera; topic and frame on the command line take precedence."""
    named = ("camera", "image", "camera_frame")
    camera, image, frame = (LaunchConfiguration(name).perform(context) for name in named)
    return camera_presets.chosen_preset(camera, image=image, camera_frame=frame)


def node(context: LaunchContext) -> list[Node | LogInfo]:
    """Return the node; arguments on the command line take precedence over the parameter file."""
    camera, file = preset(context), LaunchConfiguration("params_file").perform(context)
    switched = ("autostart", "use_sim_time")
    texts = ("model", "device")
    given = {name: LaunchConfiguration(name).perform(context) for name in (*switched, *texts)}
    chosen = {name: value == "true" if name in switched else value for name, value in given.items() if value}
    started = Node(
        package="panosam2_ros",
        executable="panosam2_node",
        name="panosam2",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            *camera_presets.node_parameters(camera, file, DEFAULTS),
            *([chosen] if chosen else []),
        ],
        # the node appends /compressed, /ffmpeg or /foxglove, by image_transport
        remappings=[("image", camera.image)],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="both",
        # launch sends SIGINT, SIGTERM and SIGKILL, by default 5 s apart: too soon for a slow disk
        sigterm_timeout="10",
        sigkill_timeout="10",
        respawn=LaunchConfiguration("respawn"),
        respawn_delay=2.0,
    )
    return [LogInfo(msg=camera.notice), started] if camera.notice else [started]


def rviz(context: LaunchContext) -> list[Node]:
    """Return RViz with the names of this node."""
    camera = preset(context)
    namespace = LaunchConfiguration("namespace").perform(context)
    config = rviz_config.write(namespace, camera.image, camera.camera_frame)
    return [Node(package="rviz2", executable="rviz2", name="panosam2_rviz", arguments=["-d", str(config)])]


def foxglove(context: LaunchContext) -> list[Node | LogInfo]:
    """Return Foxglove's bridge, and where to find a layout with the names of this node."""
    if "foxglove_bridge" not in get_packages_with_prefixes():
        return [LogInfo(msg=foxglove_layout.missing_text(os.environ.get("ROS_DISTRO", "")))]
    namespace = LaunchConfiguration("namespace").perform(context)
    layout = foxglove_layout.write_layout(namespace, preset(context).camera_frame)
    address = LaunchConfiguration("foxglove_host").perform(context)
    port = foxglove_layout.bridge_port(LaunchConfiguration("foxglove_port").perform(context))
    bridge = Node(
        package="foxglove_bridge",
        executable="foxglove_bridge",
        name="panosam2_foxglove",
        parameters=[{"address": address, "port": port}],
        output="both",
    )
    return [LogInfo(msg=foxglove_layout.connection_text(layout, address, port)), bridge]


def upright(context: LaunchContext) -> list[Node]:
    """Return what provides the frame with z up that viewers need if the camera's frame is optical."""
    transform = rviz_config.upright_transform(preset(context).camera_frame)
    if not transform:
        return []
    return [Node(package="tf2_ros", executable="static_transform_publisher", arguments=transform)]


def web() -> Node:
    """Return the node that serves the page for a browser, where it is wanted."""
    page = {
        "host": ParameterValue(LaunchConfiguration("web_host"), value_type=str),
        "port": ParameterValue(LaunchConfiguration("web_port"), value_type=int),
    }
    return Node(
        package="panosam2_ros",
        executable="panosam2_web",
        name="panosam2_web",
        namespace=LaunchConfiguration("namespace"),
        parameters=[page],
        output="both",
        condition=IfCondition(LaunchConfiguration("web")),
    )


def generate_launch_description() -> LaunchDescription:
    """Return the launch description for `ros2 launch`."""
    with_rviz, with_foxglove = LaunchConfiguration("rviz"), LaunchConfiguration("foxglove")
    viewers = [
        OpaqueFunction(function=rviz, condition=IfCondition(with_rviz)),
        OpaqueFunction(function=foxglove, condition=IfCondition(with_foxglove)),
        OpaqueFunction(function=upright, condition=IfCondition(OrSubstitution(with_rviz, with_foxglove))),
    ]
    return LaunchDescription([*arguments(), *environment(), OpaqueFunction(function=node), *viewers, web()])
