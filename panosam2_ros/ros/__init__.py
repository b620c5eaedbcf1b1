"""The ROS 2 node, its client and its commands; beside demo/ the only room that imports rclpy or a message."""

import os
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

# The wheels of ROS 2 are linked with one RMW implementation, and end the process with no remedy for another.
_chosen = os.environ.get("RMW_IMPLEMENTATION", "")
_wheels = find_spec("ros_wheels_bootstrapper") is not None
if _wheels and _chosen and (not _chosen.isidentifier() or find_spec(_chosen) is None):
    raise ImportError(
        f"RMW_IMPLEMENTATION is {_chosen[:80]!r}, which the ROS 2 wheels of PyPI do not have: unset it, or "
        "install ROS 2 and that RMW implementation"
    )
