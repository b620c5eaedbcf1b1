"""The tracker on a thread of its own: images and calls in, results out. Knows no ROS messages."""
