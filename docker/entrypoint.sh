#!/usr/bin/env bash
# Set up ROS 2 and the workspace, then become the command.
# shellcheck disable=SC1090,SC1091
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /opt/panosam2/ws/install/setup.bash
exec "$@"
