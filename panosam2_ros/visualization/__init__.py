"""Pictures and shapes of what is known, without ROS."""
