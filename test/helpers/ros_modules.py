"""Modules of ROS, which only some rooms may import."""

from __future__ import annotations

ROS_MODULES = {
    "ament_index_python",
    "bond",
    "builtin_interfaces",
    "launch",
    "launch_ros",
    "rcl_interfaces",
    "rclpy",
    "std_srvs",
    "tf2_ros",
}
