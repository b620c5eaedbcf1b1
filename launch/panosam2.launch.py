"""Start the node `panosam2` with a Fast DDS profile for large images.

ros2 launch panosam2_ros panosam2.launch.py image:=/camera/image_raw rviz:=true
ros2 launch panosam2_ros panosam2.launch.py camera:=insta360

The process that publishes the images needs the same profile: start the camera from a launch file that
includes this one first, or export the same variables in the camera's environment.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.launch_context import LaunchContext
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from panosam2_ros.ros import camera_presets, rviz_config
from panosam2_ros.ros.camera_presets import CameraPreset
from panosam2_ros.ros.dds import PROFILES_VARIABLE

# share/panosam2_ros/config when installed, config/ in the checkout
CONFIG = Path(__file__).parents[1] / "config"
DEFAULTS = str(CONFIG / "panosam2.yaml")
# without these glibc returns image buffers to the kernel, and every frame page-faults again
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}


def arguments() -> list[DeclareLaunchArgument]:
    """Return the launch arguments of this file."""
    return [
        DeclareLaunchArgument(
            "camera",
            default_value="",
            description="Preset in config/cameras.yaml, such as insta360 or cropped_120, or PATH#NAME of "
            "another such file; empty: none",
        ),
        DeclareLaunchArgument(
            "image",
            default_value="",
            description="Topic of the equirectangular images; empty: the camera's, or image",
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the node and of relative topic names"
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=DEFAULTS,
            description="YAML file with the node's parameters",
        ),
        DeclareLaunchArgument(
            "model",
            default_value="",
            description="panosam2_mobile, panosam2_nano, sam2.1_hiera_*, edgetam or a weights file; empty: "
            "the value in params_file",
        ),
        DeclareLaunchArgument(
            "device",
            default_value="",
            description="auto, cpu, cuda or cuda:N; empty: the value in params_file",
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
            description="Configure and activate at start; false: a lifecycle manager does both; "
            "empty: the value in params_file",
        ),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            choices=["true", "false"],
            description="Restart the node two seconds after it has ended; with the parameter memory_file it "
            "restores its objects",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="",
            choices=["", "true", "false"],
            description="Take the time from /clock, for bags and simulators; empty: the value in params_file",
        ),
        DeclareLaunchArgument(
            "rviz", default_value="false", choices=["true", "false"], description="Start RViz too"
        ),
        DeclareLaunchArgument(
            "web",
            default_value="false",
            choices=["true", "false"],
            description="Start panosam2_web too, a page for a browser",
        ),
        DeclareLaunchArgument(
            "web_host",
            default_value="127.0.0.1",
            description="Address at which that page is served; any but a loopback address needs a token, "
            "which panosam2_web prints",
        ),
        DeclareLaunchArgument("web_port", default_value="8360", description="TCP port of that page"),
        DeclareLaunchArgument(
            "camera_frame",
            default_value="",
            description="frame_id of the images, for RViz; empty: the camera's, or camera_optical_frame",
        ),
        DeclareLaunchArgument(
            "dds_profile",
            default_value=str(CONFIG / "fastdds.xml"),
            description="Fast DDS profile of all processes started here, unless the environment names one; "
            "empty: none",
        ),
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
    """Return RViz with the names of this node, and a frame with z up if the camera's frame is optical."""
    camera = preset(context)
    namespace = LaunchConfiguration("namespace").perform(context)
    config = rviz_config.write(namespace, camera.image, camera.camera_frame)
    started = [Node(package="rviz2", executable="rviz2", name="panosam2_rviz", arguments=["-d", str(config)])]
    if upright := rviz_config.upright_transform(camera.camera_frame):
        started.append(Node(package="tf2_ros", executable="static_transform_publisher", arguments=upright))
    return started


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
    see = OpaqueFunction(function=rviz, condition=IfCondition(LaunchConfiguration("rviz")))
    started = OpaqueFunction(function=node)
    return LaunchDescription([*arguments(), *environment(), started, see, web()])
