"""Start one node `panosam2` for each of several cameras, in a namespace with the camera's name.

ros2 launch panosam2_ros cameras.launch.py cameras:=front,back

The node of the camera `front` is /front/panosam2. It subscribes to /front/image, or to the topic that `image`
names in that namespace. All other arguments of panosam2.launch.py apply to every node.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription

PANOSAM2 = Path(__file__).with_name("panosam2.launch.py")


def arguments() -> list[DeclareLaunchArgument]:
    """Return the launch arguments that panosam2.launch.py does not have."""
    return [
        DeclareLaunchArgument(
            "cameras", default_value="front,back", description="Names of the cameras, separated by commas"
        )
    ]


def nodes(context: LaunchContext) -> list[GroupAction]:
    """Return one group of actions for each camera."""
    names = [name.strip() for name in LaunchConfiguration("cameras").perform(context).split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"cameras needs different names with commas between, got {names}")
    source = PythonLaunchDescriptionSource(str(PANOSAM2))
    included = ({"namespace": name}.items() for name in names)
    return [GroupAction([IncludeLaunchDescription(source, launch_arguments=own)]) for own in included]


def generate_launch_description() -> LaunchDescription:
    """Return the launch description for `ros2 launch`."""
    return LaunchDescription([*arguments(), OpaqueFunction(function=nodes)])
