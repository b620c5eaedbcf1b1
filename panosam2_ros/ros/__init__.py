"""The ROS 2 node, its client and its commands; beside demo/ the only room that imports rclpy or a message."""

from importlib.util import find_spec

_NEEDED = {
    "rclpy": 'source your installation of ROS 2, or where there is none: pip install "panosam2_ros[wheels]"',
    "panosam2_ros.msg": "PANOSAM2_CORE_ONLY leaves them out: install again without it, or colcon build",
}
for _module, _remedy in _NEEDED.items():
    if find_spec(_module) is None:
        raise ImportError(
            f"panosam2_ros's nodes and commands need {_module}, which is not installed: {_remedy}"
        )
