"""Start a camera driver and the node `panosam2`, both with the Fast DDS profile for large images.

ros2 launch panosam2_ros with_camera.launch.py camera_package:=theta_driver \\
    camera_executable:=theta_driver_node image:=/image_raw camera_frame:=FRAME

FRAME is the frame_id of the driver's images. The driver must be one program that needs no parameters; for
other drivers set the variable in their environment (the node's log has the line).

By default the driver is this package's virtual camera, which renders a scene. To load a driver that is an
rclcpp component into a container, include panosam2.launch.py first, which sets the environment of everything
started later. This node is written in Python and cannot be a component. All arguments of panosam2.launch.py
apply.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

PANOSAM2 = Path(__file__).with_name("panosam2.launch.py")


def arguments() -> list[DeclareLaunchArgument]:
    """Return the launch arguments that panosam2.launch.py does not have."""
    return [
        DeclareLaunchArgument(
            "camera_package", default_value="panosam2_ros", description="Package of the camera's driver"
        ),
        DeclareLaunchArgument(
            "camera_executable", default_value="virtual_camera", description="The driver's program"
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the launch description for `ros2 launch`."""
    panosam2 = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(PANOSAM2)))
    camera = Node(
        package=LaunchConfiguration("camera_package"),
        executable=LaunchConfiguration("camera_executable"),
        name="camera",
        namespace=LaunchConfiguration("namespace"),
        output="both",
    )
    return LaunchDescription([*arguments(), panosam2, camera])
