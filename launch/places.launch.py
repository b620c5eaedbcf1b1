"""Start the nodes `panosam2` and `panosam2_places`: tracked objects, and where they are in space.

ros2 launch panosam2_ros places.launch.py image:=/camera/image_raw points:=/lidar/points target_frame:=odom

Needs tf2 for the transforms between camera, lidar and fixed_frame, and vision_msgs for ~/objects_3d. All
arguments of panosam2.launch.py apply. vertical_fov, frame_convention and the mounting angles must be the same
in places_params_file as in params_file.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

PANOSAM2 = Path(__file__).with_name("panosam2.launch.py")
# share/panosam2_ros/config when installed, config/ in the checkout
PARAMETERS = Path(__file__).parents[1] / "config" / "places.yaml"


def arguments() -> list[DeclareLaunchArgument]:
    """Return the launch arguments that panosam2.launch.py does not have."""
    return [
        DeclareLaunchArgument(
            "points", default_value="points", description="Topic of the lidar's PointCloud2"
        ),
        DeclareLaunchArgument(
            "depth", default_value="depth", description="Topic of the camera's depth panorama"
        ),
        DeclareLaunchArgument(
            "target_frame", default_value="", description="Frame of the places; empty: the images' own"
        ),
        DeclareLaunchArgument(
            "fixed_frame", default_value="odom", description="Frame in which the robot moves without jumps"
        ),
        DeclareLaunchArgument(
            "places_params_file",
            default_value=str(PARAMETERS),
            description="YAML file with the parameters of panosam2_places",
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the launch description for `ros2 launch`."""
    panosam2 = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(PANOSAM2)))
    frames = {
        "target_frame": LaunchConfiguration("target_frame"),
        "fixed_frame": LaunchConfiguration("fixed_frame"),
    }
    places = Node(
        package="panosam2_ros",
        executable="panosam2_places",
        name="panosam2_places",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("places_params_file"), frames],
        remappings=[
            ("masks", "panosam2/masks"),
            ("bearings", "panosam2/bearings"),
            ("points", LaunchConfiguration("points")),
            ("depth", LaunchConfiguration("depth")),
        ],
        output="both",
    )
    return LaunchDescription([*arguments(), panosam2, places])
