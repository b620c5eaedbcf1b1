"""The demo: a virtual camera, the node and a planner as processes, and a report of the run."""

import panosam2_ros.ros  # noqa: F401  says what is missing of ROS before anything of it is imported
