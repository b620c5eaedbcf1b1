"""Images and shapes of tracked objects, without ROS."""
