"""Start the node `panosam2`, with the settings that let images arrive.

ros2 launch panosam2_ros panosam2.launch.py image:=/camera/image_raw rviz:=true

The DDS profile must also reach the process that publishes the images: start the camera from a launch
file that includes this one first, or export the same variables for it.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.launch_context import LaunchContext
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription
from panosam2_ros.ros import rviz_config
from panosam2_ros.ros.dds import PROFILES_VARIABLE

# share/panosam2_ros/config when installed, config/ in the checkout
CONFIG = Path(__file__).parents[1] / "config"
# glibc otherwise gives image buffers back to the kernel and page-faults every frame again
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}


def arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of this file."""
    return [
        DeclareLaunchArgument(
            "image", default_value="image", description="Topic of the equirectangular images"
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the node and of relative topic names"
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(CONFIG / "panosam2.yaml"),
            description="YAML file with the node's parameters",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severe messages that are logged",
        ),
        DeclareLaunchArgument(
            "autostart",
            default_value="",
            choices=["", "true", "false"],
            description="Configure and activate at start; false leaves both to a lifecycle manager; "
            "empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            choices=["true", "false"],
            description="Start the node again two seconds after it has ended; with memory_file it knows its "
            "objects again",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="",
            choices=["", "true", "false"],
            description="Take the time from /clock, for bags and simulators; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "rviz", default_value="false", choices=["true", "false"], description="Start RViz as well"
        ),
        DeclareLaunchArgument(
            "camera_frame",
            default_value="camera_optical_frame",
            description="frame_id of the images, for RViz",
        ),
        DeclareLaunchArgument(
            "dds_profile",
            default_value=str(CONFIG / "fastdds.xml"),
            description="Fast DDS profile for everything started here, unless the environment names one; "
            "empty for none",
        ),
    ]


def environment() -> list[SetEnvironmentVariable]:
    """Return variables for every process started after them; what the user has set stays."""
    defaults = {PROFILES_VARIABLE: LaunchConfiguration("dds_profile"), **ALLOCATOR}
    return [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=value))
        for name, value in defaults.items()
    ]


def node(context: LaunchContext) -> list[Node]:
    """Return the node; what is given on the command line takes precedence over the parameter file."""
    image = LaunchConfiguration("image")
    switched = ("autostart", "use_sim_time")
    given = {name: LaunchConfiguration(name).perform(context) for name in switched}
    chosen = {name: value == "true" for name, value in given.items() if value}
    started = Node(
        package="panosam2_ros",
        executable="panosam2_node",
        name="panosam2",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), *([chosen] if chosen else [])],
        remappings=[("image", image), ("image/compressed", [image, "/compressed"])],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="both",
        respawn=LaunchConfiguration("respawn"),
        respawn_delay=2.0,
    )
    return [started]


def rviz(context: LaunchContext) -> list[Node]:
    """Return RViz with the names of this node, and a frame with z up where the camera's has none."""
    named = ("namespace", "image", "camera_frame")
    config = rviz_config.write(*(LaunchConfiguration(name).perform(context) for name in named))
    started = [Node(package="rviz2", executable="rviz2", name="panosam2_rviz", arguments=["-d", str(config)])]
    if upright := rviz_config.upright_transform(LaunchConfiguration("camera_frame").perform(context)):
        started.append(Node(package="tf2_ros", executable="static_transform_publisher", arguments=upright))
    return started


def generate_launch_description() -> LaunchDescription:
    """Return the description; called by `ros2 launch`."""
    see = OpaqueFunction(function=rviz, condition=IfCondition(LaunchConfiguration("rviz")))
    started = OpaqueFunction(function=node)
    return LaunchDescription([*arguments(), *environment(), started, see])
