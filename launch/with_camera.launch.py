"""Start a camera driver together with the node `panosam2`, in an environment in which images arrive.

ros2 launch panosam2_ros with_camera.launch.py camera_package:=theta_driver \\
    camera_executable:=theta_driver_node image:=/image_raw camera_frame:=FRAME

FRAME is the frame_id of its images. For drivers that are one program and need no parameters; for others
set the variable in their environment (the node's log has the line).

Without a driver's name it is this package's own camera, a rendered scene. A driver that is a component
(rclcpp) may be loaded into a container instead: include panosam2.launch.py first, which sets the
environment for all that follows. This node is written in Python and cannot be a component itself.
All arguments of panosam2.launch.py are taken, too.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

PANOSAM2 = Path(__file__).with_name("panosam2.launch.py")


def arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments beside those of panosam2.launch.py."""
    return [
        DeclareLaunchArgument(
            "camera_package", default_value="panosam2_ros", description="Package of the camera's driver"
        ),
        DeclareLaunchArgument(
            "camera_executable", default_value="virtual_camera", description="The driver's program"
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the description; called by `ros2 launch`."""
    panosam2 = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(PANOSAM2)))
    camera = Node(
        package=LaunchConfiguration("camera_package"),
        executable=LaunchConfiguration("camera_executable"),
        name="camera",
        namespace=LaunchConfiguration("namespace"),
        output="both",
    )
    return LaunchDescription([*arguments(), panosam2, camera])
