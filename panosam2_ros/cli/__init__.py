"""Programs for a terminal that need no ROS."""
